//! Pulls through the native protocol from a real sender: every value bit for bit, tables around the size of a page, and a
//! connection that is cut at every byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rowferry::{Auth, Client, ConnectOptions, Direction, PullOptions, Site, Strategy as Choice, Value};
use rusqlite::params_from_iter;
use rusqlite::types::{ToSqlOutput, ValueRef};

fn client(there: &Site, url: &str) -> Client {
    let session = there.sessions().create(Direction::Send).unwrap();
    Client::connect(url, Auth::code(session.code()), ConnectOptions::default().heartbeat(None)).unwrap()
}

fn value() -> impl Strategy<Value = Value> {
    let integers = vec![0, 1, -1, 127, 128, -128, -129, i64::MAX, i64::MIN, (1 << 53) + 1, -(1 << 31)];
    let reals = vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX, 5e-324, 0.1, 1e300];
    let bytes = || {
        prop_oneof![
            vec(any::<u8>(), 0..40),
            // Around the length at which text is written in another way, and what compresses.
            (120usize..140, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
            select(vec![&b""[..], b"\0", b"a\0b", b"\xff\xfe", b"\xed\xa0\x80", b"007", b"1e3", b" 5 "])
                .prop_map(<[u8]>::to_vec),
        ]
    };
    prop_oneof![
        1 => Just(Value::Null),
        2 => any::<i64>().prop_map(Value::Integer),
        2 => select(integers).prop_map(Value::Integer),
        2 => any::<f64>().prop_filter("SQLite makes NULL of it", |real| !real.is_nan()).prop_map(Value::Real),
        2 => select(reals).prop_map(Value::Real),
        3 => bytes().prop_map(Value::Text),
        3 => bytes().prop_map(Value::Blob),
    ]
}

/// What goes into a statement, class for class and bit for bit.
fn bound(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(v) => ValueRef::Integer(*v),
        Value::Real(v) => ValueRef::Real(*v),
        Value::Text(v) => ValueRef::Text(v),
        Value::Blob(v) => ValueRef::Blob(v),
    })
}

fn fill(there: &Fixture, table: &str, rows: &[Vec<Value>]) {
    let mut insert = there.sqlite.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)")).unwrap();
    for row in rows {
        insert.execute(params_from_iter(row.iter().map(bound))).unwrap();
    }
}

/// The rows as bits: SQLite's own idea of them.
fn bits(fixture: &Fixture, table: &str) -> Vec<String> {
    let mut statement = fixture.sqlite.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let bits = |value: ValueRef<'_>| match value {
        ValueRef::Real(v) => format!("real {:x}", v.to_bits()),
        other => format!("{other:?}"),
    };
    let row = |row: &rusqlite::Row<'_>| Ok((0..3).map(|at| bits(row.get_ref(at).unwrap())).collect::<Vec<_>>().join("|"));
    let mut rows: Vec<String> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
    rows.sort();
    rows
}

const ANY: &str = "CREATE TABLE keyed(id ANY PRIMARY KEY NOT NULL, v ANY, w ANY) STRICT;
    CREATE TABLE small(id ANY PRIMARY KEY NOT NULL, v ANY, w ANY) STRICT, WITHOUT ROWID; CREATE TABLE keyless(a, b, c BLOB);";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_value_arrives_bit_for_bit(rows in vec(vec(value(), 3), 0..60), batch in 1..30u32) {
        let keyed: Vec<_> = rows.iter().filter(|row| !row[0].is_null()).cloned().collect();
        let (sender, here) = (Sender::new(ANY), Fixture::new(""));
        fill(&sender.there, "keyed", &keyed);
        fill(&sender.there, "small", &keyed);
        fill(&sender.there, "keyless", &rows);
        // Once into nothing, and once more over the same rows: none differs.
        for again in [false, true] {
            let report = sender.pull(&here.site, PullOptions::new().strategy(Choice::Overwrite).batch_size(batch).always(true));
            prop_assert!(report.is_clean() && report.one_state, "{:?}", report);
            for table in ["keyed", "small", "keyless"] {
                let there = bits(&sender.there, table);
                prop_assert_eq!(&there, &bits(&here, table), "{}", table);
                let digest = |fixture: &Fixture| fixture.site.table_checksum(table).unwrap();
                prop_assert_eq!(digest(&sender.there), digest(&here), "{}", table);
                let outcome = &report.table(table).unwrap().outcome;
                let counted = if again { outcome.total() - outcome.created } else { outcome.created };
                prop_assert_eq!(counted, there.len() as u64, "{}: {:?}", table, outcome);
            }
        }
    }
}

#[test]
fn tables_around_the_size_of_a_page() {
    let sender = Sender::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)");
    for rows in [0, 1, 2, 9, 10, 11, 19, 20, 21, 100] {
        sender.there.run("DELETE FROM t");
        for id in 0..rows {
            sender.there.run(&format!("INSERT INTO t VALUES ({id}, 'row')"));
        }
        let here = Fixture::new("");
        let report = sender.pull(&here.site, PullOptions::new().batch_size(10));
        assert!(report.is_clean() && report.records == rows, "{rows}: {report:?}");
        assert_eq!(here.rows("SELECT count(*), count(v) FROM t"), [format!("{rows}|{rows}")]);
    }
}

/// A proxy that cuts its first connection after so many bytes from the server. It counts them, and its connections.
fn proxy(to: SocketAddr, cut: usize) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, numbered) = (Arc::clone(&count), Arc::clone(&connections));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let at = numbered.fetch_add(1, Ordering::SeqCst);
            let Ok(server) = TcpStream::connect(to) else { return };
            let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (counted, left) = (Arc::clone(&counted), if at == 0 { cut } else { usize::MAX });
            std::thread::spawn(move || forward(from, into, usize::MAX, &AtomicUsize::new(0)));
            std::thread::spawn(move || forward(server, client, left, &counted));
        }
    });
    (url, count, connections)
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut left: usize, count: &AtomicUsize) {
    let mut buffer = [0; 4096];
    while left > 0
        && let Ok(length @ 1..) = from.read(&mut buffer)
    {
        let sent = left.min(length);
        left -= sent;
        count.fetch_add(sent, Ordering::SeqCst);
        if to.write_all(&buffer[..sent]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Each byte that the sender says after the join, from the list of tables to the last end.
#[test]
fn a_connection_that_is_cut_at_any_byte_is_one_pull() {
    let sender = Sender::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')",
    );
    let rows = sender.there.rows("SELECT * FROM t");
    let (site, address) = (sender.there.site.clone(), sender.server.local_addr());
    let again = AtomicUsize::new(0);
    let pull = |here: &Fixture, cut: usize| {
        let (url, count, connections) = proxy(address, cut);
        let client = client(&site, &url);
        let joined = count.load(Ordering::SeqCst);
        let options = PullOptions::new().strategy(Choice::Append).append_again(true).batch_size(2);
        let report = client.pull(&here.site, options.retry_time(Duration::from_secs(30))).unwrap();
        let all = count.load(Ordering::SeqCst);
        let report = report.tables.into_iter().next().unwrap();
        assert!(report.error.is_none(), "cut after {cut} bytes: {report:?}");
        assert_eq!((report.outcome.created, report.outcome.total()), (5, 5), "cut after {cut} bytes: {report:?}");
        assert_eq!(here.rows("SELECT v FROM t ORDER BY id").len(), 5, "cut after {cut} bytes");
        // Not made again where only the end is lost, which says nothing that is not known by then.
        let made = connections.load(Ordering::SeqCst);
        assert!((1..=2).contains(&made), "cut after {cut} bytes: {made} connections");
        again.fetch_add(made - 1, Ordering::SeqCst);
        (joined, all)
    };
    let here = Fixture::new("");
    let (joined, all) = pull(&here, usize::MAX);
    assert_eq!(here.rows("SELECT * FROM t"), rows);
    assert!(joined < all && all < joined + 4_000, "{joined} {all}");
    let next = AtomicUsize::new(joined);
    std::thread::scope(|threads| {
        for _ in 0..12 {
            threads.spawn(|| {
                let here = Fixture::new("");
                loop {
                    let cut = next.fetch_add(1, Ordering::SeqCst);
                    if cut >= all {
                        return;
                    }
                    pull(&here, cut);
                    here.run("DELETE FROM t");
                }
            });
        }
    });
    let lost = again.load(Ordering::SeqCst);
    assert!(lost <= all - joined && lost + 100 > all - joined, "{lost} of {} cuts", all - joined);
}
