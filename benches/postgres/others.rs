//! What one would take instead of a pull to copy the table into a database that lacks it: its time stands where the limit's does.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::databases::Before;
use crate::psql;

pub fn measure(bench: &Bench) {
    let dump = || dump(bench);
    bench.compare("others, pg_dump | psql", None, dump, || bench.pull(Before::Nothing, [bench.rows, 0, 0]));
    let version = Command::new("pgloader").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("{:<34} not installed", "others, pgloader");
        return;
    }
    let source = bench.databases.sqlite_source();
    let pull = || bench.pull_into_postgres(&source, Before::Nothing, [bench.rows, 0, 0]);
    bench.compare("others, pgloader from SQLite", None, || pgloader(bench, &source), pull);
}

/// `pg_dump -t t | psql`
fn dump(bench: &Bench) -> Duration {
    let target = bench.databases.target(Before::Nothing);
    let (mut reader, mut writer) = (bench.databases.server.program("pg_dump"), psql::psql(&bench.databases));
    reader.args(["-t", "t", &bench.databases.source]);
    writer.arg(&target.url);
    let took = psql::pipe(reader, writer);
    bench.databases.check(&target.url);
    took
}

/// `pgloader sqlite://source.db pgsql://..`
fn pgloader(bench: &Bench, source: &Path) -> Duration {
    let target = bench.databases.target(Before::Nothing);
    let server = &bench.databases.server;
    let database = target.url.rsplit('/').next().expect("it ends with the database");
    let url = format!("pgsql://{}@unix:{}:5432/{database}", crate::server::SUPERUSER, server.folder().display());
    let began = Instant::now();
    let output = Command::new("pgloader")
        .arg(format!("sqlite://{}", source.display()))
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .expect("pgloader");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let rows = server.run(&target.url, "SELECT count(*) FROM t");
    assert_eq!(rows, bench.rows.to_string(), "{}", String::from_utf8_lossy(&output.stdout));
    took
}
