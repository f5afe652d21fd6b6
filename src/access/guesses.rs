//! Wrong codes, tickets and passwords, which are counted per minute: of one address, of one connection. The right ones are none of
//! them, however many come at once: those of one key are judged one after the other, and a right one leaves no trace.
//!
//! The processes that serve one database tell each other what they counted, some at a time, so that there is no write for each. What a
//! process has not told yet the others do not know: they may let through so many more.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock;
use crate::site::Site;
use crate::state;
use crate::state::guesses::{self, WINDOW, Wrong};

/// How long one waits for its turn to be judged.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one that waited in vain is told to wait.
const AGAIN: Duration = Duration::from_secs(1);

/// What guesses are counted for.
pub(super) trait Key: Eq + Hash + Copy {
    /// As the state has it.
    fn text(&self) -> String;
}

impl Key for Option<IpAddr> {
    fn text(&self) -> String {
        self.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl Key for Uuid {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Key for () {
    fn text(&self) -> String {
        String::new()
    }
}

/// The guesses of one kind.
#[derive(Debug)]
pub(super) struct Guesses<K> {
    /// What the kind is called in the state.
    kind: &'static str,
    per_minute: u32,
    /// How many of a key are judged at once.
    at_once: u32,
    /// Keys that are remembered.
    remembered: usize,
    keys: Mutex<HashMap<K, Counted>>,
    /// Rings when one was judged.
    judged: Condvar,
    began: Instant,
}

/// Those of one key. The time is monotonic, since the [`Guesses`] were made.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// When its minute began.
    since: Duration,
    /// The wrong ones of the minute in this process.
    wrong: u32,
    /// Those of them that the other processes do not know of.
    untold: u32,
    /// Those that are being judged.
    open: u32,
}

/// A code or password that is being judged. Dropped, it was none to count.
#[derive(Debug)]
pub(super) struct Guess<'g, K: Key> {
    of: &'g Guesses<K>,
    key: K,
}

impl<K: Key> Guesses<K> {
    pub(super) fn new(kind: &'static str, per_minute: u32, at_once: usize, remembered: usize) -> Self {
        Guesses {
            kind,
            per_minute,
            at_once: u32::try_from(at_once.max(1)).unwrap_or(u32::MAX),
            remembered: remembered.max(1),
            keys: Mutex::default(),
            judged: Condvar::new(),
            began: Instant::now(),
        }
    }

    /// Waits for the turn of one to be judged, or says how long to wait because there were too many wrong ones. Nothing is to be compared
    /// before. What the other processes told is read when the turn has come: while it was waited for, they may have told more.
    pub(super) fn begin(&self, site: &Site, key: K) -> Result<Guess<'_, K>, Duration> {
        let guess = self.turn(key)?;
        self.look(site, key)?;
        Ok(guess)
    }

    fn turn(&self, key: K) -> Result<Guess<'_, K>, Duration> {
        let until = clock::later(Instant::now(), PATIENCE);
        let mut keys = self.known();
        loop {
            let now = self.now();
            let counted = self.counted(&mut keys, key, now);
            counted.refusal(self.per_minute, now, None)?;
            if counted.open < self.at_once {
                counted.open += 1;
                return Ok(Guess { of: self, key });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AGAIN);
            }
            keys = self.judged.wait_timeout(keys, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How long to wait where this process counted too many wrong ones, or all processes told of too many.
    pub(super) fn look(&self, site: &Site, key: K) -> Result<(), Duration> {
        let refusal = |told| {
            let (mut keys, now) = (self.known(), self.now());
            let counted = keys.get_mut(&key).map_or_else(|| Counted::since(now), |counted| *counted.at(now));
            counted.refusal(self.per_minute, now, told)
        };
        // What is too much here already needs no look at what the others know.
        refusal(None)?;
        let now = site.now();
        let told = state::read(site.store_ref(), |sql| guesses::wrong(sql, self.kind, &key.text(), now));
        refusal(told.unwrap_or_else(|error| {
            log::warn!(target: "rowferry::access", "what other processes counted of wrong guesses cannot be read: {error}");
            None
        }))
    }

    /// Counts a wrong one. Gives how many the other processes are to be told of now: one and those before it, once they are some.
    fn count(&self, key: K) -> Option<u32> {
        let (mut keys, now) = (self.known(), self.now());
        let counted = self.counted(&mut keys, key, now);
        counted.wrong = counted.wrong.saturating_add(1);
        counted.untold = counted.untold.saturating_add(1);
        Some(counted.untold).filter(|untold| untold.is_multiple_of(self.per_minute.div_ceil(4).max(1)))
    }

    fn tell(&self, site: &Site, key: K, untold: u32) {
        let now = site.now();
        match site.write(|sql| guesses::add(sql, self.kind, &key.text(), untold, now)) {
            Ok(()) => {
                if let Some(counted) = self.known().get_mut(&key) {
                    counted.untold = counted.untold.saturating_sub(untold);
                }
            }
            // They are told with the next ones. Here they count all the same.
            Err(error) => log::warn!(target: "rowferry::access", "other processes cannot be told of wrong guesses: {error}"),
        }
    }

    /// Counts a wrong one that needed no turn.
    pub(super) fn add_wrong(&self, site: &Site, key: K) {
        if let Some(untold) = self.count(key) {
            self.tell(site, key, untold);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<K, Counted>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Those of a key. For one that is not there yet another is forgotten where there is no room: one whose minute is over, or else the
    /// oldest; none of which any is judged.
    fn counted<'k>(&self, keys: &'k mut HashMap<K, Counted>, key: K, now: Duration) -> &'k mut Counted {
        if keys.len() >= self.remembered && !keys.contains_key(&key) {
            keys.retain(|_, counted| counted.open > 0 || !counted.is_over(now));
            if keys.len() >= self.remembered {
                let idle = keys.iter().filter(|(_, counted)| counted.open == 0);
                let oldest = idle.min_by_key(|(_, counted)| counted.since).map(|(key, _)| *key);
                oldest.map(|key| keys.remove(&key));
            }
        }
        keys.entry(key).or_insert_with(|| Counted::since(now)).at(now)
    }
}

impl Counted {
    fn since(now: Duration) -> Self {
        Counted { since: now, wrong: 0, untold: 0, open: 0 }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= WINDOW
    }

    /// As they are now: of a minute that is over nothing is left.
    fn at(&mut self, now: Duration) -> &mut Self {
        if self.is_over(now) {
            *self = Counted { open: self.open, ..Counted::since(now) };
        }
        self
    }

    /// How long to wait where there were too many. `told` are those that all processes told.
    fn refusal(&self, per_minute: u32, now: Duration, told: Option<Wrong>) -> Result<(), Duration> {
        if self.wrong >= per_minute {
            return Err(WINDOW.saturating_sub(now.saturating_sub(self.since)));
        }
        match told {
            Some(Wrong { count, left }) if count.saturating_add(self.untold.into()) >= per_minute.into() => Err(left),
            _ => Ok(()),
        }
    }
}

impl<K: Key> Guess<'_, K> {
    /// It was wrong. The next one has its turn when the other processes were told, if they are to be: what they do not know is then never
    /// more than some for each turn.
    pub(super) fn was_wrong(self, site: &Site) {
        self.of.add_wrong(site, self.key);
    }
}

impl<K: Key> Drop for Guess<'_, K> {
    fn drop(&mut self) {
        let mut keys = self.of.known();
        if let Some(counted) = keys.get_mut(&self.key) {
            counted.open = counted.open.saturating_sub(1);
            if counted.open == 0 && counted.wrong == 0 {
                keys.remove(&self.key);
            }
        }
        drop(keys);
        self.of.judged.notify_all();
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::site::testing::Home;
    use crate::store::Sql;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// So many sites of one database, for each kind of database.
    fn worlds(count: usize) -> impl Iterator<Item = (Home, Vec<Site>, Arc<ManualClock>)> {
        Home::each().into_iter().map(move |home| {
            let clock = Arc::new(ManualClock::new(time::macros::datetime!(2026-01-02 03:04:05 UTC)));
            let open = |_| home.open(Site::builder().clock(clock.clone() as Arc<dyn Clock>));
            let sites = (0..count).map(open).collect();
            (home, sites, clock)
        })
    }

    fn guesses(per_minute: u32, remembered: usize) -> Guesses<Option<IpAddr>> {
        Guesses::new("code", per_minute, 1, remembered)
    }

    fn told(site: &Site) -> Option<u64> {
        let now = site.now();
        let wrong = |sql: &mut dyn Sql| guesses::wrong(sql, "code", &HERE.text(), now);
        state::read(site.store_ref(), wrong).unwrap().map(|wrong| wrong.count)
    }

    #[test]
    fn wrong_ones_are_told_some_at_a_time_and_right_ones_never() {
        for (_home, sites, clock) in worlds(1) {
            let guesses = guesses(10, 10);
            (0..50).for_each(|_| drop(guesses.begin(&sites[0], HERE).unwrap()));
            assert!(told(&sites[0]).is_none() && guesses.known().is_empty());
            let after = [None, None, Some(3), Some(3), Some(3), Some(6), Some(6), Some(6), Some(9), Some(9)];
            for expected in after {
                guesses.begin(&sites[0], HERE).unwrap().was_wrong(&sites[0]);
                assert_eq!(told(&sites[0]), expected);
            }
            assert!(guesses.begin(&sites[0], HERE).is_err_and(|wait| wait <= WINDOW));
            // To others of the same database they are some of their own.
            let others = self::guesses(10, 10);
            others.begin(&sites[0], HERE).unwrap().was_wrong(&sites[0]);
            assert!(others.begin(&sites[0], HERE).is_err());
            clock.advance(WINDOW);
            assert!(others.begin(&sites[0], HERE).is_ok());
        }
    }

    #[test]
    fn several_processes_let_through_no_more_than_what_they_have_not_told() {
        const PROCESSES: usize = 3;
        const PER_MINUTE: u32 = 12;
        for (_home, sites, _) in worlds(PROCESSES) {
            let let_through = AtomicU32::new(0);
            std::thread::scope(|threads| {
                for site in &sites {
                    let guesses = Arc::new(guesses(PER_MINUTE, 10));
                    for _ in 0..8 {
                        let (guesses, let_through) = (Arc::clone(&guesses), &let_through);
                        threads.spawn(move || {
                            for _ in 0..10 {
                                if let Ok(guess) = guesses.begin(site, HERE) {
                                    let_through.fetch_add(1, Ordering::SeqCst);
                                    guess.was_wrong(site);
                                }
                            }
                        });
                    }
                }
            });
            // Each process has at most a block that it has not told, and one that is judged while the others tell.
            let (all, block) = (let_through.load(Ordering::SeqCst), PER_MINUTE / 4);
            assert!((PER_MINUTE..=PER_MINUTE + (block + 1) * 3).contains(&all), "{all}");
            assert!(
                sites.iter().all(|site| guesses(PER_MINUTE, 10).begin(site, HERE).is_err()),
                "told {:?}",
                told(&sites[0])
            );
        }
    }

    #[test]
    fn a_locked_database_loses_no_count() {
        let folder = tempfile::tempdir().unwrap();
        drop(Site::open(folder.path().join("a.db")).unwrap());
        let limits = crate::Limits::with(|limits| limits.store.busy_timeout = Duration::from_millis(1));
        let site = Site::builder().limits(limits).open(folder.path().join("a.db")).unwrap();
        let other = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let guesses = guesses(4, 10);
        (0..3).for_each(|_| guesses.begin(&site, HERE).unwrap().was_wrong(&site));
        assert_eq!(told(&site), None);
        other.execute_batch("COMMIT").unwrap();
        guesses.begin(&site, HERE).unwrap().was_wrong(&site);
        assert!(guesses.begin(&site, HERE).is_err() && told(&site) == Some(4));
    }

    #[test]
    fn only_so_many_keys_are_remembered() {
        for (_home, sites, _) in worlds(1) {
            let guesses = guesses(1, 3);
            let judged = guesses.begin(&sites[0], HERE).unwrap();
            for n in 0..20u8 {
                guesses.add_wrong(&sites[0], Some(IpAddr::from([192, 0, 2, n])));
                assert!(guesses.known().len() <= 3);
            }
            judged.was_wrong(&sites[0]);
            assert!(guesses.begin(&sites[0], HERE).is_err(), "one that is judged is not forgotten");
        }
    }
}
