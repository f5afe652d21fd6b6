//! Passwords that peers give. Verifying one costs time and memory on purpose, so that it is bounded how many are verified at
//! once and how many wrong ones are taken.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::attempts::origin;
use super::guesses::Guesses;
use super::{Answer, Denial};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::secret;
use crate::site::Site;
use crate::wire::api::PASSWORD_BYTES;

/// How long a password waits for its turn to be verified.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections whose right password is remembered.
const REMEMBERED: usize = 1024;

/// Verifies passwords.
pub(super) struct Passwords {
    /// Of a connection, wherever they come from: its token is needed to guess at all.
    of_connection: Guesses<Uuid>,
    /// Of the site itself, from one address. They are nothing to those of a connection: anybody may guess here, and many peers may have
    /// one address behind a proxy.
    of_origin: Guesses<Option<IpAddr>>,
    /// Of the site itself, from everywhere.
    of_site: Guesses<()>,
    gate: Gate,
    /// For each connection, and for the site itself, the digest of its stored hash and the right password, under a salt of this process: each call over
    /// HTTP brings the password again.
    right: Mutex<HashMap<Option<Uuid>, [u8; 32]>>,
    salt: Uuid,
}

impl Passwords {
    pub(super) fn new(limits: &Limits) -> Self {
        let (per_minute, remembered) = (limits.server.password_attempts_per_minute, limits.server.remembered_addresses);
        Passwords {
            of_connection: Guesses::new("password_connection", per_minute, 1, remembered),
            of_origin: Guesses::new("password_registration", per_minute, 1, remembered),
            // Not so few that one who guesses keeps all others from registering.
            of_site: Guesses::new("password_site", per_minute.saturating_mul(100), limits.server.password_checks, 1),
            gate: Gate { free: Mutex::new(limits.server.password_checks.max(1)), freed: Condvar::new() },
            right: Mutex::default(),
            salt: Uuid::new_v4(),
        }
    }

    /// Whether this is the password of a connection, or else of the site itself, whose hash is stored so.
    ///
    /// # Errors
    /// [`PasswordRequired`](ErrorKind::PasswordRequired), [`InvalidPassword`](ErrorKind::InvalidPassword), and
    /// [`TooManyAttempts`](ErrorKind::TooManyAttempts) for too many wrong ones, or too many at once.
    pub(super) fn check(
        &self,
        site: &Site,
        of: Option<Uuid>,
        address: Option<IpAddr>,
        password: Option<&str>,
        stored: &str,
    ) -> Answer<()> {
        let password = password.filter(|password| !password.is_empty());
        let Some(password) = password else { return Err(Denial::new(ErrorKind::PasswordRequired).into()) };
        let wait = |time| Denial::wait(ErrorKind::TooManyAttempts, time);
        // Before anything is compared, also with one that is known to be right: else the answer would tell a guess from it.
        let by_connection = of.map(|connection| self.of_connection.begin(site, connection)).transpose().map_err(wait)?;
        let by_origin = of.is_none().then(|| self.of_origin.begin(site, origin(address))).transpose().map_err(wait)?;
        let by_site = of.is_none().then(|| self.of_site.begin(site, ())).transpose().map_err(wait)?;
        let digest = self.digest(stored, password);
        if self.is_known(of, &digest) {
            return Ok(());
        }
        let Some(turn) = self.gate.enter(PATIENCE) else { return Err(wait(Duration::from_secs(1)).into()) };
        // What is longer than any password can be is not hashed first.
        if password.len() > PASSWORD_BYTES || !secret::verify_password(password, stored)? {
            drop(turn);
            by_connection.into_iter().for_each(|guess| guess.was_wrong(site));
            by_origin.into_iter().for_each(|guess| guess.was_wrong(site));
            by_site.into_iter().for_each(|guess| guess.was_wrong(site));
            return Err(Denial::new(ErrorKind::InvalidPassword).into());
        }
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(of, digest);
        Ok(())
    }

    fn is_known(&self, of: Option<Uuid>, digest: &[u8; 32]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(&of).is_some_and(|right| secret::equal(right, digest))
    }

    fn digest(&self, stored: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.salt.as_bytes());
        hash.update((stored.len() as u64).to_be_bytes());
        hash.update(stored.as_bytes());
        hash.update(password.as_bytes());
        hash.finalize().into()
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

/// Lets only so many in at a time.
#[derive(Debug)]
struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place within the gate.
struct Turn<'g>(&'g Gate);

impl Gate {
    fn enter(&self, patience: Duration) -> Option<Turn<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) =
            self.freed.wait_timeout_while(free, patience, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        let left = free.checked_sub(1)?;
        *free = left;
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::super::Refused;
    use super::*;
    use crate::site::testing::Home;

    fn kind(answer: Answer<()>) -> Option<ErrorKind> {
        match answer {
            Ok(()) => None,
            Err(Refused::Denied(denial)) => Some(denial.kind),
            Err(Refused::Failed(error)) => panic!("{error}"),
        }
    }

    /// One on each kind of database.
    fn sites() -> impl Iterator<Item = (Home, Site)> {
        Home::each().into_iter().map(|home| {
            let site = home.open(Site::builder());
            (home, site)
        })
    }

    #[test]
    fn wrong_passwords_are_bounded_and_right_ones_are_not() {
        for (_home, site) in sites() {
            let limits = Limits::with(|limits| limits.server.password_attempts_per_minute = 2);
            let passwords = Passwords::new(&limits);
            let stored = secret::hash_password("hunter2").unwrap();
            let (one, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
            let here = Some("192.0.2.1".parse().unwrap());
            let there = Some("192.0.2.2".parse().unwrap());
            let elsewhere = Some("192.0.2.3".parse().unwrap());
            let long = "x".repeat(2000);
            let check = |of, from, password| kind(passwords.check(&site, of, from, password, &stored));
            assert_eq!(check(one, here, None), Some(ErrorKind::PasswordRequired));
            assert_eq!(check(one, here, Some("")), Some(ErrorKind::PasswordRequired));
            for _ in 0..5 {
                assert_eq!(check(other, there, Some("hunter2")), None);
                assert_eq!(check(one, here, Some("hunter2")), None);
            }
            assert_eq!(check(one, here, Some("hunter3")), Some(ErrorKind::InvalidPassword));
            assert_eq!(check(one, here, Some(&*long)), Some(ErrorKind::InvalidPassword));
            // From now on nothing is compared: the right one, which is known, is answered like a wrong one.
            for password in ["hunter2", "hunter3"] {
                assert_eq!(check(one, here, Some(password)), Some(ErrorKind::TooManyAttempts), "{password}");
                assert_eq!(
                    check(one, there, Some(password)),
                    Some(ErrorKind::TooManyAttempts),
                    "from elsewhere: {password}"
                );
            }
            assert_eq!(
                check(other, here, Some("hunter2")),
                None,
                "another connection from the same address, of a proxy say"
            );
            assert!(!format!("{passwords:?}").contains("hunter2"));
            let changed = secret::hash_password("new").unwrap();
            let check = |password| kind(passwords.check(&site, other, elsewhere, Some(password), &changed));
            assert_eq!((check("hunter2"), check("new")), (Some(ErrorKind::InvalidPassword), None));
        }
    }

    #[test]
    fn many_right_ones_at_once_never_meet_the_limit() {
        for (_home, site) in sites() {
            let passwords = Passwords::new(&Limits::with(|limits| limits.server.password_attempts_per_minute = 2));
            let stored = secret::hash_password("hunter2").unwrap();
            let here = Some("192.0.2.1".parse().unwrap());
            for of in [None, Some(Uuid::from_u128(1))] {
                let answers = std::thread::scope(|threads| {
                    let check = || kind(passwords.check(&site, of, here, Some("hunter2"), &stored));
                    let threads: Vec<_> = (0..30).map(|_| threads.spawn(check)).collect();
                    threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
                });
                assert!(answers.iter().all(Option::is_none), "{answers:?}");
            }
        }
    }

    #[test]
    fn wrong_passwords_of_the_site_are_bounded_by_address_and_lock_nobody_else_out() {
        for (_home, site) in sites() {
            let passwords = Passwords::new(&Limits::with(|limits| limits.server.password_attempts_per_minute = 1));
            let stored = secret::hash_password("hunter2").unwrap();
            let check = |from: u8, password| {
                let address = Some(IpAddr::from([192, 0, 2, from]));
                kind(passwords.check(&site, None, address, Some(password), &stored))
            };
            assert_eq!(check(9, "hunter2"), None);
            for from in 0..3 {
                assert_eq!(check(from, "hunter3"), Some(ErrorKind::InvalidPassword), "{from}");
                assert_eq!(check(from, "hunter2"), Some(ErrorKind::TooManyAttempts), "{from}");
            }
            assert_eq!(check(9, "hunter2"), None);
            (3..100).for_each(|_| passwords.of_site.add_wrong(&site, ()));
            assert_eq!(check(9, "hunter2"), Some(ErrorKind::TooManyAttempts), "all together");
        }
    }

    #[test]
    fn wrong_ones_of_strangers_lock_no_connection_behind_the_same_proxy_out() {
        for (_home, site) in sites() {
            let passwords = Passwords::new(&Limits::with(|limits| limits.server.password_attempts_per_minute = 2));
            let stored = secret::hash_password("hunter2").unwrap();
            let proxy = Some("127.0.0.1".parse().unwrap());
            let check = |of, password| kind(passwords.check(&site, of, proxy, Some(password), &stored));
            let connection = Some(Uuid::from_u128(1));
            let guesses: Vec<_> = (0..4).map(|_| check(None, "hunter3")).collect();
            let (wrong, over) = (Some(ErrorKind::InvalidPassword), Some(ErrorKind::TooManyAttempts));
            assert_eq!(guesses, [wrong, wrong, over, over]);
            assert_eq!(check(connection, "hunter2"), None);
            // Nor the other way round.
            (0..3).for_each(|_| _ = check(connection, "hunter3"));
            assert_eq!(check(connection, "hunter2"), over);
            let elsewhere = Some("127.0.0.2".parse().unwrap());
            assert_eq!(kind(passwords.check(&site, None, elsewhere, Some("hunter2"), &stored)), None);
        }
    }

    #[test]
    fn only_so_many_are_verified_at_once() {
        let gate = Gate { free: Mutex::new(2), freed: Condvar::new() };
        let (one, two) = (gate.enter(Duration::ZERO), gate.enter(Duration::ZERO));
        assert!(one.is_some() && two.is_some() && gate.enter(Duration::ZERO).is_none());
        drop(one);
        assert!(gate.enter(Duration::ZERO).is_some());
    }
}
