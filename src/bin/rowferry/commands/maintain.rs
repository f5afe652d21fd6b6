//! What `rowferry serve` does every minute.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rowferry::{CancelToken, ConnectOptions, Error, ErrorKind, MaintenanceReport, Site};

use crate::failure::Failure;

/// How long to wait between two times.
const PAUSE: Duration = Duration::from_secs(60);

/// A thread that maintains a site, at once and then every minute, until it is stopped.
pub struct Maintainer {
    /// Nothing is sent: its end is what the thread waits for.
    stop: Sender<()>,
    cancel: CancelToken,
    thread: JoinHandle<()>,
}

impl Maintainer {
    /// Starts it; other sites are told what waits for them with these options, which have this token.
    pub fn start(site: Site, options: ConnectOptions, cancel: CancelToken) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            loop {
                match site.maintain_with(options.clone()) {
                    Ok(done) => tell(&done),
                    Err(error) => log::error!("the site cannot be maintained: {error}"),
                }
                // It says what was left out of it.
                log::logger().flush();
                match stopped.recv_timeout(PAUSE) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("rowferry-maintenance".into()).spawn(work).map_err(|error| {
            Error::new(ErrorKind::System, format!("cannot start the thread that maintains the site: {error}"))
                .with_source(error)
        })?;
        Ok(Maintainer { stop, cancel, thread })
    }

    /// Asks it to end. What it is telling another site just now is cancelled, and told again later.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for its end.
    pub fn stop(self) {
        self.cancel();
        drop(self.stop);
        if self.thread.join().is_err() {
            log::error!("the thread that maintains the site panicked");
        }
    }
}

/// Logs what was done, if anything was. What went wrong is logged by the library.
fn tell(done: &MaintenanceReport) {
    let did = [
        (done.expired_connections, "connections expired"),
        (done.deleted_pending, "connections deleted that nobody approved"),
        (done.expired_approvals, "approvals expired"),
        (done.failed_transfers, "dead transfers failed"),
        (done.dropped_pulls, "dead pulls dropped"),
        (done.deleted_sessions, "ended sessions deleted"),
        (done.pruned_transfers, "old transfers deleted"),
        (done.pruned_undo, "transfers that can no longer be undone"),
        (done.pruned_events, "old events deleted"),
        (done.delivered.sent, "messages sent to other sites"),
        (done.delivered.refused, "messages refused by other sites"),
        (done.delivered.waiting, "messages wait for other sites"),
        (done.delivered.given_up, "messages given up"),
    ];
    let did: Vec<String> =
        did.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if !did.is_empty() {
        log::info!("maintenance: {}", did.join(", "));
    }
}
