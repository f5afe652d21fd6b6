//! What ends an import early: a cancel.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::cancel::CancelToken;
use crate::error::ErrorKind;
use crate::store::stepping::{Step, Stepping};

on_embedded_stores!(a_cancel_is_heard_while_rows_are_written, a_cancel_is_heard_while_a_group_is_applied,);

/// More rows than are written between two looks at the token.
const ROWS: i64 = 3_000;

/// Rows and statements that may still be written or run after the cancel.
const AFTERWARDS: usize = 2_500;

/// Runs `work` in a transaction that is cancelled after so many steps; whether it was.
#[track_caller]
fn cancelled_at(store: &dyn Store, steps: usize, work: impl FnOnce(&mut Transaction) -> Result<()>) -> bool {
    let (token, after) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
    let (cancel, counted, mut left) = (token.clone(), Arc::clone(&after), steps);
    let before = move |step| {
        let made = match step {
            Step::Rows(rows) => rows,
            Step::Statement => 1,
            Step::Commit => 0,
        };
        match left.checked_sub(made) {
            Some(rest) => left = rest,
            None if cancel.is_cancelled() => _ = counted.fetch_add(made, Ordering::SeqCst),
            None => cancel.cancel(),
        }
        Ok(())
    };
    let writer = Stepping { writer: begin(store), before };
    let patience = Patience::new(token.clone(), None);
    let ended = work(&mut Transaction::of(Box::new(writer), Scope::new(), Scope::new(), patience));
    if !token.is_cancelled() {
        ended.must("write");
        return false;
    }
    let after = after.load(Ordering::SeqCst);
    assert!(after <= AFTERWARDS, "{after} steps came after the cancel");
    match ended {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
        // It came at the very end.
        Ok(()) => assert!(after < AFTERWARDS, "{after} steps came after the cancel, which was not heard"),
    }
    true
}

fn a_cancel_is_heard_while_rows_are_written(store: &dyn Store) {
    let [log, users] = create(store, [table("log", "a integer", ""), table("users", "id integer!", "id")]);
    let records = rows((0..ROWS).map(|n| [v(n)]));
    for (table, strategy) in
        [(&log, Strategy::Skip), (&log, Strategy::Append), (&users, Strategy::Overwrite), (&users, Strategy::Append)]
    {
        let heard = [0, 1, 500, 2_000]
            .map(|steps| cancelled_at(store, steps, |tx| apply_in(tx, &plan(table, strategy), &records).map(|_| ())));
        assert_eq!(heard, [true; 4], "{} {strategy}", table.name);
    }
}

fn a_cancel_is_heard_while_a_group_is_applied(store: &dyn Store) {
    for (strategy, orphans) in [(Strategy::Overwrite, 0), (Strategy::Append, 0), (Strategy::Overwrite, 1_000)] {
        let name = format!("{strategy} {orphans}");
        let node = groups::node(store, &name);
        // Each refers to the next one; of the first ones none arrives in the end.
        let up = |id: i64| if id == orphans { 1_000_000 } else { id % ROWS + 1 };
        let records = groups::nodes((1..=ROWS).map(|id| (id, Some(up(id)))));
        // Until one comes after the end.
        let apply = |steps| cancelled_at(store, steps, |tx| groups::apply_in_tx(store, tx, &node, strategy, &records));
        let heard = (0..40).map(|at| at * 700).take_while(|steps| apply(*steps)).count();
        assert!(heard > 3, "the group {name:?} takes {heard} times 700 steps");
    }
}
