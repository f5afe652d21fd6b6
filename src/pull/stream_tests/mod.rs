//! Pulls from senders whose binary messages are not what they should be, or do not come.

mod named;
pub(crate) mod sender;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use self::sender::{BOTH, CODE, EVIL, Kind, Peer, TICKET, World, end, page, page_of, place, quick, refusal, rows};
use super::{Phase, PullOptions, TableStatus};
use crate::cancel::CancelToken;
use crate::domain::value::{Rows, ValueRef};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::wire::native::check::sealed;
use crate::wire::native::{Fetch, Request};

/// Long enough for a test that waits for it to be seen to hang.
const EVER: Duration = Duration::from_secs(3600);

type Case = (&'static str, ErrorKind, &'static [i64], fn(&Fetch, &mut Peer));

/// Whatever comes in place of the second page: the rows before it stay, and the connection is good for the next table.
#[test]
fn messages_that_are_not_what_they_should_be() {
    for kind in BOTH {
        const TWO: &[i64] = &[1, 2];
        let cases: &[Case] = &[
            ("a page is left out", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(page(fetch.request, 2, 3..5, true));
            }),
            ("a page comes twice", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(page(fetch.request, 0, 1..3, true));
            }),
            ("a page behind the last one", ErrorKind::Protocol, &[1, 2, 3, 4], |fetch, peer| {
                peer.say(page(fetch.request, 1, 3..5, false));
                peer.say(page(fetch.request, 2, 5..7, false));
            }),
            ("an end before the last page", ErrorKind::Incomplete, TWO, |fetch, peer| {
                peer.say(end(fetch.request, 2));
            }),
            ("an end with another number of rows", ErrorKind::Protocol, &[1, 2, 3, 4, 5, 6], |fetch, peer| {
                peer.say(page(fetch.request, 1, 3..7, false));
                peer.say(end(fetch.request, 7));
            }),
            ("an empty page", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(page_of(fetch.request, 1, true, &rows(0..0), None));
            }),
            ("rows of another width", ErrorKind::Protocol, TWO, |fetch, peer| {
                let mut wide = Rows::new(3);
                wide.push([ValueRef::Integer(3), ValueRef::Null, ValueRef::Null]);
                peer.say(page_of(fetch.request, 1, true, &wide, None));
            }),
            ("more rows than were asked for", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(page(fetch.request, 1, 3..4 + i64::from(fetch.page_rows.get()), true));
            }),
            ("a page that leads no further", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(page_of(fetch.request, 1, true, &rows(3..5), Some(&place(2))));
            }),
            ("a request for an answer", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(Request::Done { request: fetch.request }.encode().unwrap());
            }),
            ("no message at all", ErrorKind::Protocol, TWO, |_, peer| {
                peer.say(b"nonsense".to_vec());
            }),
            ("an empty message", ErrorKind::Protocol, TWO, |_, peer| {
                peer.say(Vec::new());
            }),
            ("one bit is wrong", ErrorKind::Protocol, TWO, |fetch, peer| {
                let mut page = page(fetch.request, 1, 3..5, true);
                page[40] ^= 1;
                peer.say(page);
            }),
            ("a page is cut short", ErrorKind::Protocol, TWO, |fetch, peer| {
                let page = page(fetch.request, 1, 3..5, true);
                peer.say(sealed(&page[..page.len() - 20]));
            }),
            ("far more than fits into its bytes", ErrorKind::TooLarge, TWO, |fetch, peer| {
                peer.say(claims(fetch.request, u32::MAX));
            }),
            ("more than can be compressed so far", ErrorKind::Protocol, TWO, |fetch, peer| {
                peer.say(claims(fetch.request, 1 << 20));
            }),
            ("an error with control characters", ErrorKind::Protocol, TWO, |fetch, peer| {
                let error = refusal(fetch.request, "peer", "a\u{1}b").encode();
                let mut content = error[..error.len() - 4].to_vec();
                let at = content.len() - 2;
                content[at] = 0x1b;
                peer.say(sealed(&content));
            }),
        ];
        for (name, expected, kept, second) in cases {
            let second = *second;
            let world = World::new(kind, move |fetch, peer| {
                peer.say(page(fetch.request, 0, 1..3, true));
                second(fetch, peer);
            });
            let pulled = world.pull();
            let error = pulled.error();
            assert_eq!(error.kind(), *expected, "{name}: {error}");
            assert!(error.to_string().len() < 1_000 && !error.to_string().contains('\u{1b}'), "{name}: {error}");
            assert_eq!(world.ids("evil"), *kept, "{name}");
            assert_eq!(pulled.evil().outcome.created, kept.len() as u64, "{name}");
            assert_eq!(world.connections.load(Ordering::SeqCst), 1, "{name}");
            world.others_came(&pulled);
        }
    }
}

/// A compressed page of two rows that says it has so many bytes of them.
fn claims(request: u32, raw: u32) -> Vec<u8> {
    let text = "x".repeat(2_000);
    let mut two = Rows::new(2);
    (3..5).for_each(|id| two.push([ValueRef::Integer(id), ValueRef::Text(text.as_bytes())]));
    let mut page = page_of(request, 1, true, &two, None);
    page.truncate(page.len() - 4);
    page[28..32].copy_from_slice(&raw.to_le_bytes());
    sealed(&page)
}

#[test]
fn a_small_message_does_not_take_much_memory() {
    for kind in BOTH {
        let limits = Limits::with(|limits| limits.wire.message_bytes = 256 << 10);
        let world = World::with(kind, limits, quick(), |fetch, peer| {
            let text = vec![b'x'; 4 << 20];
            let mut large = Rows::new(2);
            large.push([ValueRef::Integer(1), ValueRef::Text(&text)]);
            let page = page_of(fetch.request, 0, true, &large, None);
            assert!(page.len() < 64 << 10);
            peer.say(page);
        });
        let pulled = world.pull();
        assert_eq!(pulled.error().kind(), ErrorKind::TooLarge, "{}", pulled.error());
        world.others_came(&pulled);
    }
}

#[test]
fn what_nobody_asked_for_is_of_no_account() {
    for kind in BOTH {
        let world = World::new(kind, |fetch, peer| {
            for at in 0..3u32 {
                // The next number may be that of the next table.
                for other in [0, 1, fetch.request - 1, fetch.request + 2, u32::MAX] {
                    peer.say(page(other, at, 70..80, at % 2 == 0));
                    peer.say(end(other, 10));
                    peer.say(refusal(other, "disabled", "no").encode());
                }
                peer.text("nonsense");
                peer.text(r#"[null,null,"transfer:A7X9K2M4","response:error",{"error":"x","ref":"1"}]"#);
                peer.text(r#"[null,null,"transfer:other","phx_close",{}]"#);
                let first = 1 + 2 * i64::from(at);
                peer.say(page(fetch.request, at, first..first + 2, at < 2));
            }
            peer.say(end(fetch.request, 6));
        });
        let pulled = world.pull();
        assert!(pulled.0.is_clean(), "{:?}", pulled.0);
        assert_eq!(world.ids("evil"), [1, 2, 3, 4, 5, 6]);
        world.others_came(&pulled);
    }
}

#[test]
fn a_sender_that_goes_on_with_something_else_for_ever_is_left() {
    for kind in BOTH {
        let limits = Limits::with(|limits| {
            limits.wire.message_bytes = 64 << 10;
            limits.pull.stream_window_bytes = 64 << 10;
        });
        let world = World::with(kind, limits, quick().request_timeout(EVER), |fetch, peer| {
            let other = page(fetch.request + 1, 0, 1..100, true);
            while peer.say(other.clone()) {}
        });
        let error = world.pull();
        assert_eq!(error.error().kind(), ErrorKind::Protocol, "{}", error.error());
        assert!(error.error().message().contains("cancelled requests"), "{}", error.error());
    }
}

#[test]
fn pages_without_end_are_not_followed_for_ever() {
    for kind in BOTH {
        for leads in [false, true] {
            let world = World::new(kind, move |fetch, peer| {
                for at in 0..20_000u32 {
                    let after = leads.then(|| place(i64::from(at) + fetch.records as i64));
                    peer.say(page_of(fetch.request, at, true, &rows(1..3), after.as_ref()));
                }
            });
            let pulled = world.pull();
            assert_eq!(pulled.error().kind(), ErrorKind::Protocol, "{}", pulled.error());
            assert!(pulled.error().message().contains("far more"), "{}", pulled.error());
            let outcome = &pulled.evil().outcome;
            assert!(outcome.total() < 11_000 && outcome.created == 2, "{outcome:?}");
            world.others_came(&pulled);
        }
    }
}

/// The receiver stands still, and the sender sends more than it may: what it sends beyond that is not taken in.
#[test]
fn a_sender_that_ignores_what_it_may_send_is_not_listened_to() {
    for kind in BOTH {
        const MUCH: usize = 128 << 20;
        let limits = Limits::with(|limits| {
            limits.pull.stream_window_bytes = 256 << 10;
            limits.pull.batch_bytes = 64 << 10;
        });
        let (stuck, is_stuck) = mpsc::channel();
        let stuck = Mutex::new(stuck);
        let world = World::with(kind, limits, quick(), move |fetch, peer| {
            // Does not get smaller.
            let noise: Vec<u8> = (0..64u32 << 10).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let (mut sent, mut at) = (0, 0);
            peer.socket.get_ref().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            while sent < MUCH {
                let mut one = Rows::new(2);
                one.push([ValueRef::Integer(i64::from(at)), ValueRef::Blob(&noise)]);
                let page = page_of(fetch.request, at, true, &one, None);
                sent += page.len();
                at += 1;
                if !peer.say(page) {
                    break;
                }
            }
            stuck.lock().unwrap().send(sent).unwrap();
            peer.cut();
        });
        let mut sent = None;
        let options = PullOptions::new().tables(["evil"]).on_progress(|progress| {
            if progress.phase == Phase::Receiving && sent.is_none() {
                sent = Some(is_stuck.recv().unwrap());
            }
        });
        let pulled = world.pull_with(options);
        // What the system's own buffers take is not in the process.
        assert!(sent.unwrap() < MUCH, "{sent:?}");
        assert!(matches!(pulled.error().kind(), ErrorKind::Disconnected | ErrorKind::Protocol), "{}", pulled.error());
    }
}

#[test]
fn errors_say_what_the_sender_means_and_no_secrets() {
    for kind in BOTH {
        let kinds = [
            (ErrorKind::Disabled, ErrorKind::Disabled),
            (ErrorKind::InvalidToken, ErrorKind::InvalidToken),
            (ErrorKind::ConnectionNotActive, ErrorKind::ConnectionNotActive),
            (ErrorKind::ConnectionExpired, ErrorKind::ConnectionExpired),
            (ErrorKind::DownloadLimit, ErrorKind::DownloadLimit),
            (ErrorKind::RecordLimit, ErrorKind::RecordLimit),
            (ErrorKind::AddressNotAllowed, ErrorKind::AddressNotAllowed),
            (ErrorKind::OutsideAllowedHours, ErrorKind::OutsideAllowedHours),
            (ErrorKind::PasswordRequired, ErrorKind::PasswordRequired),
            (ErrorKind::InvalidPassword, ErrorKind::InvalidPassword),
            (ErrorKind::TableNotAllowed, ErrorKind::TableNotAllowed),
            (ErrorKind::TableNotFound, ErrorKind::TableNotFound),
            (ErrorKind::RateLimited, ErrorKind::RateLimited),
            (ErrorKind::TooManyAttempts, ErrorKind::TooManyAttempts),
            (ErrorKind::ApprovalRequired, ErrorKind::ApprovalRequired),
            (ErrorKind::ApprovalDenied, ErrorKind::ApprovalDenied),
            (ErrorKind::ApprovalExpired, ErrorKind::ApprovalExpired),
            (ErrorKind::Cancelled, ErrorKind::Refused),
            (ErrorKind::TakenOver, ErrorKind::TakenOver),
            // Its own troubles, and what only we can say.
            (ErrorKind::Timeout, ErrorKind::Peer),
            (ErrorKind::Disconnected, ErrorKind::Peer),
            (ErrorKind::Corrupt, ErrorKind::Peer),
            (ErrorKind::Protocol, ErrorKind::Peer),
        ];
        for (said, heard) in kinds {
            let world = World::new(kind, move |fetch, peer| {
                peer.say(page(fetch.request, 0, 1..3, true));
                let text = format!("no: {CODE} and {TICKET}, {}... {}...", &CODE[..6], &TICKET[..30]);
                peer.say(refusal(fetch.request, said.code(), &text).encode());
            });
            let pulled = world.pull();
            let error = pulled.error();
            assert_eq!(error.kind(), heard, "{error}");
            let (shown, debugged) = (error.to_string(), format!("{error:?} {:?}", pulled.0));
            for secret in [CODE, &CODE[..6], TICKET, &TICKET[..30]] {
                assert!(!shown.contains(secret) && !debugged.contains(secret), "{debugged}");
            }
            // The rows before it were sent, and may have been counted there.
            assert_eq!(world.ids("evil"), [1, 2], "{said:?}");
            let kept = world.sqlite.query_row(
                "SELECT group_concat(quote(transfers.error_message)) FROM rowferry_transfers AS transfers",
                [],
                |row| row.get::<_, Option<String>>(0),
            );
            assert!(!kept.unwrap().is_some_and(|text| text.contains(CODE) || text.contains(TICKET)));
        }
    }
}

#[test]
fn a_sender_that_tells_to_wait_is_asked_again() {
    for kind in BOTH {
        let world = World::new(kind, |fetch, peer| match fetch.records {
            0 if fetch.after.is_none() => {
                peer.say(page(fetch.request, 0, 1..3, true));
                let wait = Some(Duration::ZERO);
                let refusal =
                    crate::wire::native::Refusal { retry_after: wait, ..refusal(fetch.request, "rate_limited", "slow") };
                peer.say(refusal.encode());
            }
            _ => peer.honest(fetch, 1..EVIL + 1),
        });
        let pulled = world.pull();
        assert!(pulled.0.is_clean(), "{:?}", pulled.0);
        assert_eq!((world.ids("evil").len(), pulled.evil().outcome.created), (6, 6));
    }
}

#[test]
fn silence_in_the_middle() {
    for kind in BOTH {
        let stalls = |fetch: &Fetch, peer: &mut Peer| match peer.number {
            0 => {
                peer.say(page(fetch.request, 0, 1..3, true));
            }
            _ => peer.honest(fetch, 1..EVIL + 1),
        };
        // What is answered must come within it.
        let soon = || quick().request_timeout(Duration::from_secs(2));
        let world = World::with(kind, Limits::default(), soon(), stalls);
        let pulled = world.pull_with(PullOptions::new().retry_time(Duration::ZERO));
        assert_eq!(pulled.error().kind(), ErrorKind::Timeout, "{}", pulled.error());
        assert_eq!((world.ids("evil"), pulled.evil().outcome.created), (vec![1, 2], 2));

        let world = World::with(kind, Limits::default(), soon(), stalls);
        let pulled = world.pull();
        assert!(pulled.0.is_clean(), "{:?}", pulled.0);
        assert_eq!((world.ids("evil").len(), pulled.evil().outcome.created), (6, 6));
        assert_eq!(world.connections.load(Ordering::SeqCst), 2);
        world.others_came(&pulled);
    }
}

#[test]
fn a_pull_that_waits_for_a_page_can_be_cancelled() {
    for kind in BOTH {
        let world = World::with(kind, Limits::default(), quick().request_timeout(EVER), |fetch, peer| match fetch.after {
            None => {
                peer.say(page(fetch.request, 0, 1..3, true));
            }
            Some(_) => peer.honest(fetch, 1..EVIL + 1),
        });
        let (token, mut since) = (CancelToken::new(), None);
        let kept = token.clone();
        let pulled = world.pull_with(PullOptions::new().cancel(token).on_progress(|progress| {
            if progress.table == "evil" && progress.phase == Phase::Receiving {
                kept.cancel();
                since = Some(Instant::now());
            }
        }));
        assert_eq!(pulled.error().kind(), ErrorKind::Cancelled, "{}", pulled.error());
        assert!(world.client.is_connected());
        // The sender was told, and the next pull goes on over the same connection.
        let pulled = world.pull();
        assert!(pulled.0.is_clean() && pulled.evil().resumed, "{:?}", pulled.0);
        assert_eq!((world.ids("evil").len(), pulled.evil().outcome.created), (6, 6));
        let heard = world.heard.lock().unwrap();
        assert!(heard.iter().any(|request| matches!(request, Request::Cancel { .. })), "{heard:?}");
        assert_eq!(world.connections.load(Ordering::SeqCst), 1);
    }
}

/// However long the first page takes: a table is said to arrive when rows of it are here, and each time more of them.
#[test]
fn rows_are_told_of_when_they_are_committed() {
    for kind in BOTH {
        let world = World::new(kind, |fetch, peer| {
            // For longer than a transaction waits for what comes next.
            std::thread::sleep(Duration::from_millis(50));
            peer.honest(fetch, 1..EVIL + 1);
        });
        let mut told = Vec::new();
        let pulled = world.pull_with(PullOptions::new().on_progress(|progress| {
            if progress.table == "evil" && progress.phase == Phase::Receiving {
                told.push(progress.records);
            }
        }));
        assert!(pulled.0.is_clean(), "{:?}", pulled.0);
        assert!(told.first().is_none_or(|first| *first > 0) && told.is_sorted_by(|one, next| one < next), "{told:?}");
    }
}

#[test]
fn pages_without_places_are_pulled_but_not_resumed() {
    for kind in BOTH {
        let cuts = Arc::new(Mutex::new(true));
        let cut = Arc::clone(&cuts);
        let world = World::new(kind, move |fetch, peer| {
            assert_eq!((&fetch.after, fetch.records), (&None, 0), "there was no place");
            peer.say(page_of(fetch.request, 0, true, &rows(1..5), None));
            if std::mem::take(&mut *cut.lock().unwrap()) {
                return peer.cut();
            }
            peer.say(page_of(fetch.request, 1, false, &rows(5..7), None));
            peer.say(end(fetch.request, 6));
        });
        let pulled = world.pull();
        assert_eq!(pulled.error().kind(), ErrorKind::Disconnected, "{}", pulled.error());
        assert_eq!(world.ids("evil"), [1, 2, 3, 4]);
        let pulled = world.pull();
        assert!(pulled.0.is_clean() && !pulled.evil().resumed, "{:?}", pulled.0);
        assert_eq!(world.ids("evil").len(), 6);
        assert_eq!(world.marks(), 0);
    }
}

#[test]
fn a_page_that_was_damaged_on_its_way_is_fetched_again() {
    for kind in BOTH {
        let is_first = AtomicBool::new(true);
        let world = World::new(kind, move |fetch, peer| {
            if is_first.swap(false, Ordering::SeqCst) {
                let mut damaged = page(fetch.request, 0, 1..3, true);
                let middle = damaged.len() / 2;
                damaged[middle] ^= 1;
                peer.say(damaged);
            } else {
                peer.honest(fetch, 1..EVIL + 1);
            }
        });
        let pulled = world.pull_with(PullOptions::new().retry_time(Duration::from_secs(20)));
        assert!(pulled.0.is_clean(), "{:?}", pulled.0);
        assert_eq!(world.ids("evil").len(), EVIL as usize);
    }
}

#[test]
fn a_sender_of_rowferry_sends_pages_by_itself() {
    let pulled = World::new(Kind::Strange, |_, _| {}).pull();
    for table in ["apples", "evil", "zebras"] {
        let error = pulled.table(table).error.as_ref();
        assert!(error.is_some_and(|error| error.kind() == ErrorKind::Protocol), "{error:?}");
    }
}

/// Nothing but the first page comes, and the caller's own code panics: neither thread waits for the other.
#[test]
fn a_panic_of_the_callers_ends_the_pull() {
    for kind in BOTH {
        let world = World::with(kind, Limits::default(), quick().request_timeout(EVER), |fetch, peer| match fetch.after {
            None => {
                peer.say(page(fetch.request, 0, 1..3, true));
            }
            Some(_) => peer.honest(fetch, 1..EVIL + 1),
        });
        let panics = || {
            world.pull_with(PullOptions::new().on_progress(|progress| {
                let comes = progress.table == "evil" && progress.phase == Phase::Receiving && progress.records > 0;
                assert!(!comes, "on purpose");
            }))
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(world.ids("evil"), [1, 2]);
        let pulled = world.pull();
        assert!(pulled.0.is_clean() && pulled.evil().resumed, "{:?}", pulled.0);
        assert_eq!((world.ids("evil").len(), pulled.evil().outcome.created), (6, 6));
    }
}

/// The database cannot be written to any more, while the sender has no more to say: the pull does not wait for it.
#[test]
fn a_database_that_becomes_locked_ends_the_pull() {
    for kind in BOTH {
        // Not so short that a busy disk is taken for a lock.
        let limits = Limits::with(|limits| {
            limits.store.busy_timeout = Duration::from_secs(2);
            limits.pull.commit_rows = 1;
        });
        let (locked, is_locked) = mpsc::channel();
        let is_locked = Mutex::new(is_locked);
        let world = World::with(kind, limits, quick().request_timeout(EVER), move |fetch, peer| match fetch.after {
            None => {
                peer.say(page(fetch.request, 0, 1..3, true));
                is_locked.lock().unwrap().recv().unwrap();
                peer.say(page(fetch.request, 1, 3..5, true));
            }
            Some(_) => peer.honest(fetch, 1..EVIL + 1),
        });
        let other = rusqlite::Connection::open(world.path()).unwrap();
        let options = PullOptions::new().tables(["apples", "evil"]).retry_time(Duration::from_millis(300));
        let pulled = world.pull_with(options.on_progress(|progress| {
            let comes = progress.table == "evil" && progress.phase == Phase::Receiving && progress.records > 0;
            if comes && other.is_autocommit() {
                other.execute_batch("BEGIN IMMEDIATE").unwrap();
                locked.send(()).unwrap();
            }
        }));
        assert_eq!(pulled.error().kind(), ErrorKind::Locked, "{}", pulled.error());
        assert_eq!(world.ids("evil"), [1, 2]);
        other.execute_batch("ROLLBACK").unwrap();
        let pulled = world.pull();
        assert!(pulled.0.is_clean(), "{:?}", pulled.0);
        assert_eq!(world.ids("evil").len(), 6);
        assert_eq!(pulled.evil().status, TableStatus::Completed);
        assert_eq!(world.connections.load(Ordering::SeqCst), 1);
    }
}

/// The caller's own code asks the same client while pages wait to be written: the pull gives way, and goes on.
#[test]
fn the_sender_can_be_asked_in_the_middle_of_a_table() {
    for kind in BOTH {
        let limits = Limits::with(|limits| {
            limits.pull.stream_window_bytes = 1;
            limits.pull.commit_rows = 1;
        });
        let world = World::with(kind, limits, quick().request_timeout(EVER), |fetch, peer| peer.honest(fetch, 1..EVIL + 1));
        let mut asked = 0;
        let pulled = world.pull_with(PullOptions::new().on_progress(|progress| {
            if progress.table == "evil" && progress.phase == Phase::Receiving {
                assert_eq!(world.client.get_count("zebras").unwrap(), 2);
                asked += 1;
            }
        }));
        assert!(pulled.0.is_clean() && asked > 0, "{:?}", pulled.0);
        assert_eq!((world.ids("evil").len(), pulled.evil().outcome.created), (6, 6));
        let heard = world.heard.lock().unwrap();
        let mut pulls: Vec<_> = heard.iter().filter_map(name_of).collect();
        pulls.dedup();
        let is_cancelled = heard.iter().any(|request| matches!(request, Request::Cancel { .. }));
        assert!(pulls.len() == 1 && (pulls[0].is_some() || !is_cancelled), "it is one pull: {heard:?}");
        drop(heard);
        world.others_came(&pulled);
    }
}

/// The name of the pull that rows are asked for, if it has one.
fn name_of(request: &Request) -> Option<Option<uuid::Uuid>> {
    match request {
        Request::Fetch(fetch) => Some(fetch.pull),
        _ => None,
    }
}

/// Whoever disconnects while a table is pulled waits for no page, wherever the pull is.
#[test]
fn a_client_can_disconnect_in_the_middle() {
    for kind in BOTH {
        for window in [1, 4 << 20] {
            let limits = Limits::with(|limits| {
                limits.pull.stream_window_bytes = window;
                limits.pull.commit_rows = 1;
            });
            let world = World::with(kind, limits, quick().request_timeout(EVER), |fetch, peer| {
                for at in 0..3u32 {
                    peer.say(page(fetch.request, at, i64::from(at)..i64::from(at) + 1, true));
                }
            });
            let pulled = world.pull_with(PullOptions::new().on_progress(|progress| {
                if progress.table == "evil" && progress.phase == Phase::Receiving {
                    world.client.disconnect();
                }
            }));
            assert_eq!(pulled.error().kind(), ErrorKind::Cancelled, "{}", pulled.error());
            assert!(!world.client.is_connected());
        }
    }
}
