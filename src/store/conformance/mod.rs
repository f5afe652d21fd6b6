//! What every implementation of [`Store`] must do, as a suite of cases. For tests, of rowferry's own stores and of others.
//!
//! A case gets a fresh, empty store and uses nothing but the traits of [`store`](crate::store): it makes its tables with
//! [`Writer::create_table`](crate::store::Writer::create_table), fills them with
//! [`Writer::write`](crate::store::Writer::write) and reads them through a [`Snapshot`](crate::store::Snapshot). What only one
//! database has is left out, or looked for first: a store whose keys are never NULL need not order rows without one. What an
//! importer makes of a writer (appends, rows without a key, rows that wait) is the same for every store, and not tested here.
//!
//! ```no_run
//! use std::sync::Arc;
//! use rowferry::Limits;
//! use rowferry::store::{SqliteStore, conformance};
//!
//! let folder = tempfile::tempdir()?;
//! let mut number = 0;
//! conformance::run(&mut || {
//!     number += 1;
//!     let path = folder.path().join(format!("{number}.db"));
//!     Arc::new(SqliteStore::open(path, &Limits::default()).expect("the folder can be written"))
//! });
//! # Ok::<(), std::io::Error>(())
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::store::Store;

mod bulk;
mod bulk_model;
mod catalogue;
mod clashes;
mod comparable;
mod fit;
pub(crate) mod harness;
mod integers;
mod lookup;
mod one_by_one;
mod pages;
mod references;
mod savepoints;
mod snapshot;
pub(crate) mod strategies;
mod transaction;
mod values;
mod write;

/// One case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What the store must do, in words that are also the path of the function that sees to it.
    pub name: &'static str,
    check: fn(&dyn Store),
}

impl Case {
    /// Runs the case on a store that was just made and has no tables.
    ///
    /// # Panics
    /// If the store does something else than its contract says; the message tells what.
    pub fn run(&self, store: &dyn Store) {
        (self.check)(store);
    }
}

/// Runs all cases, each on a store of its own from `fixture`: open, its state [up to date](crate::store::migrate), without
/// tables.
///
/// # Panics
/// If a case failed, when all have run: the message names each that did, and says why.
pub fn run(fixture: &mut dyn FnMut() -> Arc<dyn Store>) {
    let mut failed = Vec::new();
    for case in CASES {
        let store = fixture();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case.run(&*store))) {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            failed.push(format!("{}: {}", case.name, text.unwrap_or("it panicked")));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n  {}", failed.len(), CASES.len(), failed.join("\n  "));
}

macro_rules! cases {
    ($($module:ident { $($case:ident,)* })*) => {
        /// All cases, for a harness that runs them one by one.
        pub const CASES: &[Case] = &[
            $($(Case { name: concat!(stringify!($module), "::", stringify!($case)), check: $module::$case },)*)*
        ];
    };
}

cases! {
    comparable {
        what_a_lookup_finds_is_the_same,
        each_value_is_that_of_its_cell,
    }
    catalogue {
        a_fresh_store_has_no_tables,
        tables_are_sorted_and_rowferrys_own_are_not_among_them,
        a_table_is_found_by_its_name,
        a_table_reads_back_as_it_was_made,
        tables_that_refer_to_each_other_are_made_in_one_transaction,
        what_cannot_be_taken_over_is_said,
        a_key_compares_as_described_or_it_is_said,
        nothing_of_a_description_is_run,
        a_table_that_cannot_be_made_is_an_error,
        a_table_that_cannot_be_made_can_be_undone,
        rows_are_counted,
    }
    pages {
        rows_come_in_key_order_and_each_once,
        a_key_of_several_columns_orders_by_its_own_order,
        a_unique_set_orders_where_there_is_no_primary_key,
        a_key_orders_as_it_compares,
        skipped_rows_are_left_out,
        a_page_ends_at_its_bytes,
        an_empty_table_has_one_empty_page,
        a_cursor_works_in_a_later_snapshot,
        rows_without_a_key_come_each_once,
        rows_with_null_in_their_key_come_first,
        a_writer_reads_what_it_wrote,
        a_table_that_is_not_there_has_no_pages,
        rows_are_found_by_their_key,
    }
    snapshot {
        it_stays_as_it_is,
        it_sees_nothing_that_is_not_committed,
        several_are_apart,
    }
    values {
        what_fits_is_kept_bit_for_bit,
        nothing_is_changed_silently,
        what_is_fitted_is_what_is_stored,
    }
    fit {
        rows_have_the_columns_of_the_local_table,
        what_a_record_lacks_stays_absent,
        null_fits_every_column,
        what_does_not_fit_is_named_and_stands_as_it_came,
        all_that_does_not_fit_is_named_in_order,
        only_the_range_is_fitted,
        nothing_is_written,
    }
    lookup {
        rows_are_found_by_their_key,
        each_column_counts,
        a_key_is_found_as_it_compares,
        columns_are_read_as_asked,
        null_and_what_is_absent_find_nothing,
        what_does_not_exist_finds_nothing,
        answers_are_those_of_the_range,
        one_row_is_deleted_that_has_exactly_the_values,
        rows_of_records_are_found_in_any_order,
        it_sees_what_the_transaction_did,
        names_are_compared_by_the_stores_rules,
        values_are_read_bit_for_bit,
    }
    write {
        new_rows_take_defaults_for_what_they_lack,
        a_row_may_lack_everything,
        an_update_sets_only_what_it_is_told,
        an_update_finds_its_row_by_all_columns_of_the_key,
        an_update_that_finds_no_row_is_refused,
        a_key_is_one_as_it_compares,
        refused_rows_leave_nothing_and_take_no_other_with_them,
        no_other_row_makes_room,
        rows_are_written_in_their_order,
        only_the_range_is_written,
    }
    clashes {
        all_rows_in_the_way_are_named_once,
        its_own_row_is_in_nobodys_way,
        null_is_like_nothing,
        what_a_row_lacks_takes_its_default,
        keys_of_several_columns_are_named_whole,
    }
    bulk {
        skip_leaves_what_is_there,
        overwrite_takes_everything,
        merge_takes_what_is_not_null,
        columns_that_a_record_lacks_stay,
        columns_that_are_left_out_are_not_written,
        a_key_twice_in_a_batch_is_applied_twice,
        only_the_range_is_applied,
        plans_take_turns_in_a_transaction,
    }
    bulk_model {
        records_of_every_kind,
        records_that_are_refused,
        keys_of_several_columns,
        keys_of_a_unique_set,
        keys_that_look_alike,
        keys_that_compare_otherwise_than_their_columns,
        values_of_every_kind,
        rows_that_refer_to_their_own_table,
        rows_whose_parents_change,
        columns_that_are_not_the_local_ones,
    }
    integers {
        it_is_the_largest,
        it_is_at_least_zero,
        what_is_no_integer_does_not_count,
        it_follows_the_transaction,
    }
    references {
        they_are_checked_with_each_row,
        a_row_may_be_written_without_what_it_refers_to,
        each_column_of_a_reference_counts,
        at_the_commit_parents_may_come_late,
        at_the_commit_what_refers_to_nothing_is_an_error,
        at_the_commit_what_was_undone_counts_no_more,
        a_savepoint_has_no_part_in_when,
        checks_at_the_commit_end,
        what_the_caller_checks_the_store_does_not,
        checks_by_the_caller_end,
        rows_follow_a_changed_parent_whatever_is_checked,
        what_refers_to_a_table_is_known,
    }
    savepoints {
        rows_tables_and_state_are_undone,
        a_table_can_be_made_again,
        one_that_nothing_goes_back_to_changes_nothing,
        without_one_there_is_nothing_to_go_back_to,
        they_nest,
        what_is_released_is_kept,
        refused_rows_leave_it_alone,
    }
    transaction {
        a_commit_keeps_everything,
        a_drop_keeps_nothing,
        state_is_kept_or_not_as_a_whole,
        state_is_read_and_not_written,
        state_commits_with_the_rows,
        writers_take_turns,
        nothing_is_lost_between_threads,
    }
}
