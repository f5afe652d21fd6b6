//! What the importer does, on every store that it has.

use std::sync::Arc;

use super::append::Keys;
use super::orphans::Written;
use super::transaction::Transaction;
use super::{NullKeys, multiset, route};
use crate::cancel::Patience;
use crate::domain::record::Outcome;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::limits::Limits;
use crate::plan::{Identity, TablePlan};
use crate::store::conformance::harness::*;
use crate::store::records::{Scope, forget_scope};
use crate::store::sqlite::SqliteStore;
use crate::store::{MemoryStore, Store};

mod append;
mod fast_path;
mod groups;
mod keyed;
mod limits;
mod multiset_tests;

/// Runs a test on a fresh store of each kind.
fn each_store(test: fn(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    let stores: [(&str, Arc<dyn Store>); 2] = [
        ("sqlite", Arc::new(SqliteStore::open(folder.path().join("site.db"), &Limits::default()).unwrap())),
        ("memory", Arc::new(MemoryStore::open(&Limits::default()).unwrap())),
    ];
    for (name, store) in stores {
        println!("on {name}");
        test(&*store);
    }
}

/// A test for each of these functions of the module, on each store.
macro_rules! on_each_store {
    ($($test:ident,)*) => {
        mod on_each_store {
            $(#[test] fn $test() { super::super::each_store(super::$test); })*
        }
    };
}
use on_each_store;

fn begin_in(store: &dyn Store, scope: &Scope) -> Transaction {
    Transaction::new(begin(store), scope.clone(), Patience::unbounded())
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
    let nulls = match plan.identity {
        Identity::WholeRow if plan.strategy != Strategy::Append => {
            multiset::count(tx, plan)?;
            NullKeys::Leave
        }
        _ => NullKeys::Leave,
    };
    route(tx, plan, Keys::Make, nulls, rows, &mut tally, &mut Written::ignored())?;
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
