//! What became of the records of an import: counts and failures.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::Serializer;

use crate::domain::value::Value;

/// What became of the records of one table. Each record has exactly one outcome, so that the five counts add up to the
/// records received.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Records that became new rows.
    pub created: u64,
    /// Records that changed a row.
    pub updated: u64,
    /// Records whose row was already equal.
    pub unchanged: u64,
    /// Records that were left out because their row exists, or because a trigger of the local table left them out (RAISE(IGNORE)). Under
    /// [`Overwrite`](crate::Strategy::Overwrite) and [`Merge`](crate::Strategy::Merge) those that are not
    /// [newer](crate::PullOptions::newer_by) than their row, and those whose row [a rule](crate::PullOptions::on_conflict) keeps.
    pub skipped: u64,
    /// How many of the skipped records say something else than their row, which was left as it is: under
    /// [`Skip`](crate::Strategy::Skip), by their age, or by a rule. It is no sixth count beside the five.
    pub differing: u64,
    /// Records that could not be taken.
    pub failed: u64,
    /// Of those created or updated, the ones that were written although they refer to rows that are missing: see
    /// [`PullOptions::dangling`](crate::PullOptions::dangling).
    pub dangling: u64,
    /// By the names of columns how many values these could not hold as they are: their records failed, or something else was stored, as
    /// [`PullOptions::on_lossy`](crate::PullOptions::on_lossy) says.
    pub lossy: BTreeMap<String, u64>,
    /// The first failures, up to [`PullLimits::reported_failures`](crate::PullLimits::reported_failures).
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// All records: the sum of the five counts.
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed
    }

    /// Adds another part of the same table; of its failures as many as fit under the bound.
    pub fn add(&mut self, other: Outcome, reported_failures: usize) {
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.skipped += other.skipped;
        self.differing += other.differing;
        self.failed += other.failed;
        self.dangling += other.dangling;
        for (column, count) in other.lossy {
            *self.lossy.entry(column).or_default() += count;
        }
        let room = reported_failures.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }
}

impl Outcome {
    /// What became of the records of a table that was pulled a second time, when a part of them had come `before`: the counts add up to
    /// the records of the second time, and what the first time created or changed counts as that.
    pub(crate) fn after(self, before: &Outcome) -> Outcome {
        let mut left = self.total().saturating_sub(self.failed);
        let mut take = |count: u64| {
            let taken = count.min(left);
            left -= taken;
            taken
        };
        let created = take(before.created.saturating_add(self.created));
        let updated = take(before.updated.saturating_add(self.updated));
        let skipped = take(self.skipped);
        let differing = self.differing.min(skipped);
        let dangling = before.dangling.saturating_add(self.dangling).min(created + updated);
        Outcome { created, updated, skipped, differing, unchanged: left, dangling, ..self }
    }
}

/// An [`Outcome`] in the making: it counts, and keeps the first failures.
#[derive(Debug, Clone)]
pub struct Tally {
    /// What was counted so far.
    pub outcome: Outcome,
    /// Whether a record failed for want of a row that it refers to.
    pub lacks_parents: bool,
    reported_failures: usize,
    /// Failures that were not told yet, if they are told one by one.
    untold: Option<Vec<Failure>>,
}

/// The most failures that wait to be told one by one. It bounds memory: the rows of a group of tables are written by one transaction.
const MOST_UNTOLD: usize = 100_000;

impl Tally {
    /// Nothing counted yet; at most this many failures are kept.
    pub fn new(reported_failures: usize) -> Self {
        Tally::after(Outcome::default(), reported_failures)
    }

    /// Continues from what was counted before.
    pub fn after(outcome: Outcome, reported_failures: usize) -> Self {
        Tally { outcome, lacks_parents: false, reported_failures, untold: None }
    }

    /// From now on all failures are kept until they are [told](Tally::untold) one by one.
    pub(crate) fn telling(mut self) -> Self {
        self.untold = Some(Vec::new());
        self
    }

    /// The failures since this was asked last.
    pub(crate) fn untold(&mut self) -> Vec<Failure> {
        self.untold.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes in what became of the same records when they were applied a second time, which mended what they changed of each other.
    pub(crate) fn again(&mut self, again: Tally) {
        let total = self.outcome.total();
        let outcome = &mut self.outcome;
        let mended = outcome.failed.saturating_sub(again.outcome.failed);
        (outcome.failed, outcome.failures) = (again.outcome.failed, again.outcome.failures);
        outcome.lossy = again.outcome.lossy;
        let mut left = total.saturating_sub(outcome.failed);
        for (count, more) in [(&mut outcome.created, 0), (&mut outcome.skipped, 0), (&mut outcome.updated, mended)] {
            *count = (*count + more).min(left);
            left -= *count;
        }
        outcome.unchanged = left;
        outcome.differing = again.outcome.differing.min(outcome.skipped);
        self.lacks_parents |= again.lacks_parents;
        self.untold = again.untold;
    }

    /// Counts a value that is stored as another, because this column cannot hold it as it is.
    pub(crate) fn replaced(&mut self, column: &str) {
        match self.outcome.lossy.get_mut(column) {
            Some(count) => *count += 1,
            None => drop(self.outcome.lossy.insert(column.to_owned(), 1)),
        }
    }

    /// Counts a failure, and keeps it while there is room.
    pub fn fail(&mut self, failure: Failure) {
        self.outcome.failed += 1;
        if let Some(column) = failure.column.as_deref().filter(|_| failure.reason.is_lossy()) {
            self.replaced(column);
        }
        self.lacks_parents |= failure.reason == Reason::ForeignKey;
        if let Some(untold) = self.untold.as_mut().filter(|untold| untold.len() < MOST_UNTOLD) {
            untold.push(failure.clone().shortened());
        }
        if self.outcome.failures.len() < self.reported_failures {
            self.outcome.failures.push(failure.shortened());
        }
    }
}

/// A record that failed. The others of its batch were taken.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The record's key; empty if it has none. Long values in it are cut.
    pub key: Vec<Value>,
    /// The column at fault, where that is known.
    pub column: Option<String>,
    /// Why, as a stable code.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
}

/// The most bytes of a value in a failure's key, and of its message. Records come from outside, and failures are kept.
const FAILURE_BYTES: usize = 500;

impl Failure {
    /// A failure of the record with this key; `message` says why as one sentence without a full stop.
    pub fn new(key: Vec<Value>, reason: Reason, message: impl Into<String>) -> Self {
        Failure { key, column: None, reason, message: message.into() }
    }

    /// Adds the column at fault.
    #[must_use]
    pub fn in_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    /// The same failure with what is long in it cut.
    pub(crate) fn shortened(mut self) -> Self {
        for value in &mut self.key {
            match value {
                Value::Text(bytes) if bytes.len() > FAILURE_BYTES => {
                    bytes.truncate(cut(bytes));
                    bytes.extend_from_slice(b"...");
                    bytes.shrink_to_fit();
                }
                Value::Blob(bytes) if bytes.len() > FAILURE_BYTES => {
                    bytes.truncate(FAILURE_BYTES);
                    bytes.shrink_to_fit();
                }
                _ => {}
            }
        }
        if self.message.len() > FAILURE_BYTES {
            self.message.truncate(cut(self.message.as_bytes()));
            self.message.push_str("...");
            self.message.shrink_to_fit();
        }
        self
    }
}

/// Where a text that is too long is cut: not in the middle of a character.
fn cut(text: &[u8]) -> usize {
    let is_inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (0..=FAILURE_BYTES).rev().find(|at| !is_inside(at)).unwrap_or(0)
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why a record could not be taken.
        ///
        #[doc = include_str!("reason_codes.md")]
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// The stable reason code, in snake case.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// The reason of this code; `None` for any other word.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Reason::$name),)* _ => None }
            }
        }
    };
}

impl Reason {
    /// Whether a value cannot be stored for what it is.
    pub(crate) fn is_lossy(self) -> bool {
        matches!(self, Reason::ValueWouldChange | Reason::ValueOutOfRange | Reason::WrongType)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

reasons! {
    /// Another row has the same values in a unique set.
    UniqueConflict = "unique_conflict",
    /// A row that it refers to is missing.
    ForeignKey = "foreign_key",
    /// NULL, or nothing, for a column that must have a value.
    NotNull = "not_null",
    /// A CHECK constraint of the local table.
    Check = "check",
    /// The record lacks its key.
    MissingKey = "missing_key",
    /// The record has a column that the sender's schema does not have.
    UnknownColumn = "unknown_column",
    /// The record has a column twice.
    DuplicateColumn = "duplicate_column",
    /// An earlier record of the pull has the row: their keys are two at the sender and one here.
    DuplicateKey = "duplicate_key",
    /// The record or a value in it is not of the form that the protocol gives it.
    Malformed = "malformed",
    /// The value came as text for the eyes of the sender's programmers, which PhoenixKit sends of types that its JSON has no
    /// form for, and what it stands for is not known here.
    UnknownTerm = "unknown_term",
    /// Storing the value here would change it: the column's type rewrites it.
    ValueWouldChange = "value_would_change",
    /// The value is outside of what can be stored here.
    ValueOutOfRange = "value_out_of_range",
    /// The value is of a type that the column refuses (STRICT tables).
    WrongType = "wrong_type",
    /// The value or the row is larger than the database takes.
    TooLarge = "too_large",
    /// The key of a new row is taken, in an append or under a key [of the caller's choice](crate::PullOptions::key), and no new one can be
    /// made of its kind.
    NoNewKey = "no_new_key",
    /// One row has the values that the record has in a unique set, another row those of another set: which of them the record is
    /// cannot be told.
    Ambiguous = "ambiguous",
    /// A trigger of the local table refused it.
    Trigger = "trigger",
    /// A [rule of the caller's](crate::PullOptions::on_conflict) refused it, or made a row of it that the table does not take.
    RefusedByRule = "refused_by_rule",
    /// The database refused it for another reason: see the message.
    Refused = "refused",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_code() {
        let lines: Vec<_> = include_str!("reason_codes.md").lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(lines.len(), Reason::ALL.len());
        for (reason, line) in Reason::ALL.iter().zip(lines) {
            let expected = format!("| `{}` | [`{reason:?}`](Reason::{reason:?}) | ", reason.code());
            assert!(line.starts_with(&expected) && line.ends_with(". |"), "{line}");
        }
    }

    #[test]
    fn the_counts_of_records_that_were_applied_twice_add_up() {
        let failure = Failure { key: vec![], column: None, reason: Reason::Check, message: String::new() };
        let mut first = Tally::new(9);
        (first.outcome.created, first.outcome.updated, first.outcome.unchanged) = (3, 2, 4);
        first.fail(failure.clone());
        first.fail(failure.clone());
        let mut second = Tally::new(9);
        (second.outcome.updated, second.outcome.unchanged) = (3, 7);
        second.fail(failure);
        first.again(second);
        let Outcome { created, updated, unchanged, skipped, failed, failures, .. } = first.outcome;
        assert_eq!((created, updated, unchanged, skipped, failed, failures.len()), (3, 3, 4, 0, 1, 1));
    }

    #[test]
    fn values_that_do_not_fit_are_counted_by_their_column() {
        let mut tally = Tally::new(0);
        for (reason, column) in [
            (Reason::ValueOutOfRange, Some("a")),
            (Reason::WrongType, Some("b")),
            (Reason::ValueWouldChange, Some("a")),
            (Reason::ValueWouldChange, None),
            (Reason::NotNull, Some("a")),
        ] {
            tally.fail(Failure { key: vec![], column: column.map(String::from), reason, message: String::new() });
        }
        tally.replaced("c");
        let expected = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
        assert_eq!(tally.outcome.lossy, expected);
        let mut sum = tally.outcome.clone();
        sum.add(tally.outcome, 0);
        assert_eq!(sum.lossy["a"], 4);
    }

    #[test]
    fn a_second_pull_keeps_what_the_first_did() {
        let counts = |created, updated, unchanged, skipped, failed| Outcome {
            created,
            updated,
            unchanged,
            skipped,
            failed,
            ..Outcome::default()
        };
        let before = counts(2, 0, 0, 0, 0);
        assert_eq!(counts(1, 1, 1, 0, 0).after(&before), counts(3, 0, 0, 0, 0));
        assert_eq!(counts(0, 1, 5, 0, 1).after(&before), counts(2, 1, 3, 0, 1));
        assert_eq!(counts(1, 0, 0, 4, 0).after(&counts(2, 0, 0, 1, 0)), counts(3, 0, 0, 2, 0));
        assert_eq!(counts(0, 0, 1, 0, 0).after(&before), counts(1, 0, 0, 0, 0), "rows were deleted there");
    }

    #[test]
    fn what_is_kept_of_a_failure_is_short() {
        let mut tally = Tally::new(1);
        let long = Value::Text(format!("{}ř", "x".repeat(FAILURE_BYTES - 1)).repeat(1_000).into_bytes());
        for _ in 0..2 {
            let key = vec![long.clone(), Value::Blob(vec![0; 1 << 20]), Value::Integer(1)];
            let message = "ř".repeat(1 << 20);
            tally.fail(Failure { key, column: None, reason: Reason::Malformed, message });
        }
        assert_eq!((tally.outcome.failed, tally.outcome.failures.len()), (2, 1));
        let kept = &tally.outcome.failures[0];
        assert_eq!(kept.key[0], Value::from(format!("{}...", "x".repeat(FAILURE_BYTES - 1))));
        assert_eq!((&kept.key[1], &kept.key[2]), (&Value::Blob(vec![0; FAILURE_BYTES]), &Value::Integer(1)));
        assert_eq!(kept.message, format!("{}...", "ř".repeat(FAILURE_BYTES / 2)));
        let short = Failure { key: vec!["a".into()], column: None, reason: Reason::Check, message: "m".into() };
        assert_eq!(short.clone().shortened(), short);
    }
}
