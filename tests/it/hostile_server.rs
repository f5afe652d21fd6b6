//! A pull from a PhoenixKit sender that is broken or means harm, in what it says of records and in how it says it. Whatever it sends: an
//! error that says what is wrong, no panic, no hang, no half batch; the other tables arrive where the connection survives; and
//! nothing of the host's is touched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::common::Fixture;
use crate::support::fake::{Ask, Kind, MINE, Peer, Pulled, connect, nothing_left, pull, pull_with, quick, three};
use rowferry::{ErrorKind, Limits, PullOptions, Reason, TableStatus};
use serde_json::json;
use tungstenite::Message;

/// A sender that answers the request for records of the middle table with this payload.
fn records(payload: &'static str) -> Pulled {
    pull(Kind::PhoenixKit, move |ask, peer| {
        let hit = ask.is("records", "evil");
        if hit {
            peer.answer_text(ask, "response:records", payload);
        }
        hit
    })
}

#[test]
fn pages_that_are_no_pages() {
    for payload in [
        r#"{"ref":REF}"#,
        r#"{"ref":REF,"records":[],"offset":0}"#,
        r#"{"ref":REF,"records":{},"offset":0,"has_more":false}"#,
        r#"{"ref":REF,"records":null,"offset":0,"has_more":false}"#,
        r#"{"ref":REF,"records":[],"records":[],"offset":0,"has_more":false}"#,
        r#"{"ref":REF,"records":[],"offset":0,"has_more":"yes"}"#,
        r#"{"ref":REF,"records":[],"offset":0,"has_more":true}"#,
        r#"{"ref":REF,"records":[],"offset":-1,"has_more":false}"#,
        r#"{"ref":REF,"records":[],"offset":7,"has_more":false}"#,
        r#"{"ref":REF,"records":[],"offset":0,"has_more":false,"state":-1}"#,
        r#"{"ref":REF,"records":[],"offset":0,"has_more":false,"state":1e400}"#,
    ] {
        let pulled = records(payload);
        assert_eq!(pulled.error().kind(), ErrorKind::Protocol, "{payload}: {}", pulled.error());
        assert_eq!(pulled.evil().status, TableStatus::Failed);
        assert_eq!(pulled.here.rows("SELECT * FROM evil"), [""; 0]);
        pulled.others_arrived();
    }
}

#[test]
fn records_that_are_no_records_fail_alone() {
    let deep = format!(r#"{{"id":9,"name":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for (record, reason) in [
        (r#"{"id":9,"name":"x","more":1}"#, Reason::UnknownColumn),
        (r#"{"id":9,"NAME":"x"}"#, Reason::UnknownColumn),
        (r#"{"id":9,"name":"x","name":"y"}"#, Reason::DuplicateColumn),
        (r#"{"id":9,"id":9,"name":"y"}"#, Reason::DuplicateColumn),
        (r#"{"name":"x"}"#, Reason::MissingKey),
        (r#"{"id":null,"name":"x"}"#, Reason::MissingKey),
        (r#"{}"#, Reason::MissingKey),
        (r#"{"id":"x","name":"x"}"#, Reason::WrongType),
        (r#"{"id":1.5,"name":"x"}"#, Reason::WrongType),
        (r#"{"id":9,"name":7}"#, Reason::ValueWouldChange),
        (r#"{"id":99999999999999999999,"name":"x"}"#, Reason::ValueOutOfRange),
        (r#"{"id":9,"name":1e999}"#, Reason::ValueOutOfRange),
        (r#"{"id":9,"name":"\ud800"}"#, Reason::Malformed),
        (r#"{"id":9,"name":{"__phoenix_kit_binary__":"!"}}"#, Reason::Malformed),
        (r#"{"id":9,"name":{"__rowferry_text__":"/","x":1}}"#, Reason::Malformed),
        (r#"{"id":9,"name":[1,2]}"#, Reason::Malformed),
        (r#"{"id":9,"name":true}"#, Reason::ValueWouldChange),
        ("null", Reason::Malformed),
        ("[]", Reason::Malformed),
        ("\"x\"", Reason::Malformed),
        ("-0.5e-9", Reason::Malformed),
        (&deep, Reason::Malformed),
    ] {
        let good = r#"{"id":1,"name":"good"},{"name":"also","id":2}"#;
        let payload = format!(r#"{{"ref":REF,"records":[{record},{good}],"offset":0,"has_more":false}}"#);
        let pulled = records(payload.leak());
        let (evil, shown) = (pulled.evil(), record.get(..60).unwrap_or(record));
        assert_eq!((evil.status, evil.outcome.created, evil.outcome.failed), (TableStatus::Completed, 2, 1), "{shown}");
        let failure = &evil.outcome.failures[0];
        assert_eq!(failure.reason, reason, "{shown}: {failure:?}");
        assert_eq!(pulled.here.rows("SELECT * FROM evil"), ["1|'good'", "2|'also'"], "{shown}");
        pulled.others_arrived();
    }
}

#[test]
fn more_records_than_were_asked_for() {
    let options = PullOptions::new().batch_size(2);
    let pulled = pull_with(Kind::PhoenixKit, three(), quick(), options, |ask, peer| {
        let hit = ask.is("records", "evil");
        if hit {
            peer.page(ask, (0..3).map(|id| json!({"id": id, "name": "x"})).collect(), false);
        }
        hit
    });
    assert_eq!(pulled.error().kind(), ErrorKind::Protocol);
    assert_eq!(pulled.here.rows("SELECT * FROM evil"), [""; 0]);
    pulled.others_arrived();
}

#[test]
fn pages_without_end() {
    let here = Fixture::new(MINE);
    let twist = |ask: &Ask, peer: &mut Peer| {
        let hit = ask.is("records", "evil");
        if hit {
            let records = (0..ask.limit).map(|id| json!({"id": id, "name": "the same again"})).collect();
            peer.page(ask, records, true);
        }
        hit
    };
    let client = connect(Kind::PhoenixKit, three(), quick(), Arc::new(twist));
    let report = client.pull(&here.site, PullOptions::new()).unwrap();
    let evil = report.table("evil").unwrap();
    assert_eq!(evil.error.as_ref().unwrap().kind(), ErrorKind::Protocol, "{evil:?}");
    assert!(report.table("zebras").unwrap().is_clean());
    nothing_left(&here);
}

#[test]
fn noise_before_the_answer_does_no_harm() {
    let pulled = pull(Kind::PhoenixKit, |ask, peer| {
        if ask.is("records", "evil") {
            for noise in ["", "junk", "[1,2", "{}", "[]", "[null,null,1,2,3]", "5", "null", &"[".repeat(100_000)] {
                peer.text(noise);
            }
            let _ = peer.socket.send(Message::binary(vec![0xff; 10_000]));
            let _ = peer.socket.send(Message::Ping(vec![1, 2, 3].into()));
            let _ = peer.socket.send(Message::Pong(vec![].into()));
            // Answers to others, late ones, and some for another topic.
            for reference in ["\"99\"", "1", "null", "{\"a\":1}"] {
                let stray = r#"{"records":[{"id":66,"name":"stray"}],"offset":0,"has_more":true,"ref":"#;
                peer.text(format!(r#"[null,null,"transfer:A7X9K2M4","response:records",{stray}{reference}}}]"#));
                peer.text(format!(r#"[null,null,"transfer:A7X9K2M4","response:error",{{"error":"x","ref":{reference}}}]"#));
                peer.text(format!(r#"[null,{reference},"phoenix","phx_reply",{{"status":"ok","response":{{}}}}]"#));
            }
            peer.text(r#"[null,null,"transfer:other","phx_close",{}]"#);
        }
        false
    });
    assert!(pulled.evil().is_clean(), "{:?}", pulled.report);
    assert_eq!(pulled.here.rows("SELECT * FROM evil"), ["1|'a'", "2|'b'"]);
    pulled.others_arrived();
}

#[test]
fn the_wrong_answer() {
    let pulled = pull(Kind::PhoenixKit, |ask, peer| {
        let hit = ask.is("records", "evil");
        if hit {
            peer.answer(ask, "response:count", json!({"count": 5}));
        }
        hit
    });
    assert_eq!(pulled.error().kind(), ErrorKind::Protocol);
    pulled.others_arrived();
    let pulled = pull(Kind::PhoenixKit, |ask, peer| {
        let hit = ask.is("records", "evil");
        if hit {
            peer.answer(ask, "response:error", json!({"error": format!("\u{1b}[31m{}", "x".repeat(1 << 20))}));
        }
        hit
    });
    assert_eq!(pulled.error().kind(), ErrorKind::Peer);
    assert!(!pulled.error().to_string().contains('\u{1b}'));
    pulled.others_arrived();
}

/// The sender ends the connection, or makes it useless, in the middle of the second of three tables.
#[test]
fn connections_that_end() {
    type Ending = Arc<dyn Fn(&mut Peer) + Send + Sync>;
    let header = |bytes: u64| [&[0x81, 127][..], &bytes.to_be_bytes()].concat();
    let cases: Vec<(&str, ErrorKind, Ending)> = vec![
        ("1011", ErrorKind::Peer, Arc::new(|peer| peer.close(1011))),
        ("1002", ErrorKind::Disconnected, Arc::new(|peer| peer.close(1002))),
        ("cut", ErrorKind::Disconnected, Arc::new(|peer| peer.cut())),
        (
            "cut in a frame",
            ErrorKind::Disconnected,
            Arc::new(move |peer| {
                peer.raw(&header(1000));
                peer.raw(b"[null,null,");
                peer.cut();
            }),
        ),
        ("too long", ErrorKind::TooLarge, Arc::new(move |peer| peer.raw(&header(1 << 40)))),
        (
            "no end of fragments",
            ErrorKind::TooLarge,
            Arc::new(|peer| {
                peer.raw(&[&[0x01, 125][..], &[b'x'; 125]].concat());
                for _ in 0..1_000 {
                    peer.raw(&[&[0x00, 125][..], &[b'x'; 125]].concat());
                }
            }),
        ),
        ("masked", ErrorKind::Protocol, Arc::new(|peer| peer.raw(&[0x81, 0x81, 1, 2, 3, 4, 5]))),
        ("reserved bits", ErrorKind::Protocol, Arc::new(|peer| peer.raw(&[0xf1, 0x01, b'x']))),
        ("unknown opcode", ErrorKind::Protocol, Arc::new(|peer| peer.raw(&[0x83, 0x00]))),
        ("not UTF-8", ErrorKind::Protocol, Arc::new(|peer| peer.raw(&[0x81, 0x01, 0xff]))),
        (
            "channel closed",
            ErrorKind::Disconnected,
            Arc::new(|peer| {
                peer.text(r#"[null,null,"transfer:A7X9K2M4","phx_error",{}]"#);
            }),
        ),
        ("silence", ErrorKind::Timeout, Arc::new(|_| ())),
        ("silence in a frame", ErrorKind::Timeout, Arc::new(move |peer| peer.raw(&header(1000)))),
    ];
    for ((name, kind, ending), keyless) in cases.into_iter().flat_map(|case| [(case.clone(), false), (case, true)]) {
        let mut limits = Limits::default();
        limits.wire.message_bytes = 64 << 10;
        // It is waited for where nothing comes; what is answered must come within it.
        let time = if kind == ErrorKind::Timeout { Duration::from_secs(2) } else { Duration::from_secs(60) };
        let connecting = quick().limits(limits).request_timeout(time);
        let mut tables = three();
        if keyless {
            // Its rows are staged: none is applied before all are there.
            tables[1].schema["primary_key"] = json!([]);
        }
        let began = Instant::now();
        let pulled = pull_with(Kind::PhoenixKit, tables, connecting, PullOptions::new().batch_size(1), move |ask, peer| {
            let hit = ask.is("records", "evil") && ask.offset > 0;
            if hit {
                ending(peer);
            }
            hit
        });
        assert!(began.elapsed() < Duration::from_secs(20), "{name}");
        assert_eq!(pulled.error().kind(), kind, "{name}: {}", pulled.error());
        assert!(pulled.report.table("apples").unwrap().is_clean(), "{name}");
        let last = pulled.report.table("zebras").unwrap();
        assert_eq!(last.status, TableStatus::Failed, "{name}");
        assert!(last.error.as_ref().unwrap().message().contains(pulled.error().message()), "{name}: {last:?}");
        let kept = pulled.here.rows("SELECT * FROM evil").len() as u64;
        assert_eq!(kept, pulled.evil().outcome.created, "{name}");
        assert!(!keyless || kept == 0, "{name}");
    }
}
