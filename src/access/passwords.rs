//! Passwords that peers give. Verifying one costs time and memory on purpose, so that it is bounded how many are verified at
//! once and how many wrong ones are taken.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::attempts::{Bound, origin};
use super::{Answer, Denial};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::secret;
use crate::wire::api::PASSWORD_BYTES;

/// How long a password waits for its turn to be verified.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections whose right password is remembered.
const REMEMBERED: usize = 1024;

/// Verifies passwords.
pub(super) struct Passwords {
    of_connection: Bound<Uuid>,
    of_address: Bound<Option<IpAddr>>,
    /// Of the site itself.
    of_site: Bound<()>,
    gate: Gate,
    /// For each connection, and for the site itself, the digest of its stored hash and the right password, under a salt of this process: each call over
    /// HTTP brings the password again.
    right: Mutex<HashMap<Option<Uuid>, [u8; 32]>>,
    salt: Uuid,
}

impl Passwords {
    pub(super) fn new(limits: &Limits) -> Self {
        let (per_minute, remembered) = (limits.password_attempts_per_minute, limits.remembered_addresses);
        Passwords {
            of_connection: Bound::new(per_minute, remembered),
            of_address: Bound::new(per_minute, remembered),
            // Not so few that one who guesses keeps all others from registering.
            of_site: Bound::new(per_minute.saturating_mul(100), 1),
            gate: Gate { free: Mutex::new(limits.password_checks.max(1)), freed: Condvar::new() },
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
        of: Option<Uuid>,
        address: Option<IpAddr>,
        password: Option<&str>,
        stored: &str,
    ) -> Answer<()> {
        let password = password.filter(|password| !password.is_empty());
        let Some(password) = password else { return Err(Denial::new(ErrorKind::PasswordRequired).into()) };
        let digest = self.digest(stored, password);
        let known = || self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(&of).is_some_and(|right| secret::equal(right, &digest)) {
            return Ok(());
        }
        let wait = |time| Denial::wait(ErrorKind::TooManyAttempts, time);
        let from = origin(address);
        self.of_address.take(from).map_err(wait)?;
        let taken = of.map_or_else(|| self.of_site.take(()), |connection| self.of_connection.take(connection));
        taken.map_err(|time| {
            self.of_address.give_back(from);
            wait(time)
        })?;
        let give_back = || {
            self.of_address.give_back(from);
            of.map_or_else(|| self.of_site.give_back(()), |connection| self.of_connection.give_back(connection));
        };
        let Some(_turn) = self.gate.enter(PATIENCE) else {
            give_back();
            return Err(wait(Duration::from_secs(1)).into());
        };
        // What is longer than any password can be is not hashed first.
        if password.len() > PASSWORD_BYTES || !secret::verify_password(password, stored)? {
            return Err(Denial::new(ErrorKind::InvalidPassword).into());
        }
        give_back();
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(of, digest);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::Refused;
    use super::*;

    fn kind(answer: Answer<()>) -> Option<ErrorKind> {
        match answer {
            Ok(()) => None,
            Err(Refused::Denied(denial)) => Some(denial.kind),
            Err(Refused::Failed(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn wrong_passwords_are_bounded_and_right_ones_are_not() {
        let limits = Limits { password_attempts_per_minute: 2, ..Limits::default() };
        let passwords = Passwords::new(&limits);
        let stored = secret::hash_password("hunter2").unwrap();
        let (one, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let here = Some("192.0.2.1".parse().unwrap());
        let there = Some("192.0.2.2".parse().unwrap());
        let long = "x".repeat(2000);
        let check = |of, from, password| kind(passwords.check(of, from, password, &stored));
        assert_eq!(check(one, here, None), Some(ErrorKind::PasswordRequired));
        assert_eq!(check(one, here, Some("")), Some(ErrorKind::PasswordRequired));
        for _ in 0..5 {
            assert_eq!(check(other, there, Some("hunter2")), None);
        }
        assert_eq!(check(one, here, Some("hunter3")), Some(ErrorKind::InvalidPassword));
        assert_eq!(check(one, here, Some(&*long)), Some(ErrorKind::InvalidPassword));
        assert_eq!(check(one, here, Some("hunter2")), Some(ErrorKind::TooManyAttempts));
        assert_eq!(check(other, here, Some("hunter3")), Some(ErrorKind::TooManyAttempts), "of the address");
        assert_eq!(check(one, there, Some("hunter2")), Some(ErrorKind::TooManyAttempts), "of the connection");
        assert_eq!(check(other, here, Some("hunter2")), None, "known to be right");
        assert!(!format!("{passwords:?}").contains("hunter2"));
        let changed = secret::hash_password("new").unwrap();
        assert_eq!(kind(passwords.check(other, there, Some("hunter2"), &changed)), Some(ErrorKind::InvalidPassword));
    }

    #[test]
    fn wrong_passwords_of_the_site_are_bounded_by_address_and_lock_nobody_else_out() {
        let passwords = Passwords::new(&Limits { password_attempts_per_minute: 1, ..Limits::default() });
        let stored = secret::hash_password("hunter2").unwrap();
        let check = |from: u8, password| {
            let address = Some(IpAddr::from([192, 0, 2, from]));
            kind(passwords.check(None, address, Some(password), &stored))
        };
        for from in 0..3 {
            assert_eq!(check(from, "hunter3"), Some(ErrorKind::InvalidPassword), "{from}");
            assert_eq!(check(from, "hunter3"), Some(ErrorKind::TooManyAttempts), "{from}");
        }
        assert_eq!(check(9, "hunter2"), None);
        for _ in 3..100 {
            passwords.of_site.take(()).unwrap();
        }
        assert_eq!(check(10, "hunter3"), Some(ErrorKind::TooManyAttempts), "all together");
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
