//! Checkpoints: how far each table of a pull is.
//!
//! Tables are found by their folded names, so that everything that takes a table's name also takes the rules of the store: how it
//! compares names.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::pulls::{self, KeptPull};
use super::scope::Scope;
use crate::clock;
use crate::domain::names::NameRules;
use crate::domain::record::{Failure, Outcome, Reason};
use crate::domain::row_sum::RowSum;
use crate::domain::schema::{Index, IndexPart};
use crate::domain::strategy::Strategy;
use crate::domain::value::Value;
use crate::domain::verified::Verified;
use crate::error::Result;
use crate::state::fields::Fields;
use crate::state::unreadable;
use crate::store::Sql;

/// How far one table of a pull is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// The sender's name of the table.
    pub(crate) table: String,
    pub(crate) strategy: Strategy,
    /// The digest of what must be the same for the pull to resume the table.
    pub(crate) plan: String,
    pub(crate) step: Step,
    /// How many rows the sender said there are.
    pub(crate) announced: u64,
    /// Records received.
    pub(crate) records: u64,
    /// The sender's word for the place after them, if it has one.
    pub(crate) place: Option<Vec<u8>>,
    /// Whether it can be resumed there.
    pub(crate) continues: bool,
    /// The size of the pages that they came in.
    pub(crate) bytes: u64,
    /// The numbers of the sender's snapshots that they came from.
    pub(crate) states: Vec<u64>,
    /// The sum over the records as they arrived, if they were summed from the first one on.
    pub(crate) sum: Option<RowSum>,
    /// Whether they are known to be what the sender sent. Of a table that is not done they are not.
    pub(crate) verified: Verified,
    /// The number of the stage that rows of the table wait in.
    pub(crate) stage: Option<u32>,
    /// Whether the local rows were counted that such rows are compared with. A table that was done may get more of them from a
    /// later run, which are applied with the counts that the earlier run left.
    pub(crate) counted: bool,
    /// When it was first done. Rows that changed since are not after its last one, so that it must not be kept forever.
    pub(crate) done_at: Option<OffsetDateTime>,
    /// What became of the records.
    pub(crate) outcome: Outcome,
    /// Whether some of them failed for want of a row that they refer to: an append is not whole then.
    pub(crate) lacks_parents: bool,
    /// Whether records are appended that an earlier append brought: a run that resumes does the same.
    pub(crate) again: bool,
    /// What earlier passes over the table made of its records, where it is pulled again: counts only.
    pub(crate) before: Option<Outcome>,
    /// Whether it was made by a pull before this one, which was completed and could not note it, or which this one supersedes.
    pub(crate) made_before: bool,
    /// Whether the table was made by this pull, and what of it was left out.
    pub(crate) created: bool,
    pub(crate) notes: Vec<String>,
    /// Plain indexes that are made when all its rows are there. A table that is done has them.
    pub(crate) indexes: Vec<Index>,
}

/// A place in the sender's table, and what it took to get there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    /// Records received up to here.
    pub(crate) records: u64,
    /// The sender's word for the place, if it has one.
    pub(crate) place: Option<Vec<u8>>,
    /// Whether the pull can resume from here.
    pub(crate) continues: bool,
    /// The size of the pages up to here.
    pub(crate) bytes: u64,
    /// The numbers of the sender's snapshots that they came from.
    pub(crate) states: Vec<u64>,
    /// The sum over the records, if they are summed.
    pub(crate) sum: Option<RowSum>,
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
            sum: None,
            verified: Verified::None,
            stage: None,
            counted: false,
            done_at: None,
            outcome: Outcome::default(),
            lacks_parents: false,
            again: false,
            before: None,
            made_before: false,
            created: false,
            notes: Vec::new(),
            indexes: Vec::new(),
        }
    }

    /// The indexes that it still lacks.
    pub(crate) fn missing_indexes(&self) -> &[Index] {
        if self.step == Step::Done { &[] } else { &self.indexes }
    }

    /// Moves on to a place.
    pub(crate) fn reach(&mut self, reached: &Reached) {
        self.records = reached.records;
        self.place.clone_from(&reached.place);
        self.continues = reached.continues;
        self.bytes = reached.bytes;
        self.states.clone_from(&reached.states);
        (self.sum, self.verified) = (reached.sum, Verified::None);
    }

    /// Whether anything came of the table so far.
    pub(crate) fn has_progress(&self) -> bool {
        self.records > 0 || self.step != Step::Fetching
    }
}

/// What of a checkpoint is kept as JSON.
#[derive(Serialize, Deserialize)]
struct Progress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    continues: bool,
    bytes: u64,
    states: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<u32>,
    #[serde(default)]
    counted: bool,
    /// Created, updated, unchanged, skipped, failed.
    counts: [u64; 5],
    #[serde(default)]
    differing: u64,
    #[serde(default)]
    dangling: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lossy: BTreeMap<String, u64>,
    failures: Vec<KeptFailure>,
    #[serde(default)]
    lacks_parents: bool,
    #[serde(default)]
    again: bool,
    /// The same counts of earlier passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<[u64; 5]>,
    #[serde(default)]
    dangling_before: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    made_before: bool,
    created: bool,
    notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<KeptIndex>,
}

/// An index: its name, and its columns, each with a collation and whether it is descending.
#[derive(Serialize, Deserialize)]
struct KeptIndex(String, Vec<(String, Option<String>, bool)>);

impl KeptIndex {
    fn of(index: &Index) -> Self {
        let part = |part: &IndexPart| (part.column.clone(), part.collation.clone(), part.descending);
        KeptIndex(index.name.clone(), index.parts.iter().map(part).collect())
    }

    fn index(self) -> Index {
        let part = |(column, collation, descending)| IndexPart { column, collation, descending };
        Index { name: self.0, parts: self.1.into_iter().map(part).collect() }
    }
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
    STANDARD.decode(text).map_err(|_| unreadable("checkpoint"))
}

impl Progress {
    fn of(checkpoint: &Checkpoint) -> Self {
        let kept = |failure: &Failure| KeptFailure {
            key: failure.key.iter().map(KeptValue::of).collect(),
            column: failure.column.clone(),
            code: failure.reason.code().to_owned(),
            message: failure.message.clone(),
        };
        Progress {
            place: checkpoint.place.as_ref().map(|place| STANDARD.encode(place)),
            continues: checkpoint.continues,
            bytes: checkpoint.bytes,
            states: checkpoint.states.clone(),
            sum: checkpoint.sum.map(|sum| sum.to_string()),
            verified: Some(checkpoint.verified).filter(|it| *it != Verified::None).map(|it| it.to_string()),
            stage: checkpoint.stage,
            counted: checkpoint.counted,
            counts: counts_of(&checkpoint.outcome),
            differing: checkpoint.outcome.differing,
            dangling: checkpoint.outcome.dangling,
            lossy: checkpoint.outcome.lossy.clone(),
            failures: checkpoint.outcome.failures.iter().map(kept).collect(),
            lacks_parents: checkpoint.lacks_parents,
            again: checkpoint.again,
            before: checkpoint.before.as_ref().map(counts_of),
            dangling_before: checkpoint.before.as_ref().map_or(0, |before| before.dangling),
            made_before: checkpoint.made_before,
            created: checkpoint.created,
            notes: checkpoint.notes.clone(),
            indexes: checkpoint.missing_indexes().iter().map(KeptIndex::of).collect(),
        }
    }

    fn outcome(&mut self) -> Result<Outcome> {
        let failure = |kept: KeptFailure| {
            Ok(Failure {
                key: kept.key.into_iter().map(KeptValue::value).collect::<Result<_>>()?,
                column: kept.column,
                reason: Reason::from_code(&kept.code).ok_or_else(|| unreadable("checkpoint"))?,
                message: kept.message,
            })
        };
        let failures = std::mem::take(&mut self.failures).into_iter().map(failure).collect::<Result<_>>()?;
        let counts = outcome_of(self.counts);
        let lossy = std::mem::take(&mut self.lossy);
        Ok(Outcome { differing: self.differing, dangling: self.dangling, lossy, failures, ..counts })
    }
}

fn counts_of(outcome: &Outcome) -> [u64; 5] {
    [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed]
}

fn outcome_of([created, updated, unchanged, skipped, failed]: [u64; 5]) -> Outcome {
    Outcome { created, updated, unchanged, skipped, failed, ..Outcome::default() }
}

/// Keeps the first checkpoint of a table of a pull, in place of one that is there.
pub(crate) fn insert(
    sql: &mut dyn Sql,
    scope: &Scope,
    checkpoint: &Checkpoint,
    names: NameRules,
    now: OffsetDateTime,
) -> Result<()> {
    let insert = "INSERT INTO rowferry_marks \
                  (scope, table_name, strategy, name, plan, step, records, announced, progress, done_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                  ON CONFLICT (scope, table_name, strategy) DO UPDATE SET name = excluded.name, plan = excluded.plan, \
                  step = excluded.step, records = excluded.records, announced = excluded.announced, \
                  progress = excluded.progress, done_at = excluded.done_at";
    sql.execute(insert, &row_of(scope, checkpoint, names, now)?).map(|_| ())
}

/// Keeps a checkpoint in place of the one before it; `now` is when it was done, if it is done only now. `false` if there is none
/// before it: another pull has taken it away.
pub(crate) fn update(
    sql: &mut dyn Sql,
    scope: &Scope,
    checkpoint: &Checkpoint,
    names: NameRules,
    now: OffsetDateTime,
) -> Result<bool> {
    let update = "UPDATE rowferry_marks SET name = ?4, plan = ?5, step = ?6, records = ?7, announced = ?8, progress = ?9, \
                  done_at = ?10 WHERE scope = ?1 AND table_name = ?2 AND strategy = ?3";
    Ok(sql.execute(update, &row_of(scope, checkpoint, names, now)?)? == 1)
}

fn row_of(scope: &Scope, checkpoint: &Checkpoint, names: NameRules, now: OffsetDateTime) -> Result<[Value; 10]> {
    let done_at = checkpoint.done_at.or((checkpoint.step == Step::Done).then_some(now));
    let progress = serde_json::to_string(&Progress::of(checkpoint)).map_err(|_| unreadable("checkpoint"))?;
    let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    Ok([
        scope.as_str().into(),
        names.fold(&checkpoint.table).as_ref().into(),
        checkpoint.strategy.as_str().into(),
        checkpoint.table.as_str().into(),
        checkpoint.plan.as_str().into(),
        checkpoint.step.as_str().into(),
        number(checkpoint.records),
        number(checkpoint.announced),
        progress.into(),
        done_at.map(clock::to_text).into(),
    ])
}

/// The pulls that have checkpoints.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn scopes(sql: &mut dyn Sql) -> Result<Vec<Scope>> {
    let rows = sql.query("SELECT DISTINCT scope FROM rowferry_marks", &[])?;
    rows.iter().map(|row| Fields::of(row).text().map(Scope::named)).collect()
}

/// The checkpoints of a scope.
pub(crate) fn of_scope(sql: &mut dyn Sql, scope: &Scope) -> Result<Vec<Checkpoint>> {
    let select = "SELECT name, strategy, plan, step, records, announced, done_at, progress FROM rowferry_marks \
                  WHERE scope = ?1 ORDER BY table_name, strategy";
    sql.query(select, &[scope.as_str().into()])?.iter().map(|row| read(row)).collect()
}

fn read(row: &[Value]) -> Result<Checkpoint> {
    let mut fields = Fields::of(row);
    let (table, strategy, plan) = (fields.text()?, fields.word()?, fields.text()?);
    let step = match fields.text()?.as_str() {
        "fetching" => Step::Fetching,
        "staged" => Step::Staged,
        "done" => Step::Done,
        _ => return Err(unreadable("checkpoint")),
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
        sum: progress.sum.map(|sum| sum.parse().map_err(|()| unreadable("checkpoint"))).transpose()?,
        verified: progress.verified.map_or(Ok(Verified::None), |it| it.parse().map_err(|_| unreadable("checkpoint")))?,
        stage: progress.stage,
        counted: progress.counted,
        done_at,
        lacks_parents: progress.lacks_parents,
        again: progress.again,
        before: progress.before.map(|counts| Outcome { dangling: progress.dangling_before, ..outcome_of(counts) }),
        made_before: progress.made_before,
        created: progress.created,
        notes: progress.notes,
        indexes: progress.indexes.into_iter().map(KeptIndex::index).collect(),
    })
}

/// How many records of a table came up to its checkpoint, if it has one.
pub(crate) fn records(
    sql: &mut dyn Sql,
    scope: &Scope,
    table: &str,
    strategy: Strategy,
    names: NameRules,
) -> Result<Option<u64>> {
    let select = "SELECT records FROM rowferry_marks WHERE scope = ?1 AND table_name = ?2 AND strategy = ?3";
    let which = [scope.as_str().into(), names.fold(table).as_ref().into(), strategy.as_str().into()];
    sql.query(select, &which)?.first().map(|row| Fields::of(row).number()).transpose()
}

/// Which tables of a scope have checkpoints, by their folded names, and the strategies.
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

/// The checkpoints of a sender's table in the pulls of other scopes than this one, each with its pull.
pub(crate) fn elsewhere(
    sql: &mut dyn Sql,
    scope: &Scope,
    sender: &str,
    table: &str,
    strategy: Strategy,
    names: NameRules,
) -> Result<Vec<(KeptPull, Checkpoint)>> {
    let select = "SELECT name, strategy, plan, step, records, announced, done_at, progress FROM rowferry_marks \
                  WHERE scope = ?1 AND table_name = ?2 AND strategy = ?3";
    let mut found = Vec::new();
    for pull in pulls::kept(sql, Some(sender))?.into_iter().filter(|pull| pull.scope != *scope) {
        let which = [pull.scope.as_str().into(), names.fold(table).as_ref().into(), strategy.as_str().into()];
        if let Some(row) = sql.query(select, &which)?.first() {
            found.push((pull, read(row)?));
        }
    }
    Ok(found)
}

/// The tables of a scope that something came of, and that are not done.
pub(crate) fn unfinished(sql: &mut dyn Sql, scope: &Scope) -> Result<Vec<(String, Strategy)>> {
    let select = "SELECT table_name, strategy FROM rowferry_marks WHERE scope = ?1 AND step <> 'done' \
                  AND (records > 0 OR step = 'staged')";
    tables_of(sql, select, scope)
}

/// Forgets the checkpoint of a table.
pub(crate) fn remove(sql: &mut dyn Sql, scope: &Scope, table: &str, strategy: Strategy, names: NameRules) -> Result<()> {
    let delete = "DELETE FROM rowferry_marks WHERE scope = ?1 AND table_name = ?2 AND strategy = ?3";
    sql.execute(delete, &[scope.as_str().into(), names.fold(table).as_ref().into(), strategy.as_str().into()]).map(|_| ())
}

#[cfg(all(test, feature = "sqlite"))]
#[path = "checkpoints_tests.rs"]
mod tests;
