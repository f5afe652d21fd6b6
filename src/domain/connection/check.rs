//! What a connection's fields may hold.

use time::{OffsetDateTime, UtcOffset};

use super::{Metadata, Policy};
use crate::domain::text::has_hidden;
use crate::error::{Error, ErrorKind, Result};

/// Longest name of a connection, in characters.
pub(crate) const NAME: usize = 255;

/// Longest name of a table in a policy, in bytes.
const TABLE: usize = 1_000;

/// A connection's name as it is kept: without blanks at its ends.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for an empty one, one of more than 255 characters, and one with characters in it
/// that are not seen: of control, of zero width, or that turn the direction of writing.
pub(crate) fn normal_name(name: &str) -> Result<String> {
    let name = name.trim();
    let hint = "Take a name of 1 to 255 characters.";
    match name.chars().count() {
        0 => Err(invalid("the name is empty").with_hint(hint)),
        1..=NAME if has_hidden(name) => Err(invalid("the name has invisible characters in it").with_hint(
            "Take them out: control characters, ones of zero width, and marks that turn the direction of writing.",
        )),
        1..=NAME => Ok(name.to_owned()),
        length => Err(invalid(format!("the name has {length} characters")).with_hint(hint)),
    }
}

/// Refuses notes that are too large.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput).
pub(crate) fn check_metadata(metadata: &Metadata, most: usize) -> Result<()> {
    let bytes = serde_json::to_string(metadata).map_or(usize::MAX, |text| text.len());
    match bytes <= most {
        true => Ok(()),
        false => Err(invalid(format!("the metadata are longer than {most} bytes")).with_hint("Keep them elsewhere.")),
    }
}

impl Policy {
    /// Refuses what no connection can allow. `entries` is how many a list may have.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) names the field.
    pub(crate) fn check(&self, entries: usize) -> Result<()> {
        let tables = [
            ("allowed_tables", &self.allowed_tables),
            ("excluded_tables", &self.excluded_tables),
            ("auto_approve_tables", &self.auto_approve_tables),
            ("auto_sync_tables", &self.auto_sync_tables),
        ];
        for (field, names) in tables {
            check_length(field, names.len(), entries)?;
            if names.iter().any(|name| name.trim().is_empty()) {
                return Err(invalid(format!("{field} has an empty name in it")).with_hint("Give names of tables."));
            }
            if names.iter().any(|name| name.trim() != name) {
                // It would match no table, and an excluded one would not be.
                let message = format!("{field} has a name with blanks at its ends in it");
                return Err(invalid(message).with_hint("Give the names of tables as they are."));
            }
            if names.iter().any(|name| name.len() > TABLE) {
                return Err(invalid(format!("{field} has a name of more than {TABLE} bytes in it")));
            }
        }
        check_length("ip_whitelist", self.ip_whitelist.len(), entries)?;
        let least = [
            ("max_records_per_request", self.max_records_per_request),
            ("rate_limit_requests_per_minute", self.rate_limit_requests_per_minute.into()),
            ("auto_sync_interval_minutes", self.auto_sync_interval_minutes.into()),
        ];
        for (field, number) in least {
            if number == 0 {
                return Err(invalid(format!("{field} is 0")).with_hint("It is at least 1."));
            }
        }
        let most = [
            ("max_records_per_request", Some(self.max_records_per_request)),
            ("max_downloads", self.max_downloads),
            ("max_records_total", self.max_records_total),
        ];
        for (field, number) in most {
            if number.is_some_and(|number| i64::try_from(number).is_err()) {
                return Err(invalid(format!("{field} is too large a number")).with_hint("Leave it out for no limit."));
            }
        }
        match self.expires_at {
            Some(at) if !keepable(at) => Err(invalid("expires_at is not within the years 0 to 9999")),
            _ => Ok(()),
        }
    }
}

/// Refuses what only a sender's end of a connection can enforce, where a receiver's end is to have it that did not have it before: it
/// would be kept and ignored.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) names the field.
pub(crate) fn check_receiver(before: &Policy, policy: &Policy, sets_password: bool) -> Result<()> {
    let usual = Policy::default();
    let fields = [
        ("approval_mode", policy.approval_mode != usual.approval_mode, policy.approval_mode != before.approval_mode),
        (
            "auto_approve_tables",
            !policy.auto_approve_tables.is_empty(),
            policy.auto_approve_tables != before.auto_approve_tables,
        ),
        ("max_downloads", policy.max_downloads.is_some(), policy.max_downloads != before.max_downloads),
        (
            "rate_limit_requests_per_minute",
            policy.rate_limit_requests_per_minute != usual.rate_limit_requests_per_minute,
            policy.rate_limit_requests_per_minute != before.rate_limit_requests_per_minute,
        ),
        ("ip_whitelist", !policy.ip_whitelist.is_empty(), policy.ip_whitelist != before.ip_whitelist),
        ("download_password", sets_password, true),
    ];
    match fields.into_iter().find(|(_, is_set, is_new)| *is_set && *is_new) {
        Some((field, ..)) => Err(invalid(format!("{field} is for the sender to set: a receiver cannot enforce it"))
            .with_hint("Leave it out, and ask the other site's people to set it at their end.")),
        None => Ok(()),
    }
}

fn check_length(field: &str, length: usize, most: usize) -> Result<()> {
    match length <= most {
        true => Ok(()),
        false => Err(invalid(format!("{field} has {length} entries")).with_hint(format!("It has at most {most}."))),
    }
}

/// Whether a moment can be kept as text that sorts.
fn keepable(at: OffsetDateTime) -> bool {
    at.checked_to_offset(UtcOffset::UTC).is_some_and(|at| (0..=9999).contains(&at.year()))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::{AllowedHours, ApprovalMode};
    use crate::domain::strategy::Strategy;
    use time::macros::datetime;

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(normal_name("  Bäckup 1 ").unwrap(), "Bäckup 1");
        assert!(normal_name(&"ä".repeat(255)).is_ok());
        for bad in [
            "",
            "  ",
            "a\0b",
            "a\nb",
            "a\u{1b}[0m",
            "a\u{85}b",
            "a\u{200b}",
            "a\u{202e}b",
            "a\u{fe0f}",
            "\u{feff}a",
            &"ä".repeat(256),
        ] {
            assert_eq!(normal_name(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn what_no_policy_can_be_is_refused_by_field() {
        type Change = fn(&mut Policy);
        let changes: [(&str, Change); 14] = [
            ("max_records_per_request", |policy| policy.max_records_per_request = 0),
            ("max_records_per_request", |policy| policy.max_records_per_request = u64::MAX),
            ("rate_limit_requests_per_minute", |policy| policy.rate_limit_requests_per_minute = 0),
            ("auto_sync_interval_minutes", |policy| policy.auto_sync_interval_minutes = 0),
            ("max_downloads", |policy| policy.max_downloads = Some(1 << 63)),
            ("max_records_total", |policy| policy.max_records_total = Some(1 << 63)),
            ("allowed_tables", |policy| policy.allowed_tables = vec![" ".into()]),
            ("excluded_tables", |policy| policy.excluded_tables = vec![String::new()]),
            ("excluded_tables", |policy| policy.excluded_tables = vec!["users ".into()]),
            ("auto_approve_tables", |policy| policy.auto_approve_tables = vec!["x".repeat(1_001)]),
            ("auto_sync_tables", |policy| policy.auto_sync_tables = vec!["x".into(); 11]),
            ("ip_whitelist", |policy| policy.ip_whitelist = vec!["192.0.2.1".parse().unwrap(); 11]),
            ("expires_at", |policy| policy.expires_at = Some(datetime!(-0001-01-01 00:00 UTC))),
            // In UTC it is the year 0 no more.
            ("expires_at", |policy| policy.expires_at = Some(datetime!(0000-01-01 00:00 +1))),
        ];
        for (field, change) in changes {
            let mut policy = Policy::default();
            policy.check(10).unwrap();
            change(&mut policy);
            let error = policy.check(10).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().contains(field), "{field}: {error}");
        }
        let policy = Policy {
            max_downloads: Some(0),
            expires_at: Some(datetime!(9999-12-31 23:59:59 UTC)),
            auto_sync_tables: vec!["x".into(); 10],
            ..Policy::default()
        };
        policy.check(10).unwrap();
    }

    #[test]
    fn a_receiver_takes_nothing_that_only_a_sender_can_check() {
        type Change = fn(&mut Policy);
        let usual = Policy::default();
        let refused: [(&str, Change); 5] = [
            ("approval_mode", |policy| policy.approval_mode = ApprovalMode::PerTable),
            ("auto_approve_tables", |policy| policy.auto_approve_tables = vec!["t".into()]),
            ("max_downloads", |policy| policy.max_downloads = Some(1)),
            ("rate_limit_requests_per_minute", |policy| policy.rate_limit_requests_per_minute = 1),
            ("ip_whitelist", |policy| policy.ip_whitelist = vec!["192.0.2.1".parse().unwrap()]),
        ];
        for (field, change) in refused {
            let mut policy = Policy::default();
            change(&mut policy);
            let error = check_receiver(&usual, &policy, false).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidInput && error.message().starts_with(field), "{field}: {error}");
            assert!(error.hint().is_some());
            // One that has it from an earlier version can be changed otherwise, and get rid of it.
            check_receiver(&policy, &Policy { max_records_total: Some(1), ..policy.clone() }, false).unwrap();
            check_receiver(&policy, &usual, false).unwrap();
        }
        assert!(check_receiver(&usual, &usual, true).unwrap_err().message().starts_with("download_password"));
        let enforced: [Change; 10] = [
            |policy| policy.allowed_tables = vec!["t".into()],
            |policy| policy.excluded_tables = vec!["t".into()],
            |policy| policy.expires_at = Some(datetime!(2030-01-01 00:00 UTC)),
            |policy| policy.max_records_total = Some(1),
            |policy| policy.max_records_per_request = 1,
            |policy| policy.allowed_hours = Some(AllowedHours::new(1, 2).unwrap()),
            |policy| policy.default_conflict_strategy = Strategy::Merge,
            |policy| policy.auto_sync_enabled = true,
            |policy| policy.auto_sync_tables = vec!["t".into()],
            |policy| policy.auto_sync_interval_minutes = 1,
        ];
        for change in enforced {
            let mut policy = Policy::default();
            change(&mut policy);
            check_receiver(&usual, &policy, false).unwrap();
        }
    }

    #[test]
    fn notes_are_bounded() {
        let notes = Metadata::from_iter([("a".to_owned(), "b".into())]);
        assert!(check_metadata(&notes, 9).is_ok());
        assert!(check_metadata(&notes, 8).is_err());
    }
}
