//! A pull through a slow link that is far away: how much of what the link can carry are the values of rows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rowferry::Strategy;
use rusqlite::Connection;

use crate::common::ratio::Times;
use crate::common::{BLOBS, Content, scale};
use crate::pair::{Manners, Sender, pull_from};

const BITS_PER_SECOND: f64 = 10e6;
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Rows of 4 KiB that do not compress: about ten seconds on the link.
const ROWS: u64 = 3_000;
/// What the link takes in at a time.
const PIECE_BYTES: usize = 4 << 10;
/// What it holds in each direction: what is on its way (62 kB), and about as much again that waits for its turn.
const PIECES: usize = 32;

pub fn measure(runs: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, rows) = (folder.path().join("source.db"), (ROWS / scale()).max(1));
    BLOBS.make(&source, rows, Content::Source);
    let bytes: i64 = Connection::open(&source)
        .and_then(|sqlite| sqlite.query_row("SELECT sum(length(body)) FROM t", [], |row| row.get(0)))
        .expect("a sum");
    let ideal = Duration::from_secs_f64(bytes as f64 * 8.0 / BITS_PER_SECOND);
    println!("A link of 10 Mbit/s with a round trip of {ROUND_TRIP:?}; {runs} runs.");
    let mut times = Times::default();
    for run in 1..=runs {
        let target = folder.path().join(format!("target_{run}.db"));
        BLOBS.make(&target, rows, Content::Empty);
        let sender = Sender::start(&source);
        let url = start(&sender.url);
        let pulled = pull_from(sender, Some(&url), &target, Strategy::Overwrite, Manners::Default, || {});
        assert_eq!(pulled.counts, [rows, 0, 0, 0, 0], "created, updated, unchanged, skipped, failed");
        times.push(pulled.took);
    }
    let took = Duration::from_secs_f64(times.median_ms() / 1e3);
    println!("{:<7} {:>8} {:>9} {:>9} {:>8}", "table", "rows", "ideal", "took", "goodput");
    println!(
        "{:<7} {rows:>8} {:>7.2} s {:>7.2} s {:>6.1} %  of 10 Mbit/s, in values of rows",
        BLOBS.name,
        ideal.as_secs_f64(),
        took.as_secs_f64(),
        ideal.as_secs_f64() / took.as_secs_f64() * 100.0
    );
}

/// Starts a link to this sender and gives its URL. Its threads end with the connections they are for, the listening one with this
/// process.
fn start(sender_url: &str) -> String {
    let sender = sender_url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, sender) = (client.expect("a connection"), sender.clone());
            thread::spawn(move || {
                // To make a connection takes a round trip.
                thread::sleep(ROUND_TRIP);
                let sender = TcpStream::connect(sender).expect("the sender");
                for (from, to) in [(&client, &sender), (&sender, &client)] {
                    to.set_nodelay(true).expect("an option");
                    let twin = |stream: &TcpStream| stream.try_clone().expect("the same socket");
                    let (from, to, (pieces, due)) = (twin(from), twin(to), sync_channel(PIECES));
                    thread::spawn(move || take_in(from, &pieces));
                    thread::spawn(move || give_out(&due, to));
                }
            });
        }
    });
    url
}

/// Reads as long as there is room on the link.
fn take_in(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now(), buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes each piece when its last bit would arrive.
fn give_out(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    let mut free = Instant::now();
    while let Ok((came, piece)) = pieces.recv() {
        free = free.max(came) + Duration::from_secs_f64(piece.len() as f64 * 8.0 / BITS_PER_SECOND);
        thread::sleep((free + ROUND_TRIP / 2).saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
