//! Pulls through a server of the host's own, which gives its streams to `ChannelSession::serve`.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{Auth, CancelToken, Client, ConnectOptions, Direction, ErrorKind, Handler, Limits, PullOptions, Site};
use tungstenite::handshake::server::{Request, Response};

const SHOP: &str = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO a SELECT i, 'row ' || i FROM n;
    INSERT INTO b SELECT * FROM a;";

/// Answers peers one after the other; gives the URL.
fn host(handler: Handler) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &handler);
        }
    });
    url
}

#[expect(clippy::result_large_err, reason = "the handshake's callback is of this type")]
fn serve(stream: TcpStream, handler: &Handler) {
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut session = None;
    let upgrade = |request: &Request, _: Response| match handler.upgrade(request, None) {
        Ok(upgrade) => {
            session = Some(upgrade.session);
            Ok(upgrade.response)
        }
        Err(refused) => {
            let (head, body) = refused.into_parts();
            Err(http::Response::from_parts(head, Some(String::from_utf8(body.into_bytes().unwrap()).unwrap())))
        }
    };
    if let Ok(socket) = tungstenite::accept_hdr(stream, upgrade) {
        session.unwrap().serve(socket.into_inner());
    }
}

/// A site that lets little be on its way, so that the sender waits for it again and again.
fn backup(folder: &tempfile::TempDir) -> Site {
    let mut limits = Limits::default();
    limits.pull.stream_window_bytes = 16 << 10;
    Site::builder().limits(limits).open(folder.path().join("backup.db")).unwrap()
}

#[test]
fn a_pull_has_its_credit_and_may_be_cancelled_and_resumed() {
    let (shop, folder) = (Fixture::new(SHOP), tempfile::tempdir().unwrap());
    let url = host(shop.site.handler());
    let code = shop.site.sessions().create(Direction::Send).unwrap();
    let backup = backup(&folder);
    let pull = |options: PullOptions<'_>| {
        backup.pull_from(&url, Auth::code(code.code()), ConnectOptions::default(), options.batch_size(50)).unwrap()
    };
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let cancelled = pull(PullOptions::new().cancel(cancel).on_progress(move |progress| {
        if progress.table == "b" && progress.records > 0 {
            token.cancel();
        }
    }));
    assert_eq!(cancelled.ok().unwrap_err().kind(), ErrorKind::Cancelled);
    let report = pull(PullOptions::new());
    report.ok().unwrap();
    assert!(report.table("a").unwrap().resumed && report.table("b").unwrap().resumed, "{report:?}");
    for table in ["a", "b"] {
        assert_eq!(shop.site.table_checksum(table).unwrap(), backup.table_checksum(table).unwrap());
    }
}

#[test]
fn who_is_refused_hears_why() {
    let (shop, folder) = (Fixture::new(SHOP), tempfile::tempdir().unwrap());
    let url = host(shop.site.handler());
    let connect = |code: &str| Client::connect(&url, Auth::code(code), ConnectOptions::default());
    assert_eq!(connect("AAAA2222").err().map(|error| error.kind()), Some(ErrorKind::InvalidCode));
    let code = shop.site.sessions().create(Direction::Send).unwrap();
    connect(code.code()).unwrap().pull(&backup(&folder), PullOptions::new().table("a")).unwrap().ok().unwrap();
    assert_eq!(connect(code.code()).err().map(|error| error.kind()), Some(ErrorKind::CodeUsed));
}
