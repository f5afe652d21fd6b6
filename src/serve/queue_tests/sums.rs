//! What the sender says that it has sent, also of downloads that are resumed.

use uuid::Uuid;

use super::{ENOUGH, World, fetch, resumed};
use crate::domain::canonical;
use crate::domain::row_sum::{RowHasher, RowSum, Summing};
use crate::domain::value::{Value, ValueRef};
use crate::wire::native::{Fetch, Request};

#[test]
fn the_sum_is_of_the_whole_table_wherever_its_pages_are_cut() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    let sums = |request, table: &str, window| Fetch { sums: true, ..fetch(pull, request, table, window) };
    let whole = peer.fetch(sums(1, "t", ENOUGH)).sum.unwrap();
    // As the receiver sums what it reads.
    let mut expected = Summing::new(RowHasher::of_pull(pull), RowSum::default());
    let mut select = world.sqlite.prepare("SELECT * FROM t").unwrap();
    let columns = select.column_count();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let value = |column| match row.get_ref(column).unwrap() {
            rusqlite::types::ValueRef::Null => ValueRef::Null,
            rusqlite::types::ValueRef::Integer(v) => ValueRef::Integer(v),
            rusqlite::types::ValueRef::Real(v) => ValueRef::Real(v),
            rusqlite::types::ValueRef::Text(v) => ValueRef::Text(v),
            rusqlite::types::ValueRef::Blob(v) => ValueRef::Blob(v),
        };
        expected.add(&canonical::row((0..columns).map(|column| Some(value(column)))));
    }
    assert_eq!((whole, whole.rows), (expected.sum(), 1000));

    assert_eq!(peer.fetch(sums(2, "empty", ENOUGH)).sum, Some(RowSum::default()));
    assert_eq!(peer.fetch(fetch(pull, 3, "u", ENOUGH)).sum, None, "nobody asked");

    // Interrupted after a page, by the same process and by another one, and asked for its end only.
    let first = peer.fetch(sums(4, "t", 1));
    assert_eq!((first.ids.len(), first.sum), (100, None));
    peer.say(Request::Cancel { request: 4 });
    let rest = peer.fetch(resumed(&first, sums(5, "t", ENOUGH)));
    assert_eq!((rest.ids.len(), rest.sum), (900, Some(whole)));
    drop(peer);
    let process = world.process();
    let mut peer = world.enter(&process).unwrap();
    assert_eq!(peer.fetch(resumed(&first, sums(6, "t", ENOUGH))).sum, Some(whole));
    let end = Fetch { after: rest.place.clone(), records: 1000, ..sums(7, "t", ENOUGH) };
    let nothing = peer.fetch(end);
    assert_eq!((nothing.ids.len(), nothing.sum), (0, Some(whole)));

    // What is sent of a later state is in it, too: after two days, when it is a new download.
    world.advance(2 * 86_400);
    world.sqlite.execute_batch("DELETE FROM t WHERE id = (SELECT max(id) FROM t)").unwrap();
    let mut peer = world.peer();
    let rest = peer.fetch(resumed(&first, sums(8, "t", ENOUGH)));
    let sum = rest.sum.unwrap();
    assert_eq!((rest.ids.len(), sum.rows), (899, 999));
    assert_ne!(sum.sum, whole.sum);
}

#[test]
fn what_came_before_is_not_made_up() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    let sums = |request| Fetch { sums: true, ..fetch(pull, request, "t", ENOUGH) };
    let first = peer.fetch(Fetch { sums: true, ..fetch(pull, 1, "t", 1) });
    peer.say(Request::Cancel { request: 1 });
    assert!(peer.fetch(resumed(&first, sums(2))).sum.is_some());
    // A place of another pull, whose rows are hashed in another way.
    let other = Fetch { pull: Some(Uuid::new_v4()), ..sums(3) };
    assert_eq!(peer.fetch(resumed(&first, other)).sum, None);
    // Another number of records than the place has.
    let fewer = Fetch { records: 99, ..resumed(&first, sums(4)) };
    assert_eq!(peer.fetch(fewer).sum, None);
    assert_eq!(peer.fetch(Fetch { records: 5, ..sums(5) }).sum, None);
    // Another sum, and a place of a sender that signs none.
    for cut in [false, true] {
        let mut bent = resumed(&first, sums(6 + u32::from(cut)));
        let Some(Value::Blob(signature)) = bent.after.as_mut().and_then(|place| place.values.last_mut()) else {
            panic!("places are signed")
        };
        if cut {
            signature.truncate(16)
        } else {
            signature[17] ^= 1
        }
        let heard = peer.fetch(bent);
        assert_eq!((heard.ids.len(), heard.sum), (900, None));
    }
}
