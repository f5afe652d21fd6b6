//! The exit status of the command: a number for each way to end, and which errors are which.

use std::process::ExitCode;

use rowferry::{Error, ErrorKind};

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All was done.
    Done = 0,
    /// It failed on this side, or for several reasons.
    Failed = 1,
    /// What was typed cannot be meant.
    Usage = 2,
    /// It was done, but some records or tables failed.
    Partly = 3,
    /// Someone on the other side must approve it first.
    ApprovalMissing = 4,
    /// The other site cannot be reached, or was lost on the way.
    Unreachable = 5,
    /// The other site refused, or failed.
    Refused = 6,
}

impl Status {
    /// Every status, with what it means, as `--help` has it.
    pub const ALL: [(Status, &str); 7] = [
        (Status::Done, "done"),
        (Status::Failed, "failed: one line on stderr says what, why, and what to do"),
        (Status::Usage, "wrong usage"),
        (Status::Partly, "done, but some records or tables failed, or there was no table to pull; or tables differ"),
        (Status::ApprovalMissing, "someone on the other side must approve it first"),
        (Status::Unreachable, "the other site cannot be reached, or the connection was lost"),
        (Status::Refused, "the other site refused (a refusal by this side is 1)"),
    ];

    /// The status of a command that failed with this error.
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ApprovalRequired => Status::ApprovalMissing,
            ErrorKind::ApprovalExpired if error.is_from_peer() => Status::ApprovalMissing,
            ErrorKind::Unreachable | ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Tls => Status::Unreachable,
            // Nobody refused what is not there.
            ErrorKind::TableNotFound => Status::Failed,
            ErrorKind::Peer => Status::Refused,
            _ if error.is_from_peer() => Status::Refused,
            _ => Status::Failed,
        }
    }

    /// The status of a command that did several things, which all failed with these errors: that of all of them if it is the same.
    pub fn of_all<'e>(errors: impl IntoIterator<Item = &'e Error>) -> Self {
        let mut all = errors.into_iter().map(Status::of);
        match all.next() {
            Some(first) if all.all(|status| status == first) => first,
            _ => Status::Failed,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        ExitCode::from(status as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_this_side_that_the_other_could_have_as_well_is_1() {
        let status = |kind| Status::of(&Error::new(kind, "m")) as u8;
        let kinds = [
            (ErrorKind::ApprovalRequired, 4),
            (ErrorKind::ApprovalExpired, 1),
            (ErrorKind::Unreachable, 5),
            (ErrorKind::Disconnected, 5),
            (ErrorKind::Timeout, 5),
            (ErrorKind::Tls, 5),
            (ErrorKind::Peer, 6),
            (ErrorKind::ConnectionNotActive, 1),
            (ErrorKind::RecordLimit, 1),
            (ErrorKind::AlreadyAppended, 1),
            (ErrorKind::TableNotFound, 1),
            (ErrorKind::Cancelled, 1),
            (ErrorKind::Locked, 1),
            (ErrorKind::PullLimit, 1),
        ];
        for (kind, expected) in kinds {
            assert_eq!(status(kind), expected, "{kind}");
        }
    }

    /// Of an approval that expired, the table says what the other site's is; that of wrong usage and of a report is not of the error alone.
    #[test]
    fn the_table_of_codes_says_the_same() {
        let table = include_str!("../../error_codes.md");
        let exits: Vec<(&str, u8)> = table
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                Some((cells.get(1)?.trim_matches('`'), cells.get(5)?.parse().ok()?))
            })
            .collect();
        let kinds = [
            ErrorKind::TableNotFound,
            ErrorKind::Unreachable,
            ErrorKind::Timeout,
            ErrorKind::Disconnected,
            ErrorKind::Tls,
            ErrorKind::ApprovalRequired,
            ErrorKind::Peer,
        ];
        let found = kinds.map(|kind| (kind.code(), Status::of(&Error::new(kind, "m")) as u8));
        let apart = ["invalid_input", "approval_expired", "records_failed"];
        let expected: Vec<(&str, u8)> = exits.into_iter().filter(|(code, _)| !apart.contains(code)).collect();
        assert_eq!(expected, found);
    }

    #[test]
    fn several_errors_have_the_status_that_all_have() {
        let errors = |kinds: &[ErrorKind]| {
            let errors: Vec<Error> = kinds.iter().map(|kind| Error::new(*kind, "m")).collect();
            Status::of_all(&errors) as u8
        };
        assert_eq!(errors(&[ErrorKind::ApprovalRequired, ErrorKind::ApprovalRequired]), 4);
        assert_eq!(errors(&[ErrorKind::Unreachable, ErrorKind::Tls]), 5);
        assert_eq!(errors(&[ErrorKind::ApprovalRequired, ErrorKind::Peer]), 1);
        assert_eq!(errors(&[]), 1);
    }

    #[test]
    fn the_list_is_in_order() {
        assert!(Status::ALL.iter().enumerate().all(|(at, (status, _))| at == *status as usize));
    }
}
