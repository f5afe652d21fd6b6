//! How a command ends.

use std::process::ExitCode;

use rowferry::{Error, ErrorKind};
use serde_json::json;

use crate::hints;
use crate::output::{Out, complain, one_line};
use crate::status::Status;

/// A command that did what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All of it: 0.
    Whole,
    /// But some records or tables failed: 3.
    Partly,
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        match done {
            Done::Whole => Status::Done.into(),
            Done::Partly => Status::Partly.into(),
        }
    }
}

/// A command that failed: one line on stderr, and the [status](Status) of its error.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    status: Status,
    /// The command has said on stdout already what there is to be said.
    reported: bool,
}

impl Failure {
    /// Of an error over something that was typed: wrong usage if it is about the form of it. What the other site says of the
    /// form of a request is not.
    pub fn typed(error: Error) -> Self {
        match error.kind() == ErrorKind::InvalidInput && error.http_status().is_none() && !error.is_from_peer() {
            true => Failure::usage(error),
            false => Failure::from(error),
        }
    }

    /// Of an error that shows wrong usage.
    pub fn usage(error: Error) -> Self {
        Failure { error, status: Status::Usage, reported: false }
    }

    /// The report on stdout holds it already.
    pub fn reported(error: Error) -> Self {
        Failure { reported: true, ..Failure::from(error) }
    }

    /// The same with another status than that of its error.
    pub fn with_status(self, status: Status) -> Self {
        Failure { status, ..self }
    }

    /// Says on stderr why, in one line, and in JSON on stdout too if the command was to answer in JSON. `command` is the
    /// first word after `rowferry`.
    pub fn tell(self, out: &mut Out, command: &str, json: bool) -> ExitCode {
        complain(hints::text(&self.error, command));
        if json && !self.reported {
            let message = hints::translated(self.error.message());
            print(out, self.error.kind(), &message, hints::hint(&self.error, command));
        }
        self.status.into()
    }
}

/// Says in JSON on stdout what clap found wrong with the words that were typed, which it says on stderr itself: its first paragraph, and
/// its tips.
pub fn tell_usage(error: &clap::Error, out: &mut Out) {
    let text = error.to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let tips: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("tip: ")).collect();
    let hint = if tips.is_empty() { "See --help.".to_owned() } else { tips.join("; ") };
    print(out, ErrorKind::InvalidInput, &one_line(message.trim_start_matches("error: ")), Some(hint));
}

fn print(out: &mut Out, kind: ErrorKind, message: &str, hint: Option<String>) {
    let line = json!({ "event": "error", "code": kind.code(), "message": message, "hint": hint });
    if let Err(failure) = out.json(&line) {
        complain(failure.error.to_string());
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { status: Status::of(&error), error, reported: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_typed_here_is_wrong_usage() {
        let status = |error| Failure::typed(error).status;
        let error = || Error::new(ErrorKind::InvalidInput, "m");
        assert_eq!(status(error()), Status::Usage);
        assert_eq!(status(error().with_http_status(422)), Status::Failed);
        assert_eq!(status(Error::new(ErrorKind::NotFound, "m")), Status::Failed);
    }
}
