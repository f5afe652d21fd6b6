//! What is measured against: COPY through psql.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::databases::{Before, Databases};

/// What COPY gives of the table.
const OUT: &str = "COPY (SELECT id, name, age, score FROM t) TO STDOUT";

/// `psql -c "COPY (SELECT ..) TO STDOUT" | psql -c "COPY t FROM STDIN"`, into an empty table.
pub fn copy(databases: &Databases) -> Duration {
    through(databases, Before::Empty, &["COPY t FROM STDIN"])
}

/// COPY to a temporary table, and from there one statement into the table, whose rows all differ.
pub fn overwrite(databases: &Databases) -> Duration {
    let upsert = "INSERT INTO t SELECT * FROM s ON CONFLICT (id) DO UPDATE
        SET name = EXCLUDED.name, age = EXCLUDED.age, score = EXCLUDED.score";
    through(databases, Before::AllDiffer, &["CREATE TEMPORARY TABLE s (LIKE t)", "COPY s FROM STDIN", upsert])
}

/// The rows of the source go to these statements, which are one transaction.
fn through(databases: &Databases, before: Before, statements: &[&str]) -> Duration {
    let target = databases.target(before);
    let (mut reader, mut writer) = (psql(databases), psql(databases));
    reader.args(["-c", OUT, &databases.source]);
    writer.arg("-1").args(statements.iter().flat_map(|sql| ["-c", sql])).arg(&target.url);
    let took = pipe(reader, writer);
    databases.check(&target.url);
    took
}

/// The output of one program is the input of the other; the time until both have ended.
pub fn pipe(mut reader: Command, mut writer: Command) -> Duration {
    let began = Instant::now();
    let mut reader = reader.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a program");
    let rows = reader.stdout.take().expect("its output");
    let written = writer.stdin(rows).stdout(Stdio::null()).status().expect("a program");
    assert!(written.success() && reader.wait().expect("its end").success());
    began.elapsed()
}

/// Writes the rows to a file, as COPY has them.
pub fn write_file(databases: &Databases, path: &Path) {
    let file = std::fs::File::create(path).expect("a file");
    let status = psql(databases).args(["-c", OUT, &databases.source]).stdout(file).status().expect("psql");
    assert!(status.success());
}

/// `psql -c "COPY t FROM STDIN" < file`, into an empty table.
pub fn copy_file(databases: &Databases, path: &Path) -> Duration {
    let target = databases.target(Before::Empty);
    let file = std::fs::File::open(path).expect("the file");
    let began = Instant::now();
    let status = psql(databases).args(["-c", "COPY t FROM STDIN", &target.url]).stdin(file).stdout(Stdio::null()).status();
    let took = began.elapsed();
    assert!(status.expect("psql").success());
    databases.check(&target.url);
    took
}

/// `psql -c "COPY (SELECT ..) TO STDOUT (FORMAT binary)" > /dev/null`
pub fn to_nowhere(databases: &Databases) -> Duration {
    let began = Instant::now();
    let out = format!("{OUT} (FORMAT binary)");
    let status = psql(databases).args(["-c", &out, &databases.source]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("psql").success());
    began.elapsed()
}

/// psql, which ends with the first statement that fails.
pub fn psql(databases: &Databases) -> Command {
    let mut psql = databases.server.program("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
    psql
}
