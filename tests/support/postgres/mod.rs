//! A PostgreSQL server of the tests' own: made in a temporary folder, reached by a socket in it, and gone with this process,
//! however that ends.
//!
//! `initdb` must be on the path, or where Debian and Ubuntu put it (`apt-get install postgresql`). Nothing of an installed server is
//! touched.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The superuser, who needs no password.
pub const SUPERUSER: &str = "postgres";

/// What stops the server when this process ends: its standard input is a pipe that only this process holds.
const WATCHER: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
server=$!
read -r _
kill -QUIT "$server"
wait "$server"
rm -rf "$folder"
"#;

/// What a server has beyond the defaults.
#[derive(Debug, Default)]
pub struct Setup<'s> {
    /// Whether it listens on a port of 127.0.0.1, too.
    pub tcp: bool,
    /// Settings, as in postgresql.conf.
    pub settings: &'s [(&'s str, &'s str)],
    /// Files of its data folder: names and contents. Its `pg_hba.conf` is among those that can be replaced.
    pub files: &'s [(&'s str, &'s str)],
}

/// A server that runs.
pub struct Server {
    folder: PathBuf,
    port: Option<u16>,
    programs: PathBuf,
    made: AtomicU32,
    /// It ends when its standard input does.
    watcher: Child,
}

/// The server that the tests of this process share.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    /// Makes and starts a server without a port.
    pub fn start() -> Server {
        Server::start_with(&Setup::default())
    }

    /// Makes and starts a server.
    pub fn start_with(setup: &Setup<'_>) -> Server {
        let programs = programs();
        let made = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = parent().join(format!("rowferry-pg-{}-{made}", std::process::id()));
        // One that was killed, watcher and all, may have had this number before.
        drop(fs::remove_dir_all(&folder));
        fs::DirBuilder::new().mode(0o700).create(&folder).expect("the temporary folder takes folders");
        let data = folder.join("data");
        let user = User::of(&folder);
        let mut initdb = user.command(&programs.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--no-locale", "--no-sync"]);
        let done = initdb.output().expect("initdb can be run");
        assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
        for (name, content) in setup.files {
            user.write(&data.join(name), content);
        }
        let port = setup.tcp.then(free_port);
        let mut watcher = user.command(Path::new("/bin/sh"));
        watcher.args(["-c", WATCHER, "watcher"]).arg(&folder).arg(programs.join("postgres")).arg("-D").arg(&data);
        let sockets = folder.to_string_lossy().into_owned();
        let (addresses, port_setting) = (if port.is_some() { "127.0.0.1" } else { "" }, port.unwrap_or(5432).to_string());
        let fixed = [
            ("unix_socket_directories", &*sockets),
            ("listen_addresses", addresses),
            ("port", &port_setting),
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("shared_buffers", "64MB"),
            ("max_connections", "300"),
            ("max_wal_size", "4GB"),
            ("autovacuum", "off"),
            ("log_min_messages", "warning"),
        ];
        for (name, value) in fixed.iter().chain(setup.settings) {
            watcher.arg("-c").arg(format!("{name}={value}"));
        }
        // In a group of its own: what a terminal sends to the tests is not for it.
        let watcher = watcher.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watcher = watcher.spawn().expect("there is a shell");
        let server = Server { folder, port, programs, made: AtomicU32::new(0), watcher };
        server.wait_until_ready();
        server
    }

    /// `postmaster.pid` says so in its last line.
    fn wait_until_ready(&self) {
        let begun = Instant::now();
        let path = self.folder.join("data/postmaster.pid");
        while !fs::read_to_string(&path).is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the server wrote into its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The folder that has its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port, where it listens on one.
    pub fn port(&self) -> u16 {
        self.port.expect("the server was started with `tcp`")
    }

    /// The URL of a database of the superuser's through the socket.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The same of another role: its name, with `:` and a password if there is one.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        let host = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://{role}@{host}:{}/{database}", self.port.unwrap_or(5432))
    }

    /// Makes an empty database, and gives its URL.
    pub fn database(&self) -> String {
        self.database_with("")
    }

    /// The same with clauses of CREATE DATABASE, such as `TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'`.
    pub fn database_with(&self, clauses: &str) -> String {
        let name = format!("test_{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.run(&self.url(SUPERUSER), &format!("CREATE DATABASE {name} {clauses}"));
        self.url(&name)
    }

    /// Runs statements in a database by psql, and gives the cells of what they select: `|` between columns.
    pub fn run(&self, url: &str, sql: &str) -> String {
        self.try_run(url, sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// The same; what psql says of the first one that fails.
    pub fn try_run(&self, url: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", url]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = psql.spawn().expect("psql can be run");
        let mut input = psql.stdin.take().expect("it is piped");
        let sql = sql.to_owned();
        let writer = std::thread::spawn(move || input.write_all(sql.as_bytes()));
        let done = psql.wait_with_output().expect("psql ends");
        // It need not read all where a statement failed.
        drop(writer.join());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
        if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
    }

    /// A program of the server's version, such as psql or pg_dump.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        drop(self.watcher.wait());
    }
}

/// The folders that this process has made.
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Where servers are made: the path of a socket is at most 107 bytes long, and the server's user must reach it.
fn parent() -> PathBuf {
    let temporary = std::env::temp_dir();
    let is_open = fs::metadata(&temporary).is_ok_and(|about| about.mode() & 0o001 != 0);
    if is_open && temporary.as_os_str().len() <= 50 { temporary } else { PathBuf::from("/tmp") }
}

/// Where `initdb` is: the first on the path, or the newest that the system's packages have.
fn programs() -> PathBuf {
    let has = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    // A link on the path leads to the folder that has all of them.
    let found = Command::new("sh").args(["-c", "command -v initdb"]).output().expect("there is a shell");
    let on_path = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    if let Some(folder) = on_path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned)).filter(has) {
        return folder;
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| has(folder))
        .collect();
    versions.sort();
    let (_, folder) =
        versions.pop().expect("these tests need PostgreSQL's `initdb`: install `postgresql`, or leave the feature out");
    folder
}

/// Who runs the server: root may not.
struct User(Option<(u32, u32)>);

impl User {
    /// Who runs a server in this folder, which this process has made: it belongs to that user from now on.
    fn of(folder: &Path) -> User {
        if fs::metadata(folder).expect("it was made").uid() != 0 {
            return User(None);
        }
        let users = fs::read_to_string("/etc/passwd").expect("root can read it");
        let find = |name: &str| {
            let mut fields = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let (user, group) = find("postgres").or_else(|| find("nobody")).expect("there is an unprivileged user");
        chown(folder, Some(user), Some(group)).expect("root may");
        User(Some((user, group)))
    }

    /// A program that this user runs.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command.current_dir("/");
        command
    }

    /// A file that only this user may read, as keys must be.
    fn write(&self, path: &Path, content: &str) {
        fs::write(path, content).expect("the folder takes files");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).expect("the file is this process's");
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group)).expect("root may");
        }
    }
}

/// A port that nothing listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it listens").port()
}
