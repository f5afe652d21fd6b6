//! What every implementation of [`Store`] must do, as a suite of cases. For tests, of rowferry's own stores and of others.
//!
//! A case gets a fresh, empty store and uses nothing but the traits of [`store`](crate::store): it makes its tables with
//! [`Writer::create_table`](crate::store::Writer::create_table), fills them with
//! [`Writer::apply`](crate::store::Writer::apply) and reads them through a [`Snapshot`](crate::store::Snapshot). What only one
//! database has is left out, or looked for first: a store whose keys are never NULL need not order rows without one.
//!
//! ```no_run
//! use std::sync::Arc;
//! use rowferry::Limits;
//! use rowferry::store::conformance;
//! use rowferry::store::sqlite::SqliteStore;
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

mod append;
mod apply;
mod catalogue;
mod foreign_keys;
mod harness;
mod pages;
mod snapshot;
mod stage;
mod transaction;
mod values;
mod whole;

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
    catalogue {
        a_fresh_store_has_no_tables,
        tables_are_sorted_and_rowferrys_own_are_not_among_them,
        a_table_is_found_by_its_name,
        a_table_reads_back_as_it_was_made,
        tables_that_refer_to_each_other_are_made_in_one_transaction,
        a_table_that_cannot_be_made_can_be_undone,
        rows_are_counted,
    }
    pages {
        rows_come_in_key_order_and_each_once,
        a_key_of_several_columns_orders_by_its_own_order,
        a_unique_set_orders_where_there_is_no_primary_key,
        skipped_rows_are_left_out,
        a_page_ends_at_its_bytes,
        an_empty_table_has_one_empty_page,
        a_cursor_works_in_a_later_snapshot,
        rows_without_a_key_come_each_once,
        rows_with_null_in_their_key_come_first,
        rows_are_found_by_their_key,
    }
    snapshot {
        it_stays_as_it_is,
        it_sees_nothing_that_is_not_committed,
        several_are_apart,
    }
    apply {
        skip_leaves_what_is_there,
        overwrite_takes_everything,
        merge_takes_what_is_not_null,
        columns_that_a_record_lacks_stay,
        new_rows_take_defaults_for_what_they_lack,
        columns_that_are_left_out_are_not_written,
        a_key_twice_in_a_batch_is_applied_twice,
        a_record_without_its_key_fails,
        failures_do_not_sink_their_batch,
        a_unique_conflict_leaves_both_rows,
        only_the_range_is_applied,
        a_key_may_have_several_columns,
    }
    whole {
        as_many_equal_rows_as_the_sender_has,
        nothing_is_taken_away,
        counts_go_on_over_batches_and_transactions,
        counting_anew_begins_anew,
        failures_do_not_sink_their_batch,
        rows_with_null_in_their_key_are_told_apart_by_content,
    }
    values {
        what_fits_is_kept_bit_for_bit,
        nothing_is_changed_silently,
        stages_keep_everything,
    }
    stage {
        rows_come_back_by_number,
        absent_is_not_null,
        pages_are_bounded,
        rows_are_taken_out,
        stages_are_apart,
        the_end_of_a_scope_is_the_end_of_its_stages,
        a_stage_is_part_of_its_transaction,
    }
    append {
        integer_keys_go_on,
        children_follow_their_parents,
        children_follow_over_transactions_in_one_scope_only,
        children_of_any_strategy_follow,
        a_record_whose_parent_was_not_appended_fails,
        a_row_with_the_same_unique_values_is_the_same,
        uuids_are_made_anew,
        other_keys_are_kept_if_free,
        parts_of_a_key_follow,
        rows_without_a_key_are_added,
        keys_are_known_before_rows_refer_to_them,
        keys_known_before_serve_their_own_table,
        an_undone_append_leaves_no_keys,
        failures_do_not_sink_their_batch,
    }
    foreign_keys {
        they_are_checked_at_once,
        they_are_checked_at_the_commit_if_deferred,
        deferring_ends,
        orphans_are_named_taken_back_and_left_out,
        orphans_are_only_what_is_here,
        orphans_among_rows_without_a_key,
        orphans_among_rows_that_followed,
    }
    transaction {
        a_commit_keeps_everything,
        a_drop_keeps_nothing,
        undo_goes_back_to_the_mark,
        there_is_one_mark,
        state_is_kept_or_not_as_a_whole,
        state_is_read_and_not_written,
        state_commits_with_the_rows,
        writers_take_turns,
        nothing_is_lost_between_threads,
    }
}
