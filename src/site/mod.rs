//! A site: one installation, a store plus its settings.

mod checkpoints;
mod connections;
mod counts;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod doctor;
mod events;
mod incarnation;
mod key;
mod key_map;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod remove;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod removed;
mod sessions;
mod settings;
#[cfg(feature = "client")]
mod tickets;
mod transfers;
mod undo;

#[cfg(feature = "sqlite")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use uuid::Uuid;

pub use checkpoints::{CheckpointInfo, CheckpointKind, Checkpoints};
pub(crate) use connections::Registration;
pub use connections::{ConnectionEdit, ConnectionWithToken, Connections, NewConnection};
pub use counts::SiteCounts;
pub use events::{EventStream, Events};
pub use key_map::{KeyMap, KeyMapping, KeyMappings};
#[cfg(feature = "sqlite")]
pub use remove::JournalMode;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use removed::RemovedState;
pub use sessions::{Session, SessionGuard, Sessions};
pub use settings::Settings;
pub use transfers::Transfers;

use crate::clock::{Clock, SystemClock};
use crate::domain::names::NameRules;
use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::{Records, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Digest, Exporter, Offer};
use crate::ledger::{Here, RunningPulls};
use crate::limits::Limits;
use crate::secret::{SiteKey, Token};
use crate::state::{self, Wake};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::{Setup, SqliteStore};
use crate::store::{Sql, Store};
use key::{KeyRing, KeySource};

/// The setting that holds the site's id.
const SITE_UUID: &str = "site_uuid";

/// One installation: a store plus its settings. A clone is the same site.
///
/// Opening a site makes rowferry's own tables (`rowferry_*`) in the database if they are not there, and changes nothing else.
#[derive(Debug, Clone)]
pub struct Site(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    offer: Arc<Offer>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    keys: KeyRing,
    uuid: Mutex<Option<Uuid>>,
    incarnation: OnceLock<Uuid>,
    wake: Wake,
    /// The pulls that run through it.
    running: RunningPulls,
}

impl Site {
    /// Opens the site of a SQLite file, which is made if there is none, with [`SiteBuilder`]'s defaults.
    ///
    /// This switches the file to WAL mode, which stays, and makes rowferry's own tables in it, `rowferry_*`. Nothing else in it
    /// is changed, and other programs may have it open.
    ///
    /// # Errors
    /// Those of [`SiteBuilder::open`].
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Site::builder().open(path)
    }

    /// What can be chosen when a site is opened.
    pub fn builder() -> SiteBuilder {
        SiteBuilder::default()
    }

    /// Where the site keeps its tables and its state.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Makes sure that the site's database is still the file that was opened: on Unix, one that was deleted, moved, replaced or emptied
    /// meanwhile is not. Every call that needs the database does so, too; a server may ask each second, to end when it is of no
    /// more use.
    ///
    /// # Errors
    /// [`CannotOpen`](ErrorKind::CannotOpen) if it is another one, or none: open it again.
    pub fn check_file(&self) -> Result<()> {
        self.0.store.check()
    }

    /// The bounds that apply to everything that this site reads and sends.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Where the site's time comes from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The site's id: a random uuid that it made for itself when it was first asked for. It tells a peer whose rows it gets,
    /// whatever the URL.
    ///
    /// # Errors
    /// What the store says.
    pub fn uuid(&self) -> Result<Uuid> {
        if let Some(uuid) = self.known_uuid() {
            return Ok(uuid);
        }
        let stored = state::read(self.store_ref(), |sql| state::settings::get(sql, SITE_UUID))?;
        let text = match stored {
            Some(text) => text,
            None => {
                let new = Uuid::new_v4().to_string();
                state::write(self.store_ref(), |sql| state::settings::settle(sql, SITE_UUID, &new))?
            }
        };
        let uuid = text.parse().map_err(|_| {
            Error::new(ErrorKind::Corrupt, "the site's uuid in rowferry_settings cannot be read")
                .with_hint("Restore the database from a backup.")
        })?;
        *self.0.uuid.lock().unwrap_or_else(PoisonError::into_inner) = Some(uuid);
        Ok(uuid)
    }

    fn known_uuid(&self) -> Option<Uuid> {
        *self.0.uuid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another site has moved into its store: what is known of this one counts no more.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(crate) fn forget_uuid(&self) {
        *self.0.uuid.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.wake.all();
    }

    /// Takes the key of a site that moves into this one's store.
    ///
    /// # Errors
    /// [`SiteKey`](ErrorKind::SiteKey) if this site has another one.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(crate) fn adopt_key(&self, key: &SiteKey) -> Result<()> {
        self.0.keys.adopt(self.store_ref(), key)
    }

    /// The settings that belong to a store and not to the site in it.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(crate) const OF_THE_STORE: [&str; 2] = [incarnation::INCARNATION, incarnation::OPENED_AS];

    /// The settings that a site makes by itself.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(crate) const OF_ITSELF: [&str; 4] = [incarnation::INCARNATION, incarnation::OPENED_AS, SITE_UUID, key::FINGERPRINT];

    /// Whether a peer that says this of itself is this very site, and no copy of it.
    #[cfg(feature = "client")]
    pub(crate) fn is(&self, site: Uuid, incarnation: Option<Uuid>) -> Result<bool> {
        let known = match self.known_uuid() {
            Some(uuid) => Some(uuid),
            // One that was never asked for is not made for this: no peer has it.
            None => {
                state::read(self.store_ref(), |sql| state::settings::get(sql, SITE_UUID))?.and_then(|text| text.parse().ok())
            }
        };
        Ok(known == Some(site) && incarnation.is_some() && incarnation == Some(self.incarnation()?))
    }

    /// Whether a table of this name is offered to peers, if there is one: not rowferry's own (`rowferry_*`), not the
    /// database's own (`sqlite_*`), and none that [`SiteBuilder::hide_tables`] names.
    pub fn offers(&self, table: &str) -> bool {
        self.0.offer.allows(table)
    }

    /// The tables that this site offers, sorted by name, with their exact numbers of rows; 0 for one that is damaged.
    ///
    /// # Errors
    /// What the store says.
    pub fn list_tables(&self) -> Result<Vec<TableInfo>> {
        self.exporter().tables()
    }

    /// What a pull of this site does not copy of its database: triggers and CHECK constraints of its tables, views, virtual tables
    /// and their shadow tables, and tables whose names are not UTF-8.
    ///
    /// # Errors
    /// What the store says.
    pub fn not_copied(&self) -> Result<NotCopied> {
        self.exporter().not_copied()
    }

    /// The structure of a table.
    ///
    /// # Errors
    /// [`TableNotFound`](ErrorKind::TableNotFound) if there is none of this name, or it is not offered.
    pub fn get_schema(&self, table: &str) -> Result<TableSchema> {
        Ok(Arc::unwrap_or_clone(self.exporter().schema(table)?))
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// Those of [`Site::get_schema`].
    pub fn get_count(&self, table: &str) -> Result<u64> {
        self.exporter().count(table)
    }

    /// Records of a table in key order, `offset` of them left out: at most `limit`, fewer where
    /// [`WireLimits::page_rows`](crate::WireLimits::page_rows) or [`WireLimits::page_bytes`](crate::WireLimits::page_bytes) cut the page. Ask for what follows with the offset moved on by the rows
    /// that came; there is nothing more when none come.
    ///
    /// # Errors
    /// Those of [`Site::get_schema`]; [`InvalidInput`](ErrorKind::InvalidInput) for a limit of 0.
    pub fn export_records(&self, table: &str, offset: u64, limit: u64) -> Result<Records> {
        let mut rows = Rows::default();
        let page = self.exporter().records(table, offset, limit, &mut rows)?;
        Ok(Records { columns: page.table.columns.iter().map(|column| column.name.clone()).collect(), rows })
    }

    /// Whether there is such a table, and it is offered.
    ///
    /// # Errors
    /// What the store says.
    pub fn table_exists(&self, table: &str) -> Result<bool> {
        match self.exporter().schema(table) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TableNotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The digest of a table's content: equal where two sites have the same rows. It reads the whole table.
    ///
    /// # Errors
    /// Those of [`Site::get_schema`].
    pub fn table_checksum(&self, table: &str) -> Result<Digest> {
        self.exporter().digest(table)
    }

    /// The same as the other site of a connection lists it, whose token this is: equal to
    /// [`RemoteTable::checksum`](crate::RemoteTable::checksum) where that one, of this version or newer, has the same rows. Without the
    /// token it says nothing of the content.
    ///
    /// # Errors
    /// Those of [`Site::get_schema`].
    pub fn table_checksum_for(&self, table: &str, token: &Token) -> Result<String> {
        Ok(self.table_checksum(table)?.listed(&token.credential()))
    }

    /// Starts again with a new key after the old one was lost: a new key file is made (a key that the host gave is taken as
    /// the new one). The old key stays in use when the new one cannot be written; whatever ends the program meanwhile, one of the
    /// two works. What was sealed under the old key cannot be read any more:
    ///
    /// - All sessions are deleted, because only the old key knew their codes.
    /// - Messages to other sites that were not sent yet are dropped.
    /// - Interrupted pulls by a code can no longer be resumed with that code.
    /// - Sender connections keep working: the other site's token still works. This site can no longer tell the other one of changes,
    ///   until the token is [rotated](Connections::regenerate_token); the new one is then to be given to the other site by hand.
    /// - Receiver connections have lost their token: [set it](Connections::set_token) again, or let the other site rotate it.
    ///   Until then pulls through them fail with [`SiteKey`](ErrorKind::SiteKey).
    ///
    /// # Errors
    /// [`File`](ErrorKind::File) when the key's file cannot be written; what the store says.
    pub fn reset_key(&self) -> Result<()> {
        self.0.keys.reset(self.store_ref())
    }

    /// Which tables are offered to everyone.
    #[cfg(feature = "server")]
    pub(crate) fn offer(&self) -> &Offer {
        &self.0.offer
    }

    /// What reads this site for one peer.
    pub(crate) fn exporter(&self) -> Exporter {
        Exporter::new(Arc::clone(&self.0.store), Arc::clone(&self.0.offer), self.0.limits.clone())
    }

    pub(crate) fn store_ref(&self) -> &dyn Store {
        &*self.0.store
    }

    /// How names are compared here.
    pub(crate) fn names(&self) -> NameRules {
        self.0.store.names()
    }

    /// Changes the site's state in one transaction, and wakes those that wait for its events. Whatever adds an event does it
    /// here. The key is to be had before: [`Site::key`] may need a transaction of its own.
    pub(crate) fn change<T>(&self, work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        let changed = self.write(work)?;
        self.0.wake.all();
        Ok(changed)
    }

    /// Changes the site's state in one transaction, without an event.
    pub(crate) fn write<T>(&self, work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        state::write(self.store_ref(), work)
    }

    /// Wakes those that wait for events.
    fn wake_all(&self) {
        self.0.wake.all();
    }

    fn wake(&self) -> &Wake {
        &self.0.wake
    }

    /// The site as its pulls see it.
    pub(crate) fn here(&self) -> Here<'_> {
        let Inner { limits, clock, wake, running, offer, .. } = &*self.0;
        Here { store: self.store_ref(), limits, clock: &**clock, wake, running, protected: offer.hidden() }
    }

    pub(crate) fn key(&self) -> Result<SiteKey> {
        self.0.keys.key(self.store_ref())
    }

    pub(crate) fn now(&self) -> time::OffsetDateTime {
        self.0.clock.now()
    }
}

/// What can be chosen when a site is opened.
#[derive(Debug, Default)]
#[must_use]
pub struct SiteBuilder {
    limits: Limits,
    clock: Option<Arc<dyn Clock>>,
    key: Option<SiteKey>,
    key_file: Option<PathBuf>,
    hidden: Vec<String>,
    #[cfg(feature = "sqlite")]
    setup: Setup,
}

impl SiteBuilder {
    /// The limits on what is read, sent, kept and waited for. Defaults to [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The clock by which codes expire. Defaults to [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The site's key, when the host keeps it itself. Defaults to one in a file: see [`SiteBuilder::key_file`].
    pub fn key(mut self, key: SiteKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The file that holds the site's key: 32 bytes that only the owner may read, made when first needed. Defaults to
    /// `<database>.rowferry-key` beside a SQLite file. Ignored where [`SiteBuilder::key`] gives the key itself.
    ///
    /// On Unix the file must belong to the user of this program, to root or to the database's owner, and nobody else may read it;
    /// what is named here its group may read, and it may be a symbolic link, as secrets of containers are. A file that root makes is given to the database's owner.
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_file = Some(path.into());
        self
    }

    /// Tables that are never offered to a peer, by names that are compared as the store compares them, and that no pull writes or makes: a
    /// table of that name is left out, with a note in the report (`hidden_table`), and refused where it is named. May be called again.
    /// Defaults to none beyond those of [`Site::offers`].
    pub fn hide_tables(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hidden.extend(names.into_iter().map(Into::into));
        self
    }

    /// What is done to each connection to the SQLite file, before anything else is: collations, functions and virtual table modules
    /// of the program's own are registered so, extensions loaded, and a key given (`PRAGMA key` of SQLCipher). It is done often, from
    /// any thread, and must do the same each time. Settings that rowferry depends on (`foreign_keys`, `synchronous`, `query_only`,
    /// `cache_size`, the time-out) and those that guard against a hostile file (`SQLITE_DBCONFIG_DEFENSIVE`, `cell_size_check`,
    /// [`trusted_schema`](SiteBuilder::trust_schema)) are set afterwards. Defaults to nothing; the last call counts.
    ///
    /// A function that triggers, defaults, checks, indexes, generated columns or views call is to be registered with
    /// `FunctionFlags::SQLITE_INNOCUOUS`: see [`SiteBuilder::trust_schema`].
    ///
    /// An error ends what needed the connection, [`SiteBuilder::open`] first, with its message; an error of another kind fits into
    /// `rusqlite::Error::UserFunctionError`. The type is that of [`rowferry::rusqlite`](crate::rusqlite): it follows that crate's
    /// versions and is no part of what semantic versioning promises of this one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("notes.db");
    /// let site = rowferry::Site::builder()
    ///     .on_connection(|sqlite| {
    ///         sqlite.create_collation("unicase", |one: &str, other: &str| one.to_lowercase().cmp(&other.to_lowercase()))
    ///     })
    ///     .open(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// An encrypted file, where the program links SQLCipher (see the [crate's documentation](crate#sqlite)):
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let (path, passphrase) = (folder.path().join("secret.db"), "correct horse battery staple");
    /// let site = rowferry::Site::builder()
    ///     .on_connection(move |sqlite| sqlite.pragma_update(None, "key", passphrase))
    ///     .open(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn on_connection(
        mut self,
        setup: impl Fn(&rusqlite::Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.setup.set_work(setup);
        self
    }

    /// Whether the schema of the SQLite file may call whatever is registered on its connections. Off by default: triggers, views,
    /// defaults, checks, indexes and generated columns then call only what SQLite knows to be harmless, because a file that somebody
    /// else made could call anything. A function of the program's own is harmless when it is registered with
    /// `FunctionFlags::SQLITE_INNOCUOUS`, a virtual table when its module says so (most of SQLite's do; `pragma_table_info` and its like do
    /// not); what uses another one fails with `unsafe use of ...`. Turn it on for a file that only the program itself ever wrote.
    #[cfg(feature = "sqlite")]
    pub fn trust_schema(mut self, trust: bool) -> Self {
        self.setup.set_trusts_schema(trust);
        self
    }

    /// Opens the site of a SQLite file, which is made if there is none.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`](crate::store::SqliteStore::open), and of [`SiteBuilder::on_connection`].
    #[cfg(feature = "sqlite")]
    pub fn open(self, path: impl AsRef<Path>) -> Result<Site> {
        let store = SqliteStore::open_with(path.as_ref(), &self.limits, &self.setup)?;
        let source = match self.key.clone() {
            Some(key) => KeySource::Given(key),
            None => KeySource::of(&store, self.key_file.clone()),
        };
        Ok(self.build(Arc::new(store), source))
    }

    /// Opens the site that lives in this store. Give it a [key](SiteBuilder::key) or a [file for one](SiteBuilder::key_file): what
    /// needs the site's key fails otherwise.
    pub fn with_store(self, store: Arc<dyn Store>) -> Site {
        let source = self.source_named();
        self.build(store, source)
    }

    /// Where the key comes from, where the store has no place for it.
    fn source_named(&self) -> KeySource {
        match (self.key.clone(), self.key_file.clone()) {
            (Some(key), _) => KeySource::Given(key),
            (None, Some(path)) => KeySource::named(path),
            (None, None) => KeySource::Nowhere,
        }
    }

    fn build(self, store: Arc<dyn Store>, source: KeySource) -> Site {
        Site(Arc::new(Inner {
            offer: Arc::new(Offer::hiding(self.hidden, store.names())),
            store,
            limits: self.limits,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            keys: KeyRing::new(source),
            uuid: Mutex::new(None),
            incarnation: OnceLock::new(),
            wake: Wake::default(),
            running: RunningPulls::default(),
        }))
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::domain::value::Value;

    #[test]
    fn a_site_tells_what_it_has_and_hides_what_it_must() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        let tables = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
                      INSERT INTO users VALUES (2, 'b'), (1, 'a'), (3, 'c');
                      CREATE TABLE copy (name TEXT, id INTEGER); INSERT INTO copy SELECT name, id FROM users;
                      CREATE TABLE secret (id INTEGER PRIMARY KEY);";
        database.execute_batch(tables).unwrap();
        let before = schema(&database);
        let site = Site::builder().hide_tables(["Secret"]).open(&path).unwrap();
        assert_eq!(schema(&database), before, "nothing of the host's is changed");

        let names: Vec<_> = site.list_tables().unwrap().into_iter().map(|table| (table.name, table.row_count)).collect();
        assert_eq!(names, [("copy".to_owned(), 3), ("users".to_owned(), 3)]);
        assert_eq!(site.get_schema("USERS").unwrap().primary_key, ["id"]);
        assert_eq!(site.get_count("users").unwrap(), 3);
        assert_eq!(site.table_checksum("users").unwrap(), site.table_checksum("copy").unwrap());
        database.execute("UPDATE copy SET name = 'B' WHERE id = 2", []).unwrap();
        assert_ne!(site.table_checksum("users").unwrap(), site.table_checksum("copy").unwrap());
        let page = site.export_records("users", 1, 10).unwrap();
        assert_eq!(page.columns, ["id", "name"]);
        let ids: Vec<_> = (0..page.rows.len()).map(|row| page.rows.get(row, 0).unwrap().to_owned()).collect();
        assert_eq!(ids, [Value::Integer(2), Value::Integer(3)]);
        for table in ["secret", "rowferry_sessions", "ghost", "sqlite_schema"] {
            assert!(!site.table_exists(table).unwrap());
            assert_eq!(site.get_count(table).unwrap_err().kind(), ErrorKind::TableNotFound);
        }
        assert!(site.table_exists("users").unwrap() && site.offers("users") && !site.offers("secret"));
        assert_eq!(site.uuid().unwrap(), Site::open(&path).unwrap().uuid().unwrap());
    }

    /// The SQL of all objects that are not rowferry's, nor SQLite's own for them.
    fn schema(database: &rusqlite::Connection) -> Vec<(String, Option<String>)> {
        let select = "SELECT name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'rowferry%' ORDER BY name";
        let mut statement = database.prepare(select).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}
