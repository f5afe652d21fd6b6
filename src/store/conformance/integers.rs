//! The largest integer of a column: what new keys are counted from.

use super::harness::*;
use crate::store::Store;

pub(super) fn it_is_the_largest(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, n integer, name text", "id")]);
    fill(
        store,
        &users,
        &rows([[v(7), v(-5), v("99")], [v(300), v(12), NULL], [v(-400), v(12), v("x")], [v(2), NULL, v("y")]]),
    );
    write(store, |writer| {
        assert_eq!(writer.last_integer(&users, 0)?, 300, "the largest integer of the key");
        assert_eq!(writer.last_integer(&users, 1)?, 12, "the largest integer of a column that is not the key");
        Ok(())
    });
    fill(store, &users, &rows([[v(i64::MAX), v(i64::MAX - 1), NULL]]));
    write(store, |writer| {
        assert_eq!(writer.last_integer(&users, 0)?, i64::MAX, "the largest integer that there can be");
        assert_eq!(writer.last_integer(&users, 1)?, i64::MAX - 1, "the largest integer but one");
        Ok(())
    });
}

pub(super) fn it_is_at_least_zero(store: &dyn Store) {
    let described = ["empty", "negative", "null"].map(|name| table(name, "id integer!, n integer", "id"));
    let [empty, negative, null] = create(store, described);
    fill(store, &negative, &rows([[v(-7), v(-3)], [v(i64::MIN), v(-9)]]));
    fill(store, &null, &rows([[v(-1), NULL]]));
    let mut writer = begin(store);
    for table in [&empty, &negative, &null] {
        for column in 0..2 {
            let last = writer.last_integer(table, column).must("find the largest integer");
            assert_eq!(last, 0, "the largest integer of column {column} of {:?}", table.name);
        }
    }
}

pub(super) fn what_is_no_integer_does_not_count(store: &dyn Store) {
    let [keeper] = create(store, [table("keeper", "id integer!, value any", "id")]);
    // What such a column cannot hold is left out of it.
    let records = [v(5), v("99"), v("x"), v(1e10 + 0.5), NULL, v(7), v(f64::INFINITY), v("")];
    let records = rows((0..).zip(records).map(|(id, value)| [v(id), value]));
    apply(store, &plan(&keeper, crate::domain::strategy::Strategy::Skip), &records);
    let largest = contents(store, &keeper).iter().filter_map(|row| row[1].as_integer()).max().unwrap_or(0);
    let last = begin(store).last_integer(&keeper, 1).must("find the largest integer");
    assert_eq!(last, largest, "the largest integer among other values");
}

pub(super) fn it_follows_the_transaction(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!", "id")]);
    fill(store, &users, &rows([[v(10)]]));
    let mut writer = begin(store);
    writer.savepoint().must("set a savepoint");
    add(&mut *writer, &users, &rows([[v(20)]])).must("write");
    let last = writer.last_integer(&users, 0).must("find the largest integer");
    assert_eq!(last, 20, "the largest integer, which was written just now");
    writer.rollback_to().must("roll back");
    // A database may remember that it gave 20.
    let last = writer.last_integer(&users, 0).must("find the largest integer");
    assert!([10, 20].contains(&last), "after 20 was undone and 10 is there, the largest integer is {last}");
}
