//! Resume marks: how far each table of a pull is. And the appends that were finished, or can no longer be.
//!
//! Tables are found by their folded names, so that everything that takes a table's name also takes the rules of the store: how it
//! compares names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::clock;
use crate::domain::names::NameRules;
use crate::domain::record::{Failure, Outcome, Reason};
use crate::domain::strategy::Strategy;
use crate::domain::value::Value;
use crate::error::Result;
use crate::ledger::Scope;
use crate::state::fields::Fields;
use crate::state::{text, unreadable};
use crate::store::Sql;

/// How far one table of a pull is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// The sender's name of the table.
    pub(crate) table: String,
    pub(crate) strategy: Strategy,
    /// The digest of what must be the same for the pull to go on with the table.
    pub(crate) plan: String,
    pub(crate) step: Step,
    /// How many rows the sender said there are.
    pub(crate) announced: u64,
    /// Records received.
    pub(crate) records: u64,
    /// The sender's word for the place behind them, if it has one.
    pub(crate) place: Option<Vec<u8>>,
    /// Whether it can be gone on from there.
    pub(crate) continues: bool,
    /// The size of the pages that they came in.
    pub(crate) bytes: u64,
    /// The numbers of the sender's snapshots that they came from.
    pub(crate) states: Vec<u64>,
    /// The number of the stage that rows of the table wait in.
    pub(crate) stage: Option<u32>,
    /// Whether the local rows were counted that such rows are compared with. A table that was done may get more of them from a
    /// later run, which are applied with the counts that the earlier run left.
    pub(crate) counted: bool,
    /// When it was first done. Rows that changed since are not behind its last one, so that it must not be kept for ever.
    pub(crate) done_at: Option<OffsetDateTime>,
    /// What became of the records.
    pub(crate) outcome: Outcome,
    /// Whether some of them failed for want of a row that they refer to: an append is not whole then.
    pub(crate) lacks_parents: bool,
    /// Whether records are appended that an earlier append brought: a run that resumes does the same.
    pub(crate) again: bool,
    /// Whether the table was made by this pull, and what of it was left out.
    pub(crate) created: bool,
    pub(crate) notes: Vec<String>,
}

/// How far a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its rows are being fetched.
    Fetching,
    /// All of them wait in the stage.
    Staged,
    /// All of them were applied.
    Done,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Step::Fetching => "fetching",
            Step::Staged => "staged",
            Step::Done => "done",
        }
    }
}

impl Checkpoint {
    pub(crate) fn new(table: &str, strategy: Strategy, plan: String, announced: u64) -> Self {
        Checkpoint {
            table: table.to_owned(),
            strategy,
            plan,
            step: Step::Fetching,
            announced,
            records: 0,
            place: None,
            continues: true,
            bytes: 0,
            states: Vec::new(),
            stage: None,
            counted: false,
            done_at: None,
            outcome: Outcome::default(),
            lacks_parents: false,
            again: false,
            created: false,
            notes: Vec::new(),
        }
    }

    /// Whether anything came of the table so far.
    pub(crate) fn has_progress(&self) -> bool {
        self.records > 0 || self.step != Step::Fetching
    }
}

/// What of a mark is kept as JSON.
#[derive(Serialize, Deserialize)]
struct Progress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    continues: bool,
    bytes: u64,
    states: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<u32>,
    #[serde(default)]
    counted: bool,
    /// Created, updated, unchanged, skipped, failed.
    counts: [u64; 5],
    failures: Vec<KeptFailure>,
    #[serde(default)]
    lacks_parents: bool,
    #[serde(default)]
    again: bool,
    created: bool,
    notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptFailure {
    key: Vec<KeptValue>,
    column: Option<String>,
    code: String,
    message: String,
}

/// A value by its storage class, all its bits.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptValue {
    Null,
    Integer(i64),
    /// The bits of the double.
    Real(u64),
    Text(String),
    /// Text that is not UTF-8, as base64.
    Bytes(String),
    /// Base64.
    Blob(String),
}

impl KeptValue {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => KeptValue::Null,
            Value::Integer(v) => KeptValue::Integer(*v),
            Value::Real(v) => KeptValue::Real(v.to_bits()),
            Value::Text(v) => match std::str::from_utf8(v) {
                Ok(text) => KeptValue::Text(text.to_owned()),
                Err(_) => KeptValue::Bytes(STANDARD.encode(v)),
            },
            Value::Blob(v) => KeptValue::Blob(STANDARD.encode(v)),
        }
    }

    fn value(self) -> Result<Value> {
        Ok(match self {
            KeptValue::Null => Value::Null,
            KeptValue::Integer(v) => Value::Integer(v),
            KeptValue::Real(bits) => Value::Real(f64::from_bits(bits)),
            KeptValue::Text(text) => Value::Text(text.into_bytes()),
            KeptValue::Bytes(text) => Value::Text(decoded(&text)?),
            KeptValue::Blob(text) => Value::Blob(decoded(&text)?),
        })
    }
}

fn decoded(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| unreadable("mark"))
}

impl Progress {
    fn of(mark: &Checkpoint) -> Self {
        let Outcome { created, updated, unchanged, skipped, failed, failures } = &mark.outcome;
        let kept = |failure: &Failure| KeptFailure {
            key: failure.key.iter().map(KeptValue::of).collect(),
            column: failure.column.clone(),
            code: failure.reason.code().to_owned(),
            message: failure.message.clone(),
        };
        Progress {
            place: mark.place.as_ref().map(|place| STANDARD.encode(place)),
            continues: mark.continues,
            bytes: mark.bytes,
            states: mark.states.clone(),
            stage: mark.stage,
            counted: mark.counted,
            counts: [*created, *updated, *unchanged, *skipped, *failed],
            failures: failures.iter().map(kept).collect(),
            lacks_parents: mark.lacks_parents,
            again: mark.again,
            created: mark.created,
            notes: mark.notes.clone(),
        }
    }

    fn outcome(&mut self) -> Result<Outcome> {
        let failure = |kept: KeptFailure| {
            Ok(Failure {
                key: kept.key.into_iter().map(KeptValue::value).collect::<Result<_>>()?,
                column: kept.column,
                reason: Reason::from_code(&kept.code).ok_or_else(|| unreadable("mark"))?,
                message: kept.message,
            })
        };
        let [created, updated, unchanged, skipped, failed] = self.counts;
        let failures = std::mem::take(&mut self.failures).into_iter().map(failure).collect::<Result<_>>()?;
        Ok(Outcome { created, updated, unchanged, skipped, failed, failures })
    }
}

/// Keeps a mark in place of the one before it; `now` is when it was done, if it is done only now.
pub(crate) fn put(sql: &mut dyn Sql, scope: &Scope, mark: &Checkpoint, names: NameRules, now: OffsetDateTime) -> Result<()> {
    let upsert = "INSERT INTO rowferry_marks \
                  (scope, table_name, strategy, name, plan, step, records, announced, progress, done_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                  ON CONFLICT (scope, table_name, strategy) DO UPDATE SET name = excluded.name, plan = excluded.plan, \
                  step = excluded.step, records = excluded.records, announced = excluded.announced, \
                  progress = excluded.progress, done_at = excluded.done_at";
    let done_at = mark.done_at.or((mark.step == Step::Done).then_some(now));
    let progress = serde_json::to_string(&Progress::of(mark)).map_err(|_| unreadable("mark"))?;
    let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let row = [
        scope.as_str().into(),
        names.fold(&mark.table).as_ref().into(),
        mark.strategy.as_str().into(),
        mark.table.as_str().into(),
        mark.plan.as_str().into(),
        mark.step.as_str().into(),
        number(mark.records),
        number(mark.announced),
        progress.into(),
        done_at.map(clock::to_text).into(),
    ];
    sql.execute(upsert, &row).map(|_| ())
}

/// The marks of a scope.
pub(crate) fn of_scope(sql: &mut dyn Sql, scope: &Scope) -> Result<Vec<Checkpoint>> {
    let select = "SELECT name, strategy, plan, step, records, announced, done_at, progress FROM rowferry_marks \
                  WHERE scope = ?1 ORDER BY table_name, strategy";
    sql.query(select, &[scope.as_str().into()])?.iter().map(|row| mark(row)).collect()
}

fn mark(row: &[Value]) -> Result<Checkpoint> {
    let mut fields = Fields::of(row);
    let (table, strategy, plan) = (fields.text()?, fields.word()?, fields.text()?);
    let step = match fields.text()?.as_str() {
        "fetching" => Step::Fetching,
        "staged" => Step::Staged,
        "done" => Step::Done,
        _ => return Err(unreadable("mark")),
    };
    let (records, announced, done_at) = (fields.number()?, fields.number()?, fields.optional_moment()?);
    let mut progress: Progress = fields.json()?;
    Ok(Checkpoint {
        table,
        strategy,
        plan,
        step,
        announced,
        records,
        outcome: progress.outcome()?,
        place: progress.place.as_deref().map(decoded).transpose()?,
        continues: progress.continues,
        bytes: progress.bytes,
        states: progress.states,
        stage: progress.stage,
        counted: progress.counted,
        done_at,
        lacks_parents: progress.lacks_parents,
        again: progress.again,
        created: progress.created,
        notes: progress.notes,
    })
}

/// Which tables of a scope have marks, by their folded names, and the strategies.
pub(crate) fn tables(sql: &mut dyn Sql, scope: &Scope) -> Result<Vec<(String, Strategy)>> {
    tables_of(sql, "SELECT table_name, strategy FROM rowferry_marks WHERE scope = ?1", scope)
}

fn tables_of(sql: &mut dyn Sql, select: &str, scope: &Scope) -> Result<Vec<(String, Strategy)>> {
    let rows = sql.query(select, &[scope.as_str().into()])?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.text()?, fields.word()?))
        })
        .collect()
}

/// The tables of a scope that are not done, whether anything came of them or not.
pub(crate) fn open(sql: &mut dyn Sql, scope: &Scope) -> Result<Vec<(String, Strategy)>> {
    tables_of(sql, "SELECT table_name, strategy FROM rowferry_marks WHERE scope = ?1 AND step <> 'done'", scope)
}

/// The marks of a sender's table in other scopes than this one, each with its scope.
pub(crate) fn elsewhere(
    sql: &mut dyn Sql,
    scope: &Scope,
    sender: &str,
    table: &str,
    strategy: Strategy,
    names: NameRules,
) -> Result<Vec<(Scope, Checkpoint)>> {
    let select = "SELECT name, strategy, plan, step, records, announced, done_at, progress, scope FROM rowferry_marks \
                  WHERE table_name = ?1 AND strategy = ?2 AND scope <> ?3 \
                  AND scope IN (SELECT scope FROM rowferry_pulls WHERE sender = ?4)";
    let parameters = [names.fold(table).as_ref().into(), strategy.as_str().into(), scope.as_str().into(), sender.into()];
    let rows = sql.query(select, &parameters)?;
    rows.iter().map(|row| Ok((Scope::named(text(row, 8)?), mark(row)?))).collect()
}

/// The tables of a scope that something came of, and that are not done.
pub(crate) fn unfinished(sql: &mut dyn Sql, scope: &Scope) -> Result<Vec<(String, Strategy)>> {
    let select = "SELECT table_name, strategy FROM rowferry_marks WHERE scope = ?1 AND step <> 'done' \
                  AND (records > 0 OR step = 'staged')";
    tables_of(sql, select, scope)
}

/// Forgets the mark of a table.
pub(crate) fn remove(sql: &mut dyn Sql, scope: &Scope, table: &str, strategy: Strategy, names: NameRules) -> Result<()> {
    let delete = "DELETE FROM rowferry_marks WHERE scope = ?1 AND table_name = ?2 AND strategy = ?3";
    sql.execute(delete, &[scope.as_str().into(), names.fold(table).as_ref().into(), strategy.as_str().into()]).map(|_| ())
}

/// An append that was finished, or can no longer be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) sender: String,
    pub(crate) table: String,
    pub(crate) records: u64,
    /// Whether it was finished.
    pub(crate) whole: bool,
    /// Whether records failed for want of a row that they refer to: the next append brings them.
    pub(crate) lacks_parents: bool,
    /// Whether it is known what its records became.
    pub(crate) keys_kept: bool,
    pub(crate) finished_at: OffsetDateTime,
}

/// Remembers the appends among these marks that added rows, before the marks are forgotten: whole ones, and those that will not be
/// gone on with.
pub(crate) fn remember_appends(
    sql: &mut dyn Sql,
    sender: &str,
    marks: &[Checkpoint],
    names: NameRules,
    now: OffsetDateTime,
) -> Result<()> {
    for mark in marks.iter().filter(|mark| mark.strategy == Strategy::Append) {
        let whole = mark.step == Step::Done;
        // Of an empty table nothing was appended, and what only waits in a stage was not either.
        let added = if whole { mark.records } else { mark.outcome.created };
        if added > 0 {
            let (sender, table) = (sender.to_owned(), mark.table.clone());
            let (records, lacks_parents) = (mark.records, mark.lacks_parents);
            let append = Appended { sender, table, records, whole, lacks_parents, keys_kept: true, finished_at: now };
            remember_append(sql, &append, names)?;
        }
    }
    Ok(())
}

fn remember_append(sql: &mut dyn Sql, append: &Appended, names: NameRules) -> Result<()> {
    // What was appended whole once is not less so when it was only begun the next time.
    let upsert = "INSERT INTO rowferry_appends (sender, table_name, name, records, finished_at, whole, lacks_parents, keys_kept) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                  ON CONFLICT (sender, table_name) DO UPDATE SET name = excluded.name, records = excluded.records, \
                  finished_at = excluded.finished_at, whole = excluded.whole, \
                  lacks_parents = excluded.lacks_parents, keys_kept = excluded.keys_kept WHERE excluded.whole >= rowferry_appends.whole";
    let row = [
        append.sender.as_str().into(),
        names.fold(&append.table).as_ref().into(),
        append.table.as_str().into(),
        Value::Integer(i64::try_from(append.records).unwrap_or(i64::MAX)),
        clock::to_text(append.finished_at).into(),
        i64::from(append.whole).into(),
        i64::from(append.lacks_parents).into(),
        i64::from(append.keys_kept).into(),
    ];
    sql.execute(upsert, &row).map(|_| ())
}

/// The append of a sender's table that is remembered, if there is one.
pub(crate) fn append_of(sql: &mut dyn Sql, sender: &str, table: &str, names: NameRules) -> Result<Option<Appended>> {
    let select = "SELECT sender, name, records, whole, lacks_parents, keys_kept, finished_at FROM rowferry_appends WHERE sender = ?1 AND table_name = ?2";
    let rows = sql.query(select, &[sender.into(), names.fold(table).as_ref().into()])?;
    rows.first().map(|row| appended(row)).transpose()
}

/// All appends that are remembered.
pub(crate) fn appends(sql: &mut dyn Sql) -> Result<Vec<Appended>> {
    let select = "SELECT sender, name, records, whole, lacks_parents, keys_kept, finished_at FROM rowferry_appends ORDER BY sender, table_name";
    sql.query(select, &[])?.iter().map(|row| appended(row)).collect()
}

fn appended(row: &[Value]) -> Result<Appended> {
    let mut fields = Fields::of(row);
    Ok(Appended {
        sender: fields.text()?,
        table: fields.text()?,
        records: fields.number()?,
        whole: fields.flag()?,
        lacks_parents: fields.flag()?,
        keys_kept: fields.flag()?,
        finished_at: fields.moment()?,
    })
}

/// It is not known any more what the records of these appends became: those of a table, of all senders.
pub(crate) fn forget_keys(sql: &mut dyn Sql, table: &str, names: NameRules) -> Result<()> {
    let update = "UPDATE rowferry_appends SET keys_kept = 0 WHERE table_name = ?1";
    sql.execute(update, &[names.fold(table).as_ref().into()]).map(|_| ())
}

/// Forgets an append that is remembered: `false` if there was none.
pub(crate) fn forget_append(sql: &mut dyn Sql, sender: &str, table: &str, names: NameRules) -> Result<bool> {
    let delete = "DELETE FROM rowferry_appends WHERE sender = ?1 AND table_name = ?2";
    Ok(sql.execute(delete, &[sender.into(), names.fold(table).as_ref().into()])? > 0)
}

#[cfg(all(test, feature = "sqlite"))]
#[path = "checkpoints_tests.rs"]
mod tests;
