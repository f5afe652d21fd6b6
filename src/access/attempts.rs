//! Bounds how often something is tried: counted per key and minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::address::host_network;

const WINDOW: Duration = Duration::from_secs(60);

/// Attempts, counted per key: an [`origin`], a connection. The time is monotonic and comes from the caller.
#[derive(Debug)]
struct Attempts<K> {
    /// When the key's minute began, and the attempts since.
    keys: HashMap<K, (Duration, u32)>,
    per_minute: u32,
    remembered: usize,
}

impl<K: Eq + Hash + Copy> Attempts<K> {
    fn new(per_minute: u32, remembered: usize) -> Self {
        Attempts { keys: HashMap::new(), per_minute, remembered: remembered.max(1) }
    }

    /// Counts an attempt before it is made, so that many at once cannot pass; or says how long to wait.
    fn take(&mut self, key: K, now: Duration) -> Result<(), Duration> {
        let over = |began: Duration| now.saturating_sub(began) >= WINDOW;
        if let Some((began, count)) = self.keys.get_mut(&key) {
            if over(*began) {
                (*began, *count) = (now, 0);
            }
            if *count >= self.per_minute {
                return Err(WINDOW.saturating_sub(now.saturating_sub(*began)));
            }
            *count += 1;
            return Ok(());
        }
        if self.per_minute == 0 {
            return Err(WINDOW);
        }
        if self.keys.len() >= self.remembered {
            self.keys.retain(|_, (began, _)| !over(*began));
        }
        if self.keys.len() >= self.remembered {
            let oldest = self.keys.iter().min_by_key(|(_, (began, _))| *began).map(|(key, _)| *key);
            oldest.map(|key| self.keys.remove(&key));
        }
        self.keys.insert(key, (now, 1));
        Ok(())
    }
}

/// Attempts that many threads count.
#[derive(Debug)]
pub(crate) struct Bound<K> {
    attempts: Mutex<Attempts<K>>,
    began: Instant,
}

impl<K: Eq + Hash + Copy> Bound<K> {
    pub(crate) fn new(per_minute: u32, remembered: usize) -> Self {
        Bound { attempts: Mutex::new(Attempts::new(per_minute, remembered)), began: Instant::now() }
    }

    /// See [`Attempts::take`].
    pub(crate) fn take(&self, key: K) -> Result<(), Duration> {
        let now = self.began.elapsed();
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).take(key, now)
    }
}

/// What stands for a peer's address where what peers do is counted: the network of an IPv6 address. Guesses of codes are counted by a
/// [wider one](crate::domain::address::wide_network).
pub(crate) fn origin(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(host_network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        origin(Some(text.parse().unwrap()))
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_has_so_many_attempts_per_minute() {
        let mut attempts = Attempts::new(2, 10);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(attempts.take(one, seconds(0)), Ok(()));
        assert_eq!(attempts.take(one, seconds(10)), Ok(()));
        assert_eq!(attempts.take(one, seconds(20)), Err(seconds(40)));
        assert_eq!(attempts.take(other, seconds(20)), Ok(()));
        assert_eq!(attempts.take(one, seconds(59)), Err(seconds(1)));
        assert_eq!(attempts.take(one, seconds(60)), Ok(()));
    }

    #[test]
    fn spellings_and_networks_of_one_peer_are_one() {
        let mut attempts = Attempts::new(1, 10);
        assert!(attempts.take(address("192.0.2.1"), seconds(0)).is_ok());
        assert!(attempts.take(address("::ffff:192.0.2.1"), seconds(0)).is_err());
        assert!(attempts.take(address("2001:db8::1"), seconds(0)).is_ok());
        assert!(attempts.take(address("2001:db8::ffff:0:0:1"), seconds(0)).is_err());
        assert!(attempts.take(address("2001:db8:0:1::1"), seconds(0)).is_ok());
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let mut attempts = Attempts::new(1, 3);
        for n in 0..100u8 {
            assert!(attempts.take(address(&format!("192.0.2.{n}")), seconds(u64::from(n))).is_ok());
            assert!(attempts.keys.len() <= 3);
        }
        assert!(attempts.take(address("192.0.2.99"), seconds(99)).is_err());
        assert!(attempts.take(address("192.0.2.0"), seconds(99)).is_ok(), "forgotten");
    }
}
