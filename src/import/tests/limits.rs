//! What ends an import early: a cancel.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::cancel::CancelToken;
use crate::domain::record::Tally;
use crate::error::ErrorKind;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, Lookup, NewTable, PageBounds, PageEnd, Refused, Sql, Target, Writer,
};

on_each_store!(a_cancel_is_heard_while_rows_are_written, a_cancel_is_heard_while_a_group_is_applied,);

/// More rows than are written between two looks at the token.
const ROWS: i64 = 3_000;

/// Rows and statements that may still be written or run after the cancel.
const AFTERWARDS: usize = 2_500;

/// A writer that cancels at one of its steps, and counts those after it.
struct Cancelling {
    writer: Box<dyn Writer>,
    token: CancelToken,
    left: usize,
    after: Arc<AtomicUsize>,
}

impl Cancelling {
    fn step(&mut self, rows: usize) {
        match self.left.checked_sub(rows) {
            Some(left) => self.left = left,
            None if self.token.is_cancelled() => _ = self.after.fetch_add(rows, Ordering::SeqCst),
            None => self.token.cancel(),
        }
    }
}

impl Sql for Cancelling {
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize> {
        self.step(1);
        self.writer.state().execute(sql, parameters)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>> {
        self.step(1);
        self.writer.state().query(sql, parameters)
    }
}

impl Writer for Cancelling {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.writer.schema(table)
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.writer.create_table(table)
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        self.writer.page(table, after, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        self.writer.fit(plan, rows, range, fitted)
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        self.writer.lookup(lookup, rows, range, found)
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        self.step(range.len());
        self.writer.write(table, change, rows, range, refused)
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        self.step(range.len());
        self.writer.apply_bulk(plan, rows, range, tally)
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        self.writer.last_integer(table, column)
    }

    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool> {
        self.writer.check_references(when, tables)
    }

    fn savepoint(&mut self) -> Result<()> {
        self.writer.savepoint()
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.writer.rollback_to()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        self.writer.commit()
    }
}

/// Runs `work` in a transaction that is cancelled after so many steps; whether it was.
#[track_caller]
fn cancelled_at(store: &dyn Store, steps: usize, work: impl FnOnce(&mut Transaction) -> Result<()>) -> bool {
    let (token, after) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
    let writer = Cancelling { writer: begin(store), token: token.clone(), left: steps, after: Arc::clone(&after) };
    let patience = Patience::new(token.clone(), None);
    let ended = work(&mut Transaction::new(Box::new(writer), Scope::new(), patience));
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
        let mut heard = 0;
        for steps in (0..40).map(|at| at * 700) {
            heard += usize::from(cancelled_at(store, steps, |tx| groups::apply_in_tx(store, tx, &node, strategy, &records)));
        }
        assert!(heard > 3, "the group {name:?} takes {heard} times 700 steps");
    }
}
