//! What ends an import early: a cancel, and a table that is not the planned one any more.

use super::*;
use crate::cancel::CancelToken;
use crate::error::ErrorKind;

on_each_store!(a_cancel_is_heard_while_rows_are_written,);

fn a_cancel_is_heard_while_rows_are_written(store: &dyn Store) {
    let [log, users] = create(store, [table("log", "a integer", ""), table("users", "id integer!", "id")]);
    let records = rows((0..10_000).map(|n| [v(n)]));
    for (table, strategy) in
        [(&log, Strategy::Skip), (&log, Strategy::Append), (&users, Strategy::Overwrite), (&users, Strategy::Append)]
    {
        let token = CancelToken::new();
        token.cancel();
        let mut tx = Transaction::new(begin(store), Scope::new(), Patience::new(token, None));
        let ended = apply_in(&mut tx, &plan(table, strategy), &records).map(|_| ());
        assert_eq!(ended.map_err(|error| error.kind()), Err(ErrorKind::Cancelled), "{} {strategy}", table.name);
    }
}
