//! The suite for stores, run over the SQLite store from outside of the crate, and over stores that break one promise each:
//! those it must find.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rowferry::Limits;
use rowferry::store::SqliteStore;
use rowferry::store::{MemoryStore, Store, conformance};

mod broken;
mod broken_writer;

use broken::Broken;

/// Opens a new file each time.
struct Files {
    folder: tempfile::TempDir,
    made: Cell<u32>,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap(), made: Cell::new(0) }
    }

    fn open(&self) -> SqliteStore {
        self.made.set(self.made.get() + 1);
        SqliteStore::open(self.folder.path().join(format!("{}.db", self.made.get())), &Limits::default()).unwrap()
    }

    fn broken(&self, fault: Fault) -> Arc<dyn Store> {
        Arc::new(Broken::new(self.open(), fault))
    }
}

#[test]
fn the_sqlite_store_conforms() {
    let files = Files::new();
    conformance::run(&mut || Arc::new(files.open()));
}

#[test]
fn the_store_in_memory_conforms() {
    conformance::run(&mut || Arc::new(MemoryStore::new().unwrap()));
}

/// The traits can be implemented outside of the crate.
#[test]
fn a_store_that_only_passes_on_conforms() {
    let files = Files::new();
    conformance::run(&mut || files.broken(Fault::None));
}

#[test]
fn the_suite_finds_what_is_broken() {
    let files = Files::new();
    for (fault, name) in FAULTS {
        let case = conformance::CASES.iter().find(|case| case.name == *name).unwrap_or_else(|| panic!("no case {name}"));
        let run = catch_unwind(AssertUnwindSafe(|| case.run(&*files.broken(*fault))));
        assert!(run.is_err(), "{name} does not find {fault:?}");
    }
}

#[test]
fn a_run_names_the_cases_that_failed() {
    let files = Files::new();
    let run = catch_unwind(AssertUnwindSafe(|| conformance::run(&mut || files.broken(Fault::TablesUnsorted))));
    let message = *run.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("catalogue::tables_are_sorted_and_rowferrys_own_are_not_among_them: "), "{message}");
    assert!(!message.contains("transaction::"), "{message}");
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    NamesNotFolded,
    TablesUnsorted,
    NotesLost,
    KeyCollationsLost,
    PagesByColumns,
    LookupByColumns,
    UpdateByColumns,
    BulkByColumns,
    AlwaysMore,
    SkipIgnored,
    BytesIgnored,
    EndsLeftOut,
    CursorIgnored,
    SnapshotMovesOn,
    AbsentIsNull,
    MisfitsSilent,
    MisfitsAreNull,
    OneMisfitNamed,
    MisfitsCountedFromFirst,
    ComparesAsItCame,
    ComparesAll,
    LookupIgnoresColumn,
    LookupFindsNull,
    LookupFailsForMissing,
    LookupInAnyOrder,
    UpdateSetsAll,
    UpdateFindsNothing,
    InsertReplaces,
    RefusalSinksBatch,
    RefusalEndsBatch,
    RefusalsCountedFromRange,
    WriteIgnoresRange,
    ClashesWithItself,
    OneClashNamed,
    OwnReferencesLost,
    BulkMergeIsOverwrite,
    BulkIgnoresRange,
    BulkIgnoresOrder,
    BulkCountsTwice,
    BulkSaysLess,
    BulkAbsentIsNull,
    BulkLeavesRefusedOut,
    IntegersOfTheKeyOnly,
    IntegersBelowZero,
    AtCommitNothing,
    AtCommitNever,
    NowNothing,
    ByCallerNothing,
    ByCallerStays,
    ByCallerAlways,
    RollbackOfChecks,
    RollbackNothing,
    RollbackWithoutSavepoint,
    SavepointReplaces,
    ReleaseNothing,
    ReleaseUndoes,
    DropCommits,
    StateKeptOnError,
    StateWrittenWhenRead,
}

const FAULTS: &[(Fault, &str)] = &[
    (Fault::NamesNotFolded, "catalogue::a_table_is_found_by_its_name"),
    (Fault::TablesUnsorted, "catalogue::tables_are_sorted_and_rowferrys_own_are_not_among_them"),
    (Fault::NotesLost, "catalogue::what_cannot_be_taken_over_is_said"),
    (Fault::KeyCollationsLost, "catalogue::a_key_compares_as_described_or_it_is_said"),
    (Fault::PagesByColumns, "pages::a_key_orders_as_it_compares"),
    (Fault::LookupByColumns, "lookup::a_key_is_found_as_it_compares"),
    (Fault::UpdateByColumns, "write::a_key_is_one_as_it_compares"),
    (Fault::BulkByColumns, "bulk_model::keys_that_compare_otherwise_than_their_columns"),
    (Fault::AlwaysMore, "pages::rows_come_in_key_order_and_each_once"),
    (Fault::SkipIgnored, "pages::skipped_rows_are_left_out"),
    (Fault::BytesIgnored, "pages::a_page_ends_at_its_bytes"),
    (Fault::EndsLeftOut, "pages::rows_are_found_by_their_key"),
    (Fault::CursorIgnored, "pages::a_writer_reads_what_it_wrote"),
    (Fault::SnapshotMovesOn, "snapshot::it_stays_as_it_is"),
    (Fault::AbsentIsNull, "fit::what_a_record_lacks_stays_absent"),
    (Fault::MisfitsAreNull, "fit::what_does_not_fit_is_named_and_stands_as_it_came"),
    (Fault::OneMisfitNamed, "fit::all_that_does_not_fit_is_named_in_order"),
    (Fault::MisfitsSilent, "values::nothing_is_changed_silently"),
    (Fault::MisfitsCountedFromFirst, "fit::only_the_range_is_fitted"),
    (Fault::ComparesAsItCame, "comparable::what_a_lookup_finds_is_the_same"),
    (Fault::ComparesAll, "comparable::each_value_is_that_of_its_cell"),
    (Fault::LookupIgnoresColumn, "lookup::each_column_counts"),
    (Fault::LookupFindsNull, "lookup::null_and_what_is_absent_find_nothing"),
    (Fault::LookupFailsForMissing, "lookup::what_does_not_exist_finds_nothing"),
    (Fault::LookupInAnyOrder, "lookup::answers_are_those_of_the_range"),
    (Fault::UpdateSetsAll, "write::an_update_sets_only_what_it_is_told"),
    (Fault::UpdateFindsNothing, "write::an_update_that_finds_no_row_is_refused"),
    (Fault::InsertReplaces, "write::no_other_row_makes_room"),
    (Fault::RefusalSinksBatch, "write::refused_rows_leave_nothing_and_take_no_other_with_them"),
    (Fault::RefusalEndsBatch, "write::refused_rows_leave_nothing_and_take_no_other_with_them"),
    (Fault::RefusalsCountedFromRange, "write::only_the_range_is_written"),
    (Fault::WriteIgnoresRange, "write::only_the_range_is_written"),
    (Fault::ClashesWithItself, "clashes::its_own_row_is_in_nobodys_way"),
    (Fault::OneClashNamed, "clashes::all_rows_in_the_way_are_named_once"),
    (Fault::OwnReferencesLost, "references::what_refers_to_a_table_is_known"),
    (Fault::BulkMergeIsOverwrite, "bulk::merge_takes_what_is_not_null"),
    (Fault::BulkIgnoresRange, "bulk::only_the_range_is_applied"),
    (Fault::BulkIgnoresOrder, "bulk::a_key_twice_in_a_batch_is_applied_twice"),
    (Fault::BulkCountsTwice, "bulk::skip_leaves_what_is_there"),
    (Fault::BulkSaysLess, "bulk_model::records_of_every_kind"),
    (Fault::BulkAbsentIsNull, "bulk_model::records_of_every_kind"),
    (Fault::BulkLeavesRefusedOut, "bulk_model::records_that_are_refused"),
    (Fault::IntegersOfTheKeyOnly, "integers::it_is_the_largest"),
    (Fault::IntegersBelowZero, "integers::it_is_at_least_zero"),
    (Fault::AtCommitNothing, "references::at_the_commit_parents_may_come_late"),
    (Fault::AtCommitNever, "references::at_the_commit_what_refers_to_nothing_is_an_error"),
    (Fault::NowNothing, "references::checks_at_the_commit_end"),
    (Fault::ByCallerNothing, "references::what_the_caller_checks_the_store_does_not"),
    (Fault::ByCallerStays, "references::checks_by_the_caller_end"),
    (Fault::ByCallerAlways, "references::rows_follow_a_changed_parent_whatever_is_checked"),
    (Fault::RollbackOfChecks, "references::a_savepoint_has_no_part_in_when"),
    (Fault::RollbackNothing, "savepoints::rows_tables_and_state_are_undone"),
    (Fault::RollbackWithoutSavepoint, "savepoints::without_one_there_is_nothing_to_go_back_to"),
    (Fault::SavepointReplaces, "savepoints::they_nest"),
    (Fault::ReleaseNothing, "savepoints::what_is_released_is_kept"),
    (Fault::ReleaseUndoes, "savepoints::what_is_released_is_kept"),
    (Fault::DropCommits, "transaction::a_drop_keeps_nothing"),
    (Fault::StateKeptOnError, "transaction::state_is_kept_or_not_as_a_whole"),
    (Fault::StateWrittenWhenRead, "transaction::state_is_read_and_not_written"),
];
