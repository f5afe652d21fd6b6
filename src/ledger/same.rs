//! States of senders that are here whole: a pull of the same kind asks first whether all is still so. What is kept is dropped before a
//! pull writes rows, so that a pull which is killed leaves none of it.

use uuid::Uuid;

use super::run::Ledger;
use crate::clock;
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::fields::Fields;
use crate::state::{self, unreadable};
use crate::store::{Sql, StateToken};

/// How many are kept; the oldest leave.
const MOST: usize = 256;

const COLUMNS: &str = "sender, plan, incarnation, here, token, schema, local, kept_at";

/// A state of a sender that is here whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Same {
    /// Of whom, and of which kind of pull.
    pub(crate) kind: Kind,
    /// The sender's own word for the state.
    pub(crate) token: String,
    /// The number of the schema here.
    pub(crate) schema: i64,
    /// The state of the rows here, if nobody else wrote while they came.
    pub(crate) local: Option<Vec<u8>>,
    kept_at: String,
}

/// Which pulls bring the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Who the rows come from.
    pub(crate) sender: String,
    /// From which copy of its database.
    pub(crate) incarnation: Uuid,
    /// Into which copy of this one.
    pub(crate) here: Uuid,
    /// A digest of all that the caller chose.
    pub(crate) plan: String,
}

impl Ledger<'_> {
    /// The state that is kept of a kind of pulls, if there is one.
    pub(crate) fn same(&self, kind: &Kind) -> Result<Option<Same>> {
        let select = format!("SELECT {COLUMNS} FROM rowferry_same WHERE sender = ?1 AND plan = ?2");
        let found = state::read(self.here.store, |sql| {
            sql.query(&select, &[kind.sender.as_str().into(), kind.plan.as_str().into()])
        })?;
        let found = found.first().map(|row| same(row)).transpose()?;
        // Of another copy it says nothing.
        Ok(found.filter(|found| found.kind == *kind))
    }

    /// Takes out all that is kept: rows are about to be written.
    pub(crate) fn take_same(&self) -> Result<Vec<Same>> {
        let select = format!("SELECT {COLUMNS} FROM rowferry_same ORDER BY kept_at");
        // A look first, which needs no write lock.
        if state::read(self.here.store, |sql| sql.query("SELECT 1 FROM rowferry_same LIMIT 1", &[]))?.is_empty() {
            return Ok(Vec::new());
        }
        state::write(self.here.store, |sql| {
            let all = sql.query(&select, &[])?.iter().map(|row| same(row)).collect::<Result<Vec<_>>>()?;
            forget_all(sql)?;
            Ok(all)
        })
    }

    /// Keeps these. Where rows were written, what other pulls kept meanwhile is dropped.
    pub(crate) fn keep_same(&self, all: &[Same], wrote: bool) -> Result<()> {
        if all.is_empty() {
            return if wrote { self.take_same().map(|_| ()) } else { Ok(()) };
        }
        state::write(self.here.store, |sql| {
            if wrote {
                forget_all(sql)?;
            }
            all.iter().skip(all.len().saturating_sub(MOST)).try_for_each(|same| put(sql, same))
        })
    }

    /// How many write transactions this run has begun.
    pub(crate) fn writers(&self) -> u64 {
        self.writers.get()
    }

    /// A state that is whole here from now on.
    pub(crate) fn new_same(&self, kind: Kind, token: String, now: StateToken, is_apart: bool) -> Same {
        let local = is_apart.then(|| now.to_bytes().to_vec());
        Same { kind, token, schema: now.schema(), local, kept_at: clock::to_text(self.now()) }
    }
}

/// Forgets all that is kept: the next pulls are to look at all rows again.
pub(crate) fn forget_all(sql: &mut dyn Sql) -> Result<()> {
    sql.execute("DELETE FROM rowferry_same", &[]).map(|_| ())
}

fn put(sql: &mut dyn Sql, same: &Same) -> Result<()> {
    let upsert = format!(
        "INSERT INTO rowferry_same ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (sender, plan) DO UPDATE SET \
         incarnation = excluded.incarnation, here = excluded.here, token = excluded.token, schema = excluded.schema, \
         local = excluded.local, kept_at = excluded.kept_at"
    );
    let row = [
        same.kind.sender.as_str().into(),
        same.kind.plan.as_str().into(),
        same.kind.incarnation.to_string().into(),
        same.kind.here.to_string().into(),
        same.token.as_str().into(),
        same.schema.into(),
        same.local.clone().map_or(Value::Null, Value::Blob),
        same.kept_at.as_str().into(),
    ];
    sql.execute(&upsert, &row).map(|_| ())
}

fn same(row: &[Value]) -> Result<Same> {
    let mut fields = Fields::of(row);
    let (sender, plan) = (fields.text()?, fields.text()?);
    let (incarnation, here) = (fields.word()?, fields.word()?);
    let token = fields.text()?;
    let schema = row.get(5).and_then(Value::as_integer).ok_or_else(|| unreadable("number"))?;
    let local = match row.get(6) {
        Some(Value::Null) => None,
        Some(Value::Blob(local)) => Some(local.clone()),
        _ => return Err(unreadable("token")),
    };
    let kept_at = row.get(7).and_then(Value::as_str).ok_or_else(|| unreadable("moment"))?.to_owned();
    Ok(Same { kind: Kind { sender, incarnation, here, plan }, token, schema, local, kept_at })
}
