//! The small thread that keeps an idle connection open.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// How often the thread looks: for a heartbeat that is due, and for a connection that has ended.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The thread; it ends when this is dropped.
pub(super) struct Heartbeat {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts the thread: it calls `look` until that gives `false`, at least once per heartbeat.
    pub(super) fn start(heartbeat: Duration, mut look: impl FnMut() -> bool + Send + 'static) -> Result<Self> {
        let pause = POLL_INTERVAL.min(heartbeat / 2).max(Duration::from_millis(1));
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Arc::clone(&stop);
        let run = move || {
            let (stopped, bell) = &*seen;
            let mut stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stopped {
                stopped = bell.wait_timeout(stopped, pause).unwrap_or_else(PoisonError::into_inner).0;
                if !*stopped && !look() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("rowferry-heartbeat".to_owned()).spawn(run).map_err(|error| {
            let why = format!("the thread that keeps the connection open cannot be started: {error}");
            Error::new(ErrorKind::Unreachable, why).with_hint("Connect without heartbeats.").with_source(error)
        })?;
        Ok(Heartbeat { stop, thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let (stopped, bell) = &*self.stop;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!(target: "rowferry::client", "the thread that keeps a connection open has panicked");
        }
    }
}
