//! What goes wrong with a server: connections that are ended, locks, time-outs, and rights that are missing.

use std::time::Duration;

use rowferry::{ErrorKind, Limits, Phase, PostgresOptions, Site, SiteKey, Strategy, TableStatus};

use crate::common::{KEY, Lite, Pg, clean, link, open_with, options, same};
use crate::postgres::server;

const ROWS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, 'row ' || i FROM n;";

const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[test]
fn a_pull_whose_connections_are_ended_resumes() {
    let (from, to) = (Lite::new(ROWS), Pg::new(""));
    let small = || {
        let mut limits = Limits::default();
        limits.pull.commit_rows = 100;
        open_with(&to.url, limits)
    };
    let mut ended = false;
    let site = small();
    let options_of = options(Strategy::Overwrite).batch_size(50).on_progress(|progress| {
        if !ended && progress.records >= 500 {
            ended = true;
            to.run(END_ALL);
        }
    });
    let report = link(&from.site, &site, options_of);
    assert!(ended);
    // It may have been mended by trying again; if not, the same pull again does it.
    if report.ok().is_err() {
        let report = link(&from.site, &small(), options(Strategy::Overwrite).batch_size(50));
        clean(&report);
        assert!(report.tables[0].resumed, "{report:#?}");
    }
    same(&from.site, &to.site, &["t"]);
    // The site that lost its connections works.
    assert_eq!(site.list_tables().unwrap().len(), 1);
}

#[test]
fn a_sender_whose_connections_are_ended_is_pulled_again() {
    let (from, to) = (
        Pg::new(
            "CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 2000) i",
        ),
        Lite::new(""),
    );
    let mut ended = false;
    let options_of = options(Strategy::Overwrite).batch_size(50).retry_time(Duration::ZERO).on_progress(|progress| {
        if !ended && progress.phase == Phase::Applying && progress.records >= 500 {
            ended = true;
            from.run(END_ALL);
        }
    });
    drop(link(&from.site, &to.site, options_of));
    clean(&link(&from.site, &to.site, options(Strategy::Overwrite).batch_size(50)));
    same(&from.site, &to.site, &["t"]);
}

#[test]
fn a_table_that_somebody_locks_is_waited_for_and_then_fails() {
    let (from, to) = (Lite::new(ROWS), Pg::new("CREATE TABLE t(id bigint PRIMARY KEY, v text)"));
    let mut limits = Limits::default();
    limits.store.busy_timeout = Duration::from_millis(200);
    let site = open_with(&to.url, limits);
    let lock = "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_lock(1); SELECT pg_sleep(30)";
    let (url, text) = (to.url.clone(), lock.to_owned());
    let holder = std::thread::spawn(move || drop(server().try_run(&url, &text)));
    while to.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND granted") != "1" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let client =
        rowferry::Client::link(&from.site, rowferry::Auth::code(crate::common::code(&from.site)), Default::default())
            .unwrap();
    let pulled = client.pull(&site, options(Strategy::Overwrite).retry_time(Duration::ZERO));
    let kind = match pulled {
        Ok(report) => report.ok().map(|_| ()).unwrap_err().kind(),
        Err(error) => error.kind(),
    };
    assert_eq!(kind, ErrorKind::Locked);
    to.run("SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1");
    holder.join().unwrap();
    clean(&link(&from.site, &site, options(Strategy::Overwrite)));
    same(&from.site, &site, &["t"]);
}

#[test]
fn a_statement_that_takes_too_long_is_a_timeout() {
    let to = Pg::new("CREATE TABLE t(id bigint PRIMARY KEY, v text); CREATE FUNCTION slow() RETURNS trigger AS $$ BEGIN PERFORM pg_sleep(30); RETURN new; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()");
    let limited = PostgresOptions::parse(&to.url).unwrap().statement_timeout(Duration::from_millis(300));
    let site = Site::builder().key(SiteKey::from_bytes(KEY)).open_postgres(limited).unwrap();
    let report = link(&Lite::new(ROWS).site, &site, options(Strategy::Overwrite).retry_time(Duration::ZERO));
    assert_eq!(report.tables[0].status, TableStatus::Failed, "{report:#?}");
    assert_eq!(report.tables[0].error.as_ref().unwrap().kind(), ErrorKind::Timeout, "{report:#?}");
    assert_eq!(to.run("SELECT count(*) FROM t"), "0");
}

#[test]
fn what_a_role_may_not_do_is_said() {
    let owner = Pg::new(
        "CREATE TABLE open(id int PRIMARY KEY); CREATE TABLE shut(id int PRIMARY KEY); INSERT INTO open VALUES (1); INSERT INTO shut VALUES (2)",
    );
    let role = format!("reader_{}", owner.url.rsplit('_').next().unwrap());
    owner.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON open TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         REVOKE ALL ON shut FROM {role}; REVOKE INSERT, UPDATE ON open FROM {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let name = owner.url.rsplit('/').next().unwrap();
    let site = crate::common::open(&server().url_as(&role, name));
    // As a sender: the table that it may read arrives, the other one is not offered, which is told.
    let to = Lite::new("");
    let report = link(&site, &to.site, options(Strategy::Overwrite));
    assert_eq!(to.cell("SELECT id FROM open"), "1", "{report:#?}");
    assert!(report.table("shut").is_none(), "{report:#?}");
    assert_eq!(report.not_copied.not_readable, ["shut"]);
    // As a receiver: it may not write, nor make tables.
    let from = Lite::new(
        "CREATE TABLE open(id INTEGER PRIMARY KEY); INSERT INTO open VALUES (5); CREATE TABLE new(id INTEGER PRIMARY KEY)",
    );
    let report = link(&from.site, &site, options(Strategy::Overwrite));
    for table in ["open", "new"] {
        let error = report.table(table).unwrap().error.as_ref().map(|error| error.message().to_owned());
        let told = error.is_some_and(|message| message.contains("permission denied"))
            || report
                .table(table)
                .unwrap()
                .outcome
                .failures
                .iter()
                .any(|failure| failure.message.contains("permission denied"));
        assert!(told, "{table}: {report:#?}");
    }
    assert_eq!(owner.run("SELECT * FROM open"), "1");
}

#[test]
fn what_cannot_be_reached_is_said_without_the_password() {
    let open = |url: &str| {
        let options = PostgresOptions::parse(url).unwrap();
        Site::builder().key(SiteKey::from_bytes(KEY)).open_postgres(options).unwrap_err()
    };
    for url in [
        "postgres://ann:sesame@127.0.0.1:1/x".to_owned(),
        server().url_as("nobody:sesame", "postgres"),
        server().url("ghost"),
    ] {
        let error = open(&url);
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
    }
}
