//! What the importer does, on every store that it has.

use std::sync::{Arc, LazyLock};

use super::append::Keys;
use super::multiset;
use super::route::{NullKeys, route};
use super::transaction::Transaction;
use super::written::Written;
use crate::cancel::Patience;
use crate::clock::Clock;
use crate::domain::record::{Outcome, Reason};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::ledger::{Begin, Checkpoint, Here, Ledger, Reached, RunningPulls, Scope, forget_scope};
use crate::limits::Limits;
use crate::plan::follow::link;
use crate::plan::{Identity, TablePlan};
use crate::state::Wake;
use crate::store::conformance::harness::*;
use crate::store::sqlite::SqliteStore;
use crate::store::{MemoryStore, Store};

mod append;
mod exchange;
mod fast_path;
mod groups;
mod keyed;
mod limits;
mod lossy;
mod multiset_tests;
mod taken;
mod trees;

fn on_sqlite(test: fn(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(&SqliteStore::open(folder.path().join("site.db"), &Limits::default()).unwrap());
}

fn on_memory(test: fn(&dyn Store)) {
    test(&MemoryStore::open(&Limits::default()).unwrap());
}

#[cfg(feature = "postgres")]
fn on_postgres(test: fn(&dyn Store)) {
    let url = crate::store::postgres::test_server::server().database();
    let options = crate::PostgresOptions::parse(&url).unwrap();
    test(&crate::store::postgres::PostgresStore::open(&options, &Limits::default()).unwrap());
}

/// Two tests for each of these functions of the module, on fresh stores in a file and in memory: for keys that have collations of their own,
/// and for what takes tens of thousands of steps, each of which would be a message to a server.
macro_rules! on_embedded_stores {
    ($($test:ident,)*) => {
        mod on_sqlite {
            $(#[test] fn $test() { super::super::on_sqlite(super::$test); })*
        }
        mod on_memory {
            $(#[test] fn $test() { super::super::on_memory(super::$test); })*
        }
    };
}
use on_embedded_stores;

/// A test for each of these functions of the module and each kind of store, on a fresh one.
macro_rules! on_each_store {
    ($($test:ident,)*) => {
        super::on_embedded_stores!($($test,)*);
        #[cfg(feature = "postgres")]
        mod on_postgres {
            $(#[test] fn $test() { super::super::on_postgres(super::$test); })*
        }
    };
}
use on_each_store;

/// A site with this store.
fn here<'s>(store: &'s dyn Store, limits: &'s Limits, clock: &'s dyn Clock) -> Here<'s> {
    Here { store, limits, clock, wake: &WAKE, running: &RUNNING, protected: &[] }
}

static WAKE: std::sync::LazyLock<Wake> = std::sync::LazyLock::new(Wake::default);
static RUNNING: LazyLock<RunningPulls> = LazyLock::new(RunningPulls::default);

fn begin_in(store: &dyn Store, scope: &Scope) -> Transaction<'static> {
    Transaction::of(begin(store), scope.clone(), scope.clone(), Patience::unbounded())
}

/// Plans of tables that are pulled together.
fn plans<const N: usize>(tables: [(&TableSchema, Strategy); N]) -> [TablePlan; N] {
    let mut plans = tables.map(|(table, strategy)| plan(table, strategy));
    link(&mut plans, &tables.map(|(table, _)| table), &[]);
    plans
}

/// Runs `work` in one transaction of a pull, which is committed.
#[track_caller]
fn write_in<T>(store: &dyn Store, scope: &Scope, work: impl FnOnce(&mut Transaction) -> Result<T>) -> T {
    let mut tx = begin_in(store, scope);
    let done = work(&mut tx).must("write");
    tx.writer.commit().must("commit");
    done
}

/// What becomes of records that come as they are.
fn apply_in(tx: &mut Transaction, plan: &TablePlan, rows: &Rows) -> Result<Outcome> {
    let mut tally = tally();
    if plan.identity == Identity::WholeRow && plan.strategy != Strategy::Append {
        multiset::count(tx, plan)?;
    }
    route(tx, plan, Keys::Make, NullKeys::Leave, rows, &mut tally, &mut Written::ignored())?;
    Ok(tally.outcome)
}

/// The same in a transaction and a pull of its own.
#[track_caller]
fn import(store: &dyn Store, plan: &TablePlan, rows: &Rows) -> Outcome {
    let scope = Scope::new();
    write_in(store, &scope, |tx| {
        let outcome = apply_in(tx, plan, rows)?;
        end(tx)?;
        Ok(outcome)
    })
}

/// Forgets what the pull kept.
fn end(tx: &mut Transaction) -> Result<()> {
    let (sql, scope) = tx.state();
    forget_scope(sql, scope)
}

/// Looks for the failure of the record with this key.
#[track_caller]
fn expect_failure(outcome: &Outcome, key: &[Value], reason: Reason, column: Option<&str>) {
    let failure = outcome.failures.iter().find(|failure| failure.key == key);
    let failure = failure.unwrap_or_else(|| panic!("no failure has the key {key:?}: {:?}", outcome.failures));
    let (found, message) = (failure.reason, &failure.message);
    assert!(found == reason, "the record {key:?} failed for {found:?} ({message}) instead of {reason:?}");
    assert!(!message.is_empty(), "the failure of the record {key:?} says nothing");
    assert_eq!(failure.column.as_deref(), column, "the column at fault for the record {key:?}: {message}");
}
