//! Undoing transfers.

use time::OffsetDateTime;
use uuid::Uuid;

use super::transfers::Transfers;
use crate::domain::schema::TableSchema;
use crate::domain::session::Direction;
use crate::domain::transfer::{Transfer, TransferCounters, TransferStatus};
use crate::domain::undone::{TableUndone, UndoOptions, UndoReport};
use crate::error::{Error, ErrorKind, Result};
use crate::import::undo;
use crate::ledger::undo::{self as kept, Kept};
use crate::plan::order::order;
use crate::state::transfers;
use crate::store::{Sql, Writer};

/// The note of a transfer that undid another one: which.
const UNDOES: &str = "undoes";

/// The note of a transfer that was undone: by which.
const UNDONE_BY: &str = "undone_by";

impl Transfers<'_> {
    /// Undoes a transfer that came with a pull that was to be [undoable](crate::PullOptions::undoable): each row that is still as the
    /// transfer left it becomes what it was before, and is deleted if it was not there. Any other row stays as it is, and is named in the report; so does a
    /// row that the transfer added and that other rows refer to. All of it is one transaction, and a transfer in the history, whose
    /// [`metadata`](Transfer::metadata) says which one it undid (`undoes`), as that one's says by which it was undone (`undone_by`).
    ///
    /// What triggers wrote when the rows came is not undone, and they run again. After it nothing more is kept to undo the transfer.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`NotUndoable`](ErrorKind::NotUndoable) where nothing is kept to undo it;
    /// [`AlreadyUndone`](ErrorKind::AlreadyUndone); [`LaterTransfer`](ErrorKind::LaterTransfer) while a later transfer of the table
    /// can be undone; [`InvalidTransition`](ErrorKind::InvalidTransition) while it runs; [`SchemaMismatch`](ErrorKind::SchemaMismatch)
    /// if the table has other columns now; [`TableNotFound`](ErrorKind::TableNotFound) if it is gone.
    pub fn undo(&self, uuid: Uuid, options: UndoOptions) -> Result<UndoReport> {
        let store = self.site().store_ref();
        if !store.undoes() {
            return Err(Error::new(ErrorKind::NotUndoable, "transfers into this kind of database cannot be undone"));
        }
        let now = self.site().now();
        let mut writer = store.writer()?;
        let all = chosen(writer.state(), uuid, options)?;
        let tables = schemas(&mut *writer, &all)?;
        let named = self.site().limits().pull.reported_failures;
        let mut undone = undo::undo(&mut *writer, &tables, named)?;
        if options.dry_run {
            return Ok(UndoReport::new(true, undone));
        }
        for table in &mut undone {
            table.undone_by = Some(self.note(writer.state(), now, table)?);
        }
        writer.commit()?;
        self.site().wake_all();
        Ok(UndoReport::new(false, undone))
    }

    /// Puts into the history that a transfer was undone, and forgets how.
    fn note(&self, sql: &mut dyn Sql, now: OffsetDateTime, table: &TableUndone) -> Result<Uuid> {
        let mut own = Transfer::new(Direction::Receive, &table.table, now);
        own.initiated_by = Some(self.actor().to_owned());
        own.started_at = Some(now);
        own.status = TransferStatus::Completed;
        own.counters = TransferCounters {
            records_transferred: table.restored + table.deleted,
            records_updated: table.restored,
            records_skipped: table.kept + table.unchanged,
            ..TransferCounters::default()
        };
        own.metadata.insert(UNDOES.to_owned(), table.transfer.to_string().into());
        transfers::insert_ended(sql, now, self.actor(), &own)?;
        transfers::note(sql, table.transfer, UNDONE_BY, &own.uuid.to_string())?;
        kept::forget(sql, &table.transfer)?;
        Ok(own.uuid)
    }
}

/// What there is to undo of a transfer, or of all of its pull.
fn chosen(sql: &mut dyn Sql, uuid: Uuid, options: UndoOptions) -> Result<Vec<Kept>> {
    check(sql, uuid)?;
    let uuids = if options.whole_pull { kept::of_same_pull(sql, uuid)? } else { vec![uuid] };
    let mut all = Vec::new();
    for uuid in &uuids {
        if let Some(kept) = kept::kept(sql, *uuid)? {
            check(sql, *uuid)?;
            all.push(kept);
        }
    }
    if all.is_empty() {
        let message = format!("nothing is kept to undo the transfer {uuid}");
        return Err(Error::new(ErrorKind::NotUndoable, message)
            .with_transfer(uuid)
            .with_hint("Only a pull that is asked for it keeps it, and only for a time; a transfer that changed nothing has nothing to undo."));
    }
    for kept in &all {
        if let Some(later) = kept::later(sql, kept, &uuids)? {
            let message = format!("the transfer {later} wrote to {:?} after {}", kept.table, kept.transfer);
            return Err(Error::new(ErrorKind::LaterTransfer, message)
                .with_transfer(kept.transfer)
                .with_hint("Undo the later transfer first."));
        }
    }
    Ok(all)
}

/// An error if a transfer cannot be undone as it stands in the history.
fn check(sql: &mut dyn Sql, uuid: Uuid) -> Result<()> {
    let Some(transfer) = transfers::by_uuid(sql, uuid)? else {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no transfer {uuid}")));
    };
    if let Some(by) = transfer.metadata.get(UNDONE_BY).and_then(|by| by.as_str()) {
        let message = format!("the transfer {uuid} was undone before, by {by}");
        return Err(Error::new(ErrorKind::AlreadyUndone, message).with_transfer(uuid));
    }
    if !transfer.status.is_final() {
        let message = format!("a transfer that is {} cannot be undone", transfer.status);
        return Err(Error::new(ErrorKind::InvalidTransition, message)
            .with_transfer(uuid)
            .with_hint("Cancel it, or wait for its end."));
    }
    Ok(())
}

/// The transfers in the order in which they are undone, each with its table: those of tables that refer to others first, of one
/// table the newest first.
fn schemas(writer: &mut dyn Writer, all: &[Kept]) -> Result<Vec<(Uuid, TableSchema)>> {
    let mut newest_first: Vec<&Kept> = all.iter().collect();
    newest_first.sort_by_key(|kept| std::cmp::Reverse(kept.last));
    let mut tables: Vec<TableSchema> = Vec::new();
    let mut of = Vec::new();
    for kept in newest_first {
        let at = match of.iter().find(|(_, _, name)| *name == kept.table) {
            Some((_, at, _)) => *at,
            None => {
                let gone = || {
                    let message = format!("the table {:?} is gone that the transfer {} wrote to", kept.table, kept.transfer);
                    Error::new(ErrorKind::TableNotFound, message).with_transfer(kept.transfer)
                };
                tables.push(writer.schema(&kept.table)?.ok_or_else(gone)?);
                tables.len() - 1
            }
        };
        of.push((kept.transfer, at, kept.table.clone()));
    }
    let Some(names) = tables.first().map(|table| table.names) else { return Ok(Vec::new()) };
    let children_first = order(&tables, names).into_iter().rev().flat_map(|group| group.into_iter().rev());
    let mut ordered = Vec::new();
    for at in children_first {
        let transfers = of.iter().filter(|(_, table, _)| *table == at);
        ordered.extend(transfers.map(|(transfer, _, _)| (*transfer, tables[at].clone())));
    }
    Ok(ordered)
}
