//! A store in memory: for tests, for tools that keep nothing, and as the plainest example of a [`Store`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::domain::names::NameRules;
use crate::error::Result;
use crate::limits::Limits;
use crate::store::{Snapshot, Sql, Store, Writer, migrate};

mod make;
mod read;
mod references;
mod rows;
mod state;
mod table;
mod turn;
mod write;

/// A store in memory. It begins empty, and all of it is gone when it is dropped.
///
/// A column keeps each value as it comes, whatever its type says; only NaN is refused. Texts are compared byte for byte. A
/// transaction copies the tables that it writes to, so that it is for tables of a modest size.
pub struct MemoryStore(Arc<Shared>);

/// What a store and its writers share.
struct Shared {
    committed: Mutex<Arc<table::Tables>>,
    state: state::State,
}

impl Shared {
    /// The tables as they were committed last.
    fn committed(&self) -> Arc<table::Tables> {
        // Nothing can fail while the mutex is held, so that what it guards is whole.
        Arc::clone(&self.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, tables: table::Tables) {
        let old = std::mem::replace(&mut *self.committed.lock().unwrap_or_else(PoisonError::into_inner), Arc::new(tables));
        // The end of large tables takes a while: nobody has to wait for it.
        drop(old);
    }
}

impl MemoryStore {
    /// An empty store with the default limits.
    ///
    /// # Errors
    /// What SQLite says, which keeps rowferry's own tables in memory as well: there may be too little of it.
    pub fn new() -> Result<Self> {
        MemoryStore::open(&Limits::default())
    }

    /// An empty store. Of the limits it takes [`Limits::lock_time`]: for how long a writer waits for another one.
    ///
    /// # Errors
    /// Those of [`MemoryStore::new`].
    pub fn open(limits: &Limits) -> Result<Self> {
        let state = state::State::open(limits.lock_time)?;
        let store = MemoryStore(Arc::new(Shared { committed: Mutex::default(), state }));
        migrate::store(&store, migrate::SQLITE, SystemClock.now())?;
        Ok(store)
    }
}

/// Says nothing of what is in it.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Store for MemoryStore {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn names(&self) -> NameRules {
        table::NAMES
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(read::MemorySnapshot(self.0.committed())))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(write::MemoryWriter::begin(&self.0)?))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        write::MemoryWriter::begin(&self.0)?.keep_state(work)
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.0.state.read(work)
    }
}
