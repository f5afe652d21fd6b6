//! The database of a site of one's own: a SQLite file, or a PostgreSQL database.

use std::path::Path;

use rowferry::{Error, ErrorKind, Limits, Site, SiteBuilder};

use crate::args::Db;
use crate::failure::Failure;

#[cfg(feature = "postgres")]
mod pgpass;
mod shown;
pub use shown::without_password;

/// What is named after `--db`.
pub enum Database<'d> {
    /// The path of a SQLite file.
    File(&'d Path),
    #[cfg(feature = "postgres")]
    Postgres(Box<rowferry::PostgresOptions>),
}

impl<'d> Database<'d> {
    /// The path, if it is a file.
    pub fn file(&self) -> Option<&'d Path> {
        match self {
            Database::File(path) => Some(path),
            #[cfg(feature = "postgres")]
            Database::Postgres(_) => None,
        }
    }
}

/// Whether this is the URL of a PostgreSQL database, by how it begins.
pub fn is_url(text: &str) -> bool {
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    begins("postgres://") || begins("postgresql://")
}

impl Db {
    /// Which database is meant. Nothing is opened.
    pub fn database(&self) -> Result<Database<'_>, Failure> {
        if is_url(&self.path) {
            return self.of_url();
        }
        if !self.postgres.schemas.is_empty() || self.postgres.ca_cert.is_some() {
            let message = "--db-schema and --db-ca-cert are about a PostgreSQL database, and --db names a file";
            let error = Error::new(ErrorKind::InvalidInput, message).with_hint("Leave them out, or give a postgres:// URL.");
            return Err(Failure::usage(error));
        }
        Ok(Database::File(Path::new(&self.path)))
    }

    #[cfg(not(feature = "postgres"))]
    fn of_url(&self) -> Result<Database<'_>, Failure> {
        // The URL may hold a password: it is not repeated.
        let message = "a postgres:// database cannot be opened: this rowferry was built without PostgreSQL";
        let hint = "Build it with the feature: cargo install rowferry --features cli,postgres";
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint).into())
    }

    #[cfg(feature = "postgres")]
    fn of_url(&self) -> Result<Database<'_>, Failure> {
        let mut options = rowferry::PostgresOptions::parse(&self.path).map_err(Failure::typed)?;
        if self.trust_schema {
            let error = Error::new(ErrorKind::InvalidInput, "--trust-schema is about a SQLite file");
            return Err(Failure::usage(error.with_hint("Leave it out.")));
        }
        if !self.postgres.schemas.is_empty() {
            options = options.schemas(&self.postgres.schemas).map_err(Failure::typed)?;
        }
        if let Some(path) = &self.postgres.ca_cert {
            options = options.certificate_authority(crate::commands::read_file(path)?);
        }
        Ok(Database::Postgres(Box::new(pgpass::with_password(options)?)))
    }

    /// What is chosen for the site, whatever its database.
    pub fn builder(&self) -> SiteBuilder {
        let builder = Site::builder().trust_schema(self.trust_schema);
        match &self.key_file {
            Some(file) => builder.key_file(file),
            None => builder,
        }
    }

    /// Opens the site. A SQLite file that is not there is made, and so is a key where one is needed.
    ///
    /// A PostgreSQL database has no place beside it for the key: where none is named, what needs it fails.
    pub fn open(&self, limits: Limits) -> Result<Site, Failure> {
        let builder = self.builder().limits(limits.clone());
        match self.database()? {
            Database::File(path) => Ok(builder.open(path)?),
            #[cfg(feature = "postgres")]
            Database::Postgres(options) => {
                let store = rowferry::store::PostgresStore::open(&options, &limits)?;
                Ok(builder.with_store(std::sync::Arc::new(store)))
            }
        }
    }

    /// The same for what will need the key: where none is named it fails at once, before anything is begun.
    pub fn open_with_key(&self, limits: Limits) -> Result<Site, Failure> {
        match self.database()? {
            #[cfg(feature = "postgres")]
            Database::Postgres(options) => Ok(self.builder().limits(limits).open_postgres(*options)?),
            Database::File(_) => self.open(limits),
        }
    }
}
