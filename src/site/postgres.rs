//! The site of a PostgreSQL database: opened, looked over, and rowferry's own tables taken out of it.

use std::sync::Arc;

use super::{RemovedState, Site, SiteBuilder, doctor};
use crate::clock::SystemClock;
use crate::domain::finding::Finding;
use crate::domain::names::NameRules;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Offer;
use crate::ledger::indexes;
use crate::store::migrate::{self, NAMED_SO_POSTGRES, Removed};
use crate::store::postgres::{Examination, NAME, PostgresOptions, PostgresStore};
use crate::store::{Sql, Store};

impl SiteBuilder {
    /// Opens the site of a PostgreSQL database, which must be there. rowferry's own tables (`rowferry_*`) are made in the first of its
    /// schemas if they are not there; nothing else is changed. Several processes may have it open, and share its limits, codes and
    /// connections.
    ///
    /// The site's key must come from outside: from the host ([`SiteBuilder::key`]), or from a file ([`SiteBuilder::key_file`]), which is
    /// made when it is first needed, and which all processes must have. A database holds what the key seals, and must not hold the key.
    ///
    /// Its calls block, and may not be made on an async task: use `spawn_blocking` there. See
    /// [the guide](crate::guide::postgres).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rowferry::{PostgresOptions, Site};
    ///
    /// let options = PostgresOptions::parse("postgres://shop@db.example/shop")?.password("secret");
    /// let site = Site::builder().key_file("/etc/shop/rowferry-key").open_postgres(options)?;
    /// println!("{} tables", site.list_tables()?.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SiteKey`](ErrorKind::SiteKey) where neither a key nor a file for it is named; those of [`PostgresStore::open`].
    pub fn open_postgres(self, options: PostgresOptions) -> Result<Site> {
        if self.key.is_none() && self.key_file.is_none() {
            return Err(Error::new(ErrorKind::SiteKey, "a PostgreSQL database has no place beside it for the site's key")
                .with_hint("Name the file of its key, `key_file`, or give the key itself, `SiteBuilder::key`."));
        }
        let store = PostgresStore::open(&options, &self.limits)?;
        Ok(self.with_store(Arc::new(store)))
    }

    /// Looks a PostgreSQL database over, as the site that is built so would open it, and says what could go wrong: the server's version,
    /// what stands between, TLS, the role's rights, foreign keys that are not checked, what is not offered, the clock, rowferry's own tables,
    /// and the key. It changes nothing. Other programs may have it open. Whether its pages and indexes are whole tells PostgreSQL's own
    /// `pg_amcheck`.
    ///
    /// # Errors
    /// [`CannotOpen`](ErrorKind::CannotOpen) and [`Tls`](ErrorKind::Tls) if it cannot be reached.
    pub fn doctor_postgres(self, options: PostgresOptions) -> Result<Vec<Finding>> {
        let mut database = Examination::open(&options, &self.limits)?;
        let offer = Offer::hiding(self.hidden.iter().cloned(), NameRules::Exact);
        let mut found = database.findings(&|table| !offer.allows(table));
        let now = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock)).now();
        let source = self.source_named();
        found.extend(doctor::state(&mut database, (migrate::POSTGRES, NAMED_SO_POSTGRES), &source, now));
        Ok(found)
    }

    /// Takes rowferry's own tables out of a PostgreSQL database, in one transaction. A key in a file stays, because it may be the key of
    /// other databases, too. What is lost, and what stays, is as [`SiteBuilder::remove_state`] has it for a SQLite file.
    ///
    /// Other programs are found by the name of their connections to the database, whichever schema is theirs. One that has done nothing for
    /// some minutes has no connection, and is not found: end it first.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) while another program, or this one, is connected to the database with rowferry;
    /// [`NewerState`](ErrorKind::NewerState) if a newer rowferry was used with it; those of [`PostgresStore::open`]. Nothing was removed
    /// then.
    pub fn remove_state_postgres(self, options: PostgresOptions) -> Result<RemovedState> {
        let mut database = Examination::open(&options, &self.limits)?;
        if migrate::version(&mut database, migrate::POSTGRES, NAMED_SO_POSTGRES)?.is_none() {
            let left = migrate::tables_named_so(&mut database, NAMED_SO_POSTGRES)?;
            return Ok(RemovedState { left, ..RemovedState::default() });
        }
        drop(database);
        let options = options.alone();
        let store = PostgresStore::open(&options, &self.limits)?;
        let mut writer = store.writer()?;
        others(writer.state(), &options)?;
        indexes::build_of_all_pulls(&mut *writer)?;
        let Removed { tables, left } =
            migrate::remove(writer.state(), &migrate::made_by(migrate::POSTGRES), NAMED_SO_POSTGRES)?;
        // Somebody who came meanwhile waits for the lock of the tables that are gone.
        others(writer.state(), &options)?;
        writer.commit()?;
        Ok(RemovedState { tables, left, key_file: None })
    }
}

/// An error if others have the database open with rowferry, which tells by the name of its connections.
fn others(sql: &mut dyn Sql, options: &PostgresOptions) -> Result<()> {
    let own = options.application_name();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND starts_with(application_name, ?2) AND application_name <> ?1";
    let found = sql.query(others, &[own.into(), NAME.into()])?;
    match found.first().and_then(|row| row.first()).and_then(Value::as_integer) {
        None | Some(0) => Ok(()),
        Some(count) => {
            let message = format!("{count} connections of rowferry have this database open");
            Err(Error::new(ErrorKind::Locked, message).with_hint("End the programs that have it open first."))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::finding::FindingLevel;
    use crate::domain::session::Direction;
    use crate::store::postgres::test_server::server;

    fn options(url: &str) -> PostgresOptions {
        PostgresOptions::parse(url).unwrap()
    }

    fn open(url: &str, key: &Path) -> Site {
        Site::builder().key_file(key).open_postgres(options(url)).unwrap()
    }

    #[test]
    fn the_key_is_given_or_in_a_file_that_is_named() {
        let url = server().database();
        let error = Site::builder().open_postgres(options(&url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SiteKey);
        let hint = error.hint().unwrap();
        assert!(hint.contains("`key_file`") && hint.contains("`SiteBuilder::key`"), "{hint}");

        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let site = open(&url, &key);
        let session = site.sessions().create(Direction::Send).unwrap();
        assert_eq!(std::fs::read(&key).unwrap().len(), 32);
        let again = open(&url, &key);
        assert_eq!(again.sessions().list().unwrap()[0].uuid, session.uuid());
        assert_eq!(again.uuid().unwrap(), site.uuid().unwrap());
        let other = open(&url, &folder.path().join("other"));
        assert_eq!(other.sessions().create(Direction::Send).unwrap_err().kind(), ErrorKind::SiteKey);
    }

    #[test]
    fn a_copy_of_a_database_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let url = server().database();
        let site = open(&url, &key);
        let (uuid, incarnation) = (site.uuid().unwrap(), site.incarnation().unwrap());
        drop(site);
        let again = open(&url, &key);
        assert_eq!(again.incarnation().unwrap(), incarnation);
        drop(again);
        let name = url.rsplit('/').next().unwrap();
        let copy = open(&server().database_with(&format!("TEMPLATE {name}")), &key);
        assert_eq!(copy.uuid().unwrap(), uuid);
        assert_ne!(copy.incarnation().unwrap(), incarnation);
        server().run(&server().url("postgres"), &format!("ALTER DATABASE {name} RENAME TO {name}_moved"));
        assert_eq!(open(&format!("{url}_moved"), &key).incarnation().unwrap(), incarnation, "it was only renamed");
    }

    #[test]
    fn rowferrys_own_tables_are_taken_out_again() {
        let url = server().database();
        server().run(&url, "CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE rowferry_mine (a int)");
        let remove = || Site::builder().remove_state_postgres(options(&url));
        assert_eq!(remove().unwrap(), RemovedState { left: vec!["rowferry_mine".to_owned()], ..RemovedState::default() });
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let site = open(&url, &key);
        drop(site.sessions().create(Direction::Send).unwrap());
        assert_eq!(remove().unwrap_err().kind(), ErrorKind::Locked, "the site is open");
        assert_eq!(site.sessions().list().unwrap().len(), 1);
        drop(site);
        let site = open(&format!("{url}{}application_name=backup", if url.contains('?') { '&' } else { '?' }), &key);
        assert_eq!(site.sessions().list().unwrap().len(), 1);
        assert_eq!(remove().unwrap_err().kind(), ErrorKind::Locked, "under a name of its own, too");
        drop(site);
        let removed = remove().unwrap();
        assert_eq!((removed.left, removed.key_file), (vec!["rowferry_mine".to_owned()], None));
        let mut made = migrate::made_by(migrate::POSTGRES);
        made.sort();
        assert_eq!(removed.tables, made);
        let left = server().run(&url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1");
        assert_eq!(left, "rowferry_mine\nusers\nusers_pkey");
        assert!(key.exists(), "the key may be that of others");
    }

    #[test]
    fn a_look_changes_nothing_and_tells_what_is_wrong() {
        let url = server().database();
        let look = |builder: SiteBuilder| builder.doctor_postgres(options(&url)).unwrap();
        let level = |found: &[Finding], code: &str| found.iter().find(|finding| finding.code == code).unwrap().level;
        let found = look(Site::builder());
        assert_eq!(level(&found, "state"), FindingLevel::Ok, "{found:?}");
        assert_eq!(level(&found, "key"), FindingLevel::Warning, "{found:?}");
        assert_eq!(level(&found, "tls"), FindingLevel::Ok, "a socket needs none: {found:?}");
        assert_eq!(server().run(&url, "SELECT count(*) FROM pg_class WHERE relname ~ '^rowferry'"), "0");
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        drop(open(&url, &key).sessions().create(Direction::Send).unwrap());
        let found = look(Site::builder().key_file(&key));
        assert_eq!(level(&found, "key"), FindingLevel::Ok, "{found:?}");
        std::fs::remove_file(&key).unwrap();
        assert_eq!(level(&look(Site::builder().key_file(&key)), "key"), FindingLevel::Problem);
    }
}
