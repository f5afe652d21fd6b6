//! What undoes the writes of pulls: pages of [entries](crate::domain::undo), kept with the rows in one transaction, until they are
//! used or too old.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Ledger;
use super::history::History;
use crate::clock;
use crate::domain::names::NameRules;
use crate::domain::undo::{Columns, Entry, PageBuilder, read};
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::{text, unreadable};
use crate::store::Sql;

/// Which transfer the writes to each table belong to, by folded names.
pub(super) type Transfers = HashMap<String, Uuid>;

/// What there is to undo of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) transfer: Uuid,
    /// The folded name of its table.
    pub(crate) table: String,
    /// The last of its pages.
    pub(crate) last: i64,
}

impl Ledger<'_> {
    /// From now on what undoes the writes of this pull is kept.
    pub(crate) fn keep_undo(&mut self) {
        self.undo.get_or_insert_default();
    }

    /// The writes to this table belong to this transfer from now on.
    pub(super) fn note_transfer(&self, table: &str, transfer: Option<Uuid>) {
        if let (Some(transfers), Some(transfer)) = (&self.undo, transfer) {
            transfers.borrow_mut().insert(self.names().fold(table).into_owned(), transfer);
        }
    }

    /// What keeps how to undo the writes of a transaction, if that is kept.
    pub(crate) fn undo_keeper(&self) -> Option<Keeper> {
        let transfers = Rc::clone(self.undo.as_ref()?);
        let pull = self.scope().as_str().to_owned();
        Some(Keeper { transfers, history: Rc::clone(&self.history), pull, names: self.names(), now: self.now() })
    }
}

/// Keeps what undoes the writes of a transaction.
pub(crate) struct Keeper {
    transfers: Rc<RefCell<Transfers>>,
    history: Rc<RefCell<Option<History>>>,
    pull: String,
    names: NameRules,
    now: OffsetDateTime,
}

impl Keeper {
    /// The transfer that the writes to this table belong to. Records of an earlier run may have waited for other tables: their transfer
    /// has ended, so they get one of their own. `None` where the pull leaves no history.
    pub(crate) fn transfer_of(&self, table: &str) -> Option<Uuid> {
        let folded = self.names.fold(table);
        if let Some(known) = self.transfers.borrow().get(folded.as_ref()) {
            return Some(*known);
        }
        let transfer = self.history.borrow_mut().as_mut()?.begin_ended(table, self.now);
        self.transfers.borrow_mut().insert(folded.into_owned(), transfer);
        Some(transfer)
    }

    /// Keeps a page of a transfer, after all others.
    pub(crate) fn keep(&self, sql: &mut dyn Sql, transfer: Uuid, table: &str, page: &PageBuilder) -> Result<()> {
        add(sql, self.now, (transfer, &self.pull), &self.names.fold(table), page)
    }
}

/// Keeps a page, after all others.
fn add(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    (transfer, pull): (Uuid, &str),
    table: &str,
    page: &PageBuilder,
) -> Result<()> {
    let packed = lz4_flex::block::compress_prepend_size(page.bytes());
    let insert = "INSERT INTO rowferry_undo (seq, transfer, pull, table_name, entries, bytes, written_at, page) \
                  VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM rowferry_undo), ?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values: [Value; 7] = [
        transfer.to_string().into(),
        pull.into(),
        table.into(),
        (page.entries as i64).into(),
        (packed.len() as i64).into(),
        clock::to_text(now).into(),
        Value::Blob(packed),
    ];
    sql.execute(insert, &values).map(|_| ())
}

/// What there is to undo of these transfers, where there is something.
pub(crate) fn kept(sql: &mut dyn Sql, transfer: Uuid) -> Result<Option<Kept>> {
    let select = "SELECT table_name, seq FROM rowferry_undo WHERE transfer = ?1 ORDER BY seq DESC LIMIT 1";
    let rows = sql.query(select, &[transfer.to_string().into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let last = row.get(1).and_then(Value::as_integer).ok_or_else(|| unreadable("number"))?;
    Ok(Some(Kept { transfer, table: text(row, 0)?, last }))
}

/// The transfers of the same pull that can be undone, in no order.
pub(crate) fn of_same_pull(sql: &mut dyn Sql, transfer: Uuid) -> Result<Vec<Uuid>> {
    let select = "SELECT DISTINCT transfer FROM rowferry_undo WHERE pull IN \
                  (SELECT pull FROM rowferry_undo WHERE transfer = ?1) ORDER BY transfer";
    sql.query(select, &[transfer.to_string().into()])?.iter().map(|row| uuid(row)).collect()
}

/// A transfer of the same table that wrote after this one, and can be undone; none of these.
pub(crate) fn later(sql: &mut dyn Sql, kept: &Kept, but: &[Uuid]) -> Result<Option<Uuid>> {
    let select = "SELECT DISTINCT transfer FROM rowferry_undo WHERE table_name = ?1 AND seq > ?2 ORDER BY transfer";
    let rows = sql.query(select, &[kept.table.as_str().into(), kept.last.into()])?;
    let found: Vec<Uuid> = rows.iter().map(|row| uuid(row)).collect::<Result<_>>()?;
    Ok(found.into_iter().find(|transfer| !but.contains(transfer)))
}

/// The last page of a transfer before this one: its number and its entries.
pub(crate) fn page_before(sql: &mut dyn Sql, transfer: Uuid, before: i64) -> Result<Option<(i64, Columns, Vec<Entry>)>> {
    let select = "SELECT seq, page FROM rowferry_undo WHERE transfer = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1";
    let rows = sql.query(select, &[transfer.to_string().into(), before.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (Some(seq), Some(Value::Blob(packed))) = (row.first().and_then(Value::as_integer), row.get(1)) else {
        return Err(unreadable("page"));
    };
    let bytes = lz4_flex::block::decompress_size_prepended(packed).map_err(|_| unreadable("page"))?;
    let (columns, entries) = read(&bytes).ok_or_else(|| unreadable("page"))?;
    Ok(Some((seq, columns, entries)))
}

/// Forgets how to undo a transfer.
pub(crate) fn forget(sql: &mut dyn Sql, transfer: &Uuid) -> Result<()> {
    sql.execute("DELETE FROM rowferry_undo WHERE transfer = ?1", &[transfer.to_string().into()]).map(|_| ())
}

/// The oldest transfer, if it wrote last before this moment or all take more bytes than these.
pub(crate) fn late(sql: &mut dyn Sql, before: Option<OffsetDateTime>, most_bytes: u64) -> Result<Option<Uuid>> {
    let oldest = sql.query("SELECT transfer FROM rowferry_undo ORDER BY seq LIMIT 1", &[])?;
    let Some(transfer) = oldest.first().map(|row| uuid(row)).transpose()? else { return Ok(None) };
    let last = "SELECT MAX(written_at) FROM rowferry_undo WHERE transfer = ?1";
    let last = sql.query(last, &[transfer.to_string().into()])?;
    let last = last.first().map(|row| text(row, 0)).transpose()?;
    let is_old = before.is_some_and(|before| last.is_some_and(|last| last < clock::to_text(before)));
    Ok((is_old || total(sql)?.1 > most_bytes).then_some(transfer))
}

/// How many transfers can be undone, and the bytes that this takes.
pub(crate) fn total(sql: &mut dyn Sql) -> Result<(u64, u64)> {
    let rows =
        sql.query("SELECT COUNT(DISTINCT transfer), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM rowferry_undo", &[])?;
    let number = |at: usize| {
        let number = rows.first().and_then(|row| row.get(at)).and_then(Value::as_integer);
        number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| unreadable("number"))
    };
    Ok((number(0)?, number(1)?))
}

fn uuid(row: &[Value]) -> Result<Uuid> {
    Uuid::parse_str(&text(row, 0)?).map_err(|_| unreadable("transfer"))
}
