//! Records that another row keeps out by a unique value: they wait, and are settled when all records of the table were looked at.
//!
//! The row in the way may be one that another waiting record changes: then that one goes first. So values that move on from row to
//! row (a list shifted by one) are written from the end. Where they go round, one row of the circle is [parked](super::park): it has
//! other values until its own record is written. If a record of a circle is refused, the whole circle is undone and its records fail.
//! What is kept out by a row that no waiting record changes fails alone, with those that wait for it. But if the sender has no record
//! with that row's key, the record is the same thing under a new key: the strategy applies to that row, its key here stays, and the
//! key map remembers which it is.

use std::collections::{BTreeMap, BTreeSet};

use super::append_page::old_keys;
use super::became::Became;
use super::kept_keys;
use super::park::Parking;
use super::pending;
use super::received::Received;
use super::referred;
use super::remap::follow;
use super::row_by_row::one;
use super::rows::row_of;
use super::taken;
use super::transaction::{Transaction, key_of_record};
use super::waits::bytes;
use super::written::{Before, Written};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::stages::Stage;
use crate::ledger::waiting::{self, State};
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, Fitted, Refused, Sets};

/// Settles all records that wait. `written` makes what collects the rows of a record that were written. Without `renamed`, those
/// that other tables must be there for wait [for them](super::late); with it, all are settled now, and it gets what rows may refer to.
pub(super) fn settle(
    tx: &mut Transaction,
    plan: &TablePlan,
    stage: &Stage,
    tally: &mut Tally,
    written: &dyn Fn() -> Written,
    received: &mut Received,
    renamed: Option<&mut Vec<Renamed>>,
) -> Result<()> {
    let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(()) };
    let mut settling = Settling {
        plan,
        stage,
        key,
        tally,
        written,
        received,
        parking: Parking::new(plan, key),
        renamed,
        stack: Vec::new(),
        circle: None,
        moved: BTreeMap::new(),
        had: BTreeSet::new(),
    };
    for _ in 0..ROUNDS {
        let moved = settling.moved.len();
        settling.settle_free(tx)?;
        // A record that became another row may have made room.
        if settling.moved.len() == moved || waiting::first_stuck(tx.state().0, stage)?.is_none() {
            break;
        }
        waiting::free_stuck(tx.state().0, stage)?;
    }
    settling.settle_free(tx)?;
    while let Some(number) = waiting::first_stuck(tx.state().0, stage)? {
        tx.check_cancelled()?;
        let failure = match settling.write(tx, number)? {
            Became::Failed(failure) | Became::Refused(failure) => failure,
            // Nothing is in its way any more.
            became => {
                became.count(settling.tally);
                settling.done(tx, number)?;
                continue;
            }
        };
        settling.fails(tx, number)?;
        settling.tally.fail(failure);
        waiting::remove(tx.state().0, stage, number)?;
    }
    Ok(())
}

/// How often records are tried again that rows kept out which other records then became.
const ROUNDS: usize = 100;

struct Settling<'s> {
    plan: &'s TablePlan,
    stage: &'s Stage,
    /// The columns of the key.
    key: &'s [usize],
    tally: &'s mut Tally,
    written: &'s dyn Fn() -> Written,
    received: &'s mut Received,
    parking: Parking<'s>,
    renamed: Option<&'s mut Vec<Renamed>>,
    /// Records that are being settled: each waits for the one after it.
    stack: Vec<i64>,
    circle: Option<Circle>,
    /// The keys that records have here, which came under others, by their numbers.
    moved: BTreeMap<i64, Vec<Value>>,
    /// The same keys as bytes: no other record has them.
    had: BTreeSet<Vec<u8>>,
}

/// Records that wait for each other, since the first row of theirs was parked. There is a savepoint before that.
struct Circle {
    /// How many records of the stack are none of its own.
    below: usize,
    /// Up to which place the records of the stack are members.
    joined: usize,
    members: BTreeSet<i64>,
    /// The rows that were parked, as their records want them, by the numbers of those.
    parked: BTreeMap<i64, Rows>,
    /// What was counted before, and how many rows were renamed.
    tally: Tally,
    renamed: usize,
}

/// A row whose values that others may refer to were changed, by the record of this number.
pub(super) struct Renamed {
    pub(super) number: i64,
    /// What it had before: a local row.
    pub(super) before: Rows,
}

/// What becomes of a record that cannot be written now.
enum Fate {
    Fails(Failure),
    /// It is tried again when all tables are there.
    Waits,
}

/// What keeps a record out.
struct InTheWay {
    /// Whether a row is among it that no waiting record changes.
    stays: bool,
    /// The key of that row, if it alone is in the way.
    same: Option<Vec<Value>>,
    /// Whether a row is among it whose record waits for other tables.
    late: bool,
    /// A record that is to be settled first.
    first: Option<i64>,
    /// Records that wait for this one, directly or not, with the keys of their rows.
    circle: Vec<(i64, Vec<Value>)>,
}

impl Settling<'_> {
    /// Settles all records that wait for their turn, but for those that are stuck.
    fn settle_free(&mut self, tx: &mut Transaction) -> Result<()> {
        while let Some(first) = waiting::first(tx.state().0, self.stage)? {
            self.push(tx, first)?;
            while let Some(number) = self.stack.last() {
                tx.check_cancelled()?;
                self.step(tx, *number)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, tx: &mut Transaction, number: i64) -> Result<()> {
        waiting::set_busy(tx.state().0, self.stage, number)?;
        self.stack.push(number);
        Ok(())
    }

    /// Tries the last record of the stack.
    fn step(&mut self, tx: &mut Transaction, number: i64) -> Result<()> {
        let became = self.write(tx, number)?;
        match became {
            Became::Failed(failure) if failure.reason == Reason::UniqueConflict => self.kept_out(tx, number, failure),
            Became::Failed(failure) => self.refused(tx, number, failure),
            Became::Refused(failure) => self.leave(tx, number, Fate::Fails(failure)),
            became => {
                became.count(self.tally);
                self.pop(tx, number)
            }
        }
    }

    fn write(&mut self, tx: &mut Transaction, number: i64) -> Result<Became> {
        let waiting = waiting::get(tx.state().0, self.stage, number)?;
        let mut written = (self.written)();
        let before = match written.is_wanted() {
            true => {
                let fitted = self.fitted(tx, number)?;
                Some(Before::look(tx, self.plan, fitted, &written)?)
            }
            false => None,
        };
        let key = || key_of_record(self.plan, &waiting.record, 0);
        let old = match self.renamed {
            Some(_) => self.referred_now(tx, number)?,
            None => None,
        };
        let became = match self.circle.as_ref().and_then(|circle| circle.parked.get(&number)) {
            Some(whole) => match unpark(tx, self.plan, self.key, whole)? {
                None => Became::Updated { dangling: false },
                Some(refused) => Became::Failed(tx.failure_of(self.plan, key(), (whole, 0), refused)?),
            },
            None => {
                let fitted = self.fitted(tx, number)?;
                let may_meet = self.plan.keys_may_meet;
                if may_meet && taken::is_taken(tx, self.plan, self.key, &fitted.rows, 0)? {
                    return Ok(Became::Failed(taken::duplicate(self.plan, key())));
                }
                one(tx, self.plan, self.key, &fitted, 0, &key)?
            }
        };
        if let Some(before) = before {
            before.compare(tx, self.plan, 0, &mut written)?;
            pending::note(tx, self.plan, self.stage.number, &[waiting.staged], &written)?;
        }
        if let Some(old) = old
            && self.referred_now(tx, number)?.is_some_and(|now| !now.row(0).eq(old.row(0)))
            && let Some(renamed) = &mut self.renamed
        {
            renamed.push(Renamed { number, before: old });
        }
        Ok(became)
    }

    /// The row of a record with what it has in columns that others refer to, as it is now.
    fn referred_now(&mut self, tx: &mut Transaction, number: i64) -> Result<Option<Rows>> {
        let columns = self.parking.referred(tx)?.to_vec();
        let fitted = self.fitted(tx, number)?.rows;
        let Some(values) = tx.find_by_key(&self.plan.table, self.key, &columns, &fitted, 0)? else { return Ok(None) };
        let mut row = Rows::new(self.plan.table.columns.len());
        row.start_row();
        columns.iter().zip(&values).for_each(|(column, value)| row.set(*column, value.as_ref()));
        Ok(Some(row))
    }

    /// A record as the local table will store it, under the key that it has here.
    fn fitted(&self, tx: &mut Transaction, number: i64) -> Result<Fitted> {
        let mut record = waiting::get(tx.state().0, self.stage, number)?.record;
        // It may have been found under another key before it had to wait for other tables.
        if self.renamed.is_some()
            && let Some(followed) = follow(tx, self.plan, &record, 0..1, self.plan.dangling)?
        {
            record = followed.rows;
        }
        let mut fitted = tx.fit(self.plan, &record, 0..1)?;
        if let Some(key) = self.moved.get(&number) {
            let mut values: Vec<_> = fitted.rows.row(0).map(|value| value.map(ValueRef::to_owned)).collect();
            self.key.iter().zip(key).for_each(|(column, value)| values[*column] = Some(value.clone()));
            fitted.rows = row_of(&values);
        }
        Ok(fitted)
    }

    /// The last record of the stack is settled.
    fn pop(&mut self, tx: &mut Transaction, number: i64) -> Result<()> {
        self.done(tx, number)?;
        self.turn_back(tx)
    }

    /// A record is written, or its row is as it wants it.
    fn done(&mut self, tx: &mut Transaction, number: i64) -> Result<()> {
        self.remember_key(tx, number)?;
        if self.plan.keys_may_meet {
            let fitted = self.fitted(tx, number)?.rows;
            taken::take(tx, self.plan, self.key, &fitted, 0)?;
        }
        match self.renamed {
            Some(_) => waiting::set_settled(tx.state().0, self.stage, number),
            None => waiting::remove(tx.state().0, self.stage, number),
        }
    }

    /// Turns to the record that waits for the last one of the stack.
    fn turn_back(&mut self, tx: &mut Transaction) -> Result<()> {
        self.stack.pop();
        if let Some(circle) = &mut self.circle {
            circle.joined = circle.joined.min(self.stack.len());
        }
        if self.circle.as_ref().is_some_and(|circle| self.stack.len() == circle.below) {
            self.circle = None;
            tx.release()?;
        }
        Ok(())
    }

    /// Remembers which key the row of a record has that came under another.
    fn remember_key(&mut self, tx: &mut Transaction, number: i64) -> Result<()> {
        let Some(key) = self.moved.get(&number) else { return Ok(()) };
        let record = waiting::get(tx.state().0, self.stage, number)?.record;
        match old_keys(tx, self.plan, &record, 0..1)?.pop().flatten() {
            Some(old) => tx.remember_moved(&self.plan.table, old.became(key.clone(), true, false)),
            None => Ok(()),
        }
    }

    /// A record fails: what refers to it must not refer to another row.
    fn fails(&mut self, tx: &mut Transaction, number: i64) -> Result<()> {
        let fitted = self.fitted(tx, number)?.rows;
        match self.plan.keys_may_meet && taken::is_taken(tx, self.plan, self.key, &fitted, 0)? {
            true => kept_keys::is_no_row(tx, self.plan, &fitted, 0),
            false => kept_keys::fails(tx, self.plan, &fitted, 0),
        }
    }

    /// The last record of the stack is refused, for more than a row in its way.
    fn refused(&mut self, tx: &mut Transaction, number: i64, failure: Failure) -> Result<()> {
        let fate = match self.renamed {
            None if referred::may_come_right(tx, self.plan, &failure)? => Fate::Waits,
            None => Fate::Fails(failure),
            Some(_) => {
                let row = self.referred_now(tx, number)?;
                Fate::Fails(referred::explained(tx, self.plan, row.as_ref(), failure)?)
            }
        };
        self.leave(tx, number, fate)
    }

    /// The last record of the stack cannot be written now.
    fn leave(&mut self, tx: &mut Transaction, number: i64, fate: Fate) -> Result<()> {
        if let Some(circle) = self.circle.take_if(|circle| circle.members.contains(&number)) {
            return self.leave_circle(tx, circle, number, &fate);
        }
        match fate {
            Fate::Fails(failure) => {
                self.fails(tx, number)?;
                self.tally.fail(failure);
                waiting::remove(tx.state().0, self.stage, number)?;
            }
            Fate::Waits => {
                self.remember_key(tx, number)?;
                waiting::set_late(tx.state().0, self.stage, number, &self.plan.table.name)?;
            }
        }
        self.turn_back(tx)
    }

    /// Undoes a circle because of one of its records.
    fn leave_circle(&mut self, tx: &mut Transaction, circle: Circle, number: i64, fate: &Fate) -> Result<()> {
        tx.rollback_to()?;
        *self.tally = circle.tally;
        self.stack.truncate(circle.below);
        if let Some(renamed) = &mut self.renamed {
            renamed.truncate(circle.renamed);
        }
        for member in circle.members {
            let Fate::Fails(Failure { column, reason, message, .. }) = fate else {
                waiting::set_late(tx.state().0, self.stage, member, &self.plan.table.name)?;
                continue;
            };
            let record = waiting::get(tx.state().0, self.stage, member)?.record;
            let message = match member == number {
                true => format!("it takes part in an exchange of unique values: {message}"),
                false => format!("it takes part in an exchange of unique values with a record that is refused: {message}"),
            };
            self.fails(tx, member)?;
            let (key, column) = (key_of_record(self.plan, &record, 0), column.clone());
            self.tally.fail(Failure { key, column, reason: *reason, message });
            waiting::remove(tx.state().0, self.stage, member)?;
        }
        Ok(())
    }

    /// The last record of the stack is kept out by others.
    fn kept_out(&mut self, tx: &mut Transaction, number: i64, failure: Failure) -> Result<()> {
        let whole = match self.circle.as_ref().and_then(|circle| circle.parked.get(&number)) {
            Some(whole) => whole.clone(),
            None => self.whole(tx, number)?,
        };
        let others = self.in_the_way(tx, number, &whole)?;
        match &others {
            InTheWay { same: Some(key), .. } if self.is_no_more(tx, number, key)? => {
                self.had.insert(bytes(key));
                self.moved.insert(number, key.clone());
                return Ok(());
            }
            InTheWay { stays: true, .. } if self.circle.as_ref().is_none_or(|circle| !circle.members.contains(&number)) => {
                waiting::set_stuck(tx.state().0, self.stage, number)?;
                return self.turn_back(tx);
            }
            InTheWay { stays: true, .. } => return self.leave(tx, number, Fate::Fails(failure)),
            InTheWay { late: true, .. } => return self.leave(tx, number, Fate::Waits),
            _ => {}
        }
        if let Some(first) = others.first {
            return self.push(tx, first);
        }
        for (other, key) in others.circle {
            self.join(tx, other)?;
            let parked = self.whole(tx, other)?;
            if self.renamed.is_some()
                && let Some(before) = self.referred_now(tx, other)?
                && let Some(renamed) = &mut self.renamed
            {
                renamed.push(Renamed { number: other, before });
            }
            if let Err(refused) = self.parking.park(tx, &key, &whole)? {
                let Failure { key, .. } = failure;
                let failure = refused.map_or(Failure { key: key.clone(), ..failure }, |refused| Failure {
                    key,
                    column: refused.column,
                    reason: refused.reason,
                    message: format!("the value that a row has in between is refused: {}", refused.message),
                });
                return self.refused(tx, number, failure);
            }
            if let Some(circle) = &mut self.circle {
                // One that is parked already gives up another value.
                circle.parked.entry(other).or_insert(parked);
            }
        }
        Ok(())
    }

    /// Whether the row of this key, which keeps a record out, is that record: the record has no row of its own here, and the sender
    /// none with this key.
    fn is_no_more(&mut self, tx: &mut Transaction, number: i64, key: &[Value]) -> Result<bool> {
        let is_had = self.had.contains(&bytes(key));
        if is_had || self.moved.contains_key(&number) || self.received.has(key) != Some(false) {
            return Ok(false);
        }
        let fitted = self.fitted(tx, number)?.rows;
        Ok(tx.find_by_key(&self.plan.table, self.key, &[], &fitted, 0)?.is_none())
    }

    /// What keeps the last record of the stack out, whose row is to be as is said.
    fn in_the_way(&mut self, tx: &mut Transaction, number: i64, whole: &Rows) -> Result<InTheWay> {
        let mut found = Rows::default();
        tx.writer.clashes(&self.plan.table, self.key, Sets::All, whole, 0, &mut found)?;
        let mut others = InTheWay { stays: found.is_empty(), same: None, late: false, first: None, circle: Vec::new() };
        for row in 0..found.len() {
            let key: Vec<Value> = found.row(row).map(|cell| cell.map_or(Value::Null, ValueRef::to_owned)).collect();
            match waiting::of_key(tx.state().0, self.stage, &bytes(&key))? {
                Some((other, State::Free)) => others.first = Some(others.first.map_or(other, |first| first.min(other))),
                Some((_, State::Late)) => others.late = true,
                Some((other, State::Busy)) if other != number => others.circle.push((other, key)),
                Some(_) => others.stays = true,
                None => {
                    others.stays = true;
                    others.same = Some(key).filter(|_| found.len() == 1);
                }
            }
        }
        // Whatever the order in which the database names them.
        others.circle.sort_by_key(|(other, _)| *other);
        Ok(others)
    }

    /// The row that a record wants: its values, and those that stay of the row that is there.
    fn whole(&self, tx: &mut Transaction, number: i64) -> Result<Rows> {
        let fitted = self.fitted(tx, number)?.rows;
        let table = &self.plan.table;
        let columns: Vec<usize> = (0..table.columns.len()).filter(|at| !table.columns[*at].generated).collect();
        let existing = tx.find_by_key(table, self.key, &columns, &fitted, 0)?;
        let Some(existing) = existing.filter(|_| self.plan.strategy != Strategy::Skip) else { return Ok(fitted) };
        let mut whole = Rows::new(table.columns.len());
        whole.start_row();
        for (column, old) in columns.iter().zip(&existing) {
            let replaces = |new: &ValueRef<'_>| self.plan.strategy == Strategy::Overwrite || !new.is_null();
            let new = fitted.get(0, *column).filter(|new| replaces(new) && !self.plan.keeps(*column));
            whole.set(*column, new.unwrap_or(old.as_ref()));
        }
        Ok(whole)
    }

    /// Makes the records from this one on to the last of the stack part of the circle.
    fn join(&mut self, tx: &mut Transaction, other: i64) -> Result<()> {
        let from = self.stack.iter().rposition(|number| *number == other).unwrap_or(0);
        if self.circle.is_none() {
            tx.savepoint()?;
        }
        let circle = self.circle.get_or_insert_with(|| Circle {
            below: from,
            joined: from,
            members: BTreeSet::new(),
            parked: BTreeMap::new(),
            tally: self.tally.clone(),
            renamed: self.renamed.as_ref().map_or(0, |renamed| renamed.len()),
        });
        if from < circle.below {
            circle.members.extend(&self.stack[from..circle.below]);
            circle.below = from;
        }
        circle.members.extend(&self.stack[circle.joined..]);
        circle.joined = self.stack.len();
        Ok(())
    }
}

/// Gives a row that was parked what its record wants.
fn unpark(tx: &mut Transaction, plan: &TablePlan, key: &[usize], whole: &Rows) -> Result<Option<Refused>> {
    let columns: Vec<usize> = (0..whole.width()).filter(|column| whole.get(0, *column).is_some()).collect();
    let now = tx.find_by_key(&plan.table, key, &columns, whole, 0)?.unwrap_or_default();
    let differs = |(column, now): &(&usize, &Value)| whole.get(0, **column).is_some_and(|new| !new.same(now.as_ref()));
    let set: Vec<usize> = columns.iter().zip(&now).filter(differs).map(|(column, _)| *column).collect();
    tx.write(&plan.table, Change::Update { key, set: &set }, whole, 0)
}
