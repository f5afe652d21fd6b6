//! How a PostgreSQL database is reached.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use postgres::config::{Host, SslMode};

use crate::error::{Error, ErrorKind, Result};

/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the names of all connections begin.
pub(crate) const NAME: &str = "rowferry";

/// The schema that PostgreSQL makes itself.
const PUBLIC: &str = "public";

/// How a PostgreSQL database is reached, and what of it belongs to the site.
///
/// It is never printed with the password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: postgres::Config,
    pub(super) schemas: Vec<String>,
    pub(super) authorities: Vec<Vec<u8>>,
    pub(super) statement_timeout: Duration,
}

impl PostgresOptions {
    /// Of a URL: `postgres://user:password@host:5432/database`, or `postgres://user@/database?host=/var/run/postgresql` for a socket.
    /// Parameters are those of libpq that the crate `postgres` knows, such as `connect_timeout`, and `sslmode`:
    ///
    /// - `disable`: no TLS;
    /// - `prefer`: TLS where the server offers it;
    /// - `require`, `verify-ca` and `verify-full`: TLS, always.
    ///
    /// Wherever there is TLS, the server's certificate is checked, and that it is for this host. Defaults to `disable` for sockets and
    /// loopback addresses, and to `require` for all others. A connection may take 10 s to come about unless `connect_timeout` says otherwise.
    /// At the server it is called `rowferry`, followed by the `application_name` that is given.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is no such URL. It is not shown: it may hold a password.
    pub fn parse(url: &str) -> Result<Self> {
        if !PostgresOptions::is_url(url) {
            return Err(invalid("it does not begin with postgres://"));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (modes, others): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("sslmode="));
        let text = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
        let mut config: postgres::Config = text.parse().map_err(|error: postgres::Error| invalid(&error.to_string()))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("it names no host; for a socket give its folder as ?host=/var/run/postgresql"));
        }
        // What stands before it is the rest of a password, and the host's name is shown.
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err(invalid("an @ in a user's name or password is written %40"));
        }
        let mode = match modes.last().map(|mode| mode.trim_start_matches("sslmode=")) {
            None if config.get_hosts().iter().all(is_local) => SslMode::Disable,
            None | Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some("disable") => SslMode::Disable,
            Some("prefer") => SslMode::Prefer,
            Some(_) => return Err(invalid("sslmode is one of disable, prefer, require, verify-ca and verify-full")),
        };
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.application_name(&named(config.get_application_name()));
        Ok(PostgresOptions {
            config,
            schemas: vec![PUBLIC.to_owned()],
            authorities: Vec::new(),
            statement_timeout: Duration::ZERO,
        })
    }

    /// Whether a text is the URL of a PostgreSQL database, by how it begins.
    pub fn is_url(text: &str) -> bool {
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
        begins("postgres://") || begins("postgresql://")
    }

    /// The password, in place of one in the URL. Defaults to none.
    pub fn password(mut self, password: &str) -> Self {
        self.config.password(password);
        self
    }

    /// Whether there is a password.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The schemas whose tables belong to the site, which must exist. Tables of the first one have their plain names, and rowferry's own
    /// tables are there; those of the others are called `schema.table`. Defaults to `public` alone.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for no schema at all, one twice, one without a name, and PostgreSQL's own.
    pub fn schemas(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let is_own = |name: &String| name.is_empty() || name.starts_with("pg_") || name == "information_schema";
        let is_twice = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
        if names.is_empty() || is_twice || names.iter().any(is_own) {
            let message = format!("{names:?} cannot be the schemas of a site");
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("Name each schema once, and none of PostgreSQL's own."));
        }
        self.schemas = names;
        Ok(self)
    }

    /// Also trusts this certificate authority (PEM). Defaults to those that browsers trust, and with feature `native-certs` the
    /// operating system's.
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// How long one statement may take; zero is no bound. A pull copies many rows with one statement. Defaults to zero.
    pub fn statement_timeout(mut self, time: Duration) -> Self {
        self.statement_timeout = time;
        self
    }

    /// The name of the user, where one is given.
    pub fn user(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// The host, port and database, as a password file names them: a folder of a socket is `localhost` there.
    pub fn place(&self) -> (String, u16, String) {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(_)) => "localhost".to_owned(),
            None => self.config.get_hostaddrs().first().map(IpAddr::to_string).unwrap_or_default(),
        };
        let user = self.config.get_user().unwrap_or_default();
        (host, self.port(), self.config.get_dbname().unwrap_or(user).to_owned())
    }

    /// The folder of the socket, where the server is reached by one.
    pub fn socket(&self) -> Option<&Path> {
        match self.config.get_hosts().first() {
            #[cfg(unix)]
            Some(Host::Unix(folder)) => Some(folder),
            _ => None,
        }
    }

    /// Whether what is sent to the server stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        !self.config.get_hosts().is_empty() && self.config.get_hosts().iter().all(is_local)
    }

    /// The name that its connections have at the server.
    pub(crate) fn application_name(&self) -> &str {
        self.config.get_application_name().unwrap_or_default()
    }

    /// The same with a name for its connections that no other program has.
    pub(crate) fn alone(mut self) -> Self {
        self.config.application_name(&format!("{NAME} {}", uuid::Uuid::new_v4()));
        self
    }

    fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(PORT)
    }

    /// What to call the database in a message: without credentials.
    pub(super) fn name(&self) -> String {
        let (host, port, database) = self.place();
        match self.config.get_hosts().first() {
            #[cfg(unix)]
            Some(Host::Unix(folder)) => format!("postgres:///{database}?host={}", folder.display()),
            _ => format!("postgres://{host}:{port}/{database}"),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.debug_struct("PostgresOptions").field("name", &name).field("schemas", &self.schemas).finish_non_exhaustive()
    }
}

/// What its connections are called at the server. They are found by how it begins.
fn named(wanted: Option<&str>) -> String {
    match wanted {
        Some(name) if name.starts_with(NAME) => name.to_owned(),
        Some(name) => format!("{NAME} {name}"),
        None => NAME.to_owned(),
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(host) => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the database's URL cannot be used: {why}"))
        .with_hint("Write it as postgres://user@host/database.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        PostgresOptions::parse(url).unwrap().config.get_ssl_mode()
    }

    #[test]
    fn a_url_says_where() {
        let options = PostgresOptions::parse("postgres://ann:s%40fe@db.example/shop?connect_timeout=3").unwrap();
        assert_eq!(options.name(), "postgres://db.example:5432/shop");
        assert_eq!((options.user(), options.has_password()), (Some("ann"), true));
        assert_eq!(options.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert!(!format!("{options:?}").contains("s@fe"));
        let socket = PostgresOptions::parse("postgresql://ann@/shop?host=/run/pg").unwrap();
        assert_eq!(socket.name(), "postgres:///shop?host=/run/pg");
        assert_eq!(socket.place(), ("localhost".to_owned(), 5432, "shop".to_owned()));
        assert_eq!((socket.socket(), options.socket()), (Some(Path::new("/run/pg")), None));
        assert_eq!(socket.password("x").config.get_password(), Some(&b"x"[..]));
    }

    #[test]
    fn connections_are_known_by_their_name() {
        let name =
            |query: &str| PostgresOptions::parse(&format!("postgres://a@h/x{query}")).unwrap().application_name().to_owned();
        assert_eq!(name(""), "rowferry");
        assert_eq!(name("?application_name=backup"), "rowferry backup");
        assert_eq!(name("?application_name=rowferry-1"), "rowferry-1");
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_the_url_says_otherwise() {
        assert_eq!(mode("postgres://a@db.example/x"), SslMode::Require);
        assert_eq!(mode("postgres://a@db.example/x?sslmode=prefer"), SslMode::Prefer);
        assert_eq!(mode("postgres://a@db.example/x?sslmode=disable&connect_timeout=1"), SslMode::Disable);
        assert_eq!(mode("postgres://a@localhost/x?sslmode=verify-full"), SslMode::Require);
        for local in ["localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(mode(&format!("postgres://a@{local}/x")), SslMode::Disable, "{local}");
        }
    }

    #[test]
    fn a_wrong_url_is_an_error_that_does_not_show_it() {
        for wrong in [
            "shop.db",
            "postgres://a:secret@h/x?sslmode=maybe",
            "postgres://a:secret@h:port/x",
            "postgres://a:se@secret@h/x",
            "postgres://a:secret@/x",
        ] {
            let error = PostgresOptions::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn schemas_are_named_once() {
        let options = PostgresOptions::parse("postgres://a@localhost/x").unwrap();
        assert_eq!(options.clone().schemas(["shop", "old"]).unwrap().schemas, ["shop", "old"]);
        for wrong in [&[][..], &["a", "a"], &[""], &["pg_catalog"]] {
            assert!(options.clone().schemas(wrong.iter().copied()).is_err(), "{wrong:?}");
        }
    }
}
