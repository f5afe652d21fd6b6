//! How a command ends.

use std::process::ExitCode;

use rowferry::{Error, ErrorKind};
use serde_json::json;

use crate::output::{Out, complain};

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
            Done::Whole => ExitCode::SUCCESS,
            Done::Partly => ExitCode::from(3),
        }
    }
}

/// A command that failed: one line on stderr, and 1 or 2.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    usage: bool,
    /// The command has said on stdout already what there is to be said.
    reported: bool,
}

impl Failure {
    /// Of an error over something that was typed: wrong usage if it is about the form of it. What the other site says of the
    /// form of a request is not.
    pub fn typed(error: Error) -> Self {
        let usage = error.kind() == ErrorKind::InvalidInput && error.http_status().is_none();
        Failure { usage, error, reported: false }
    }

    /// Of an error that shows wrong usage.
    pub fn usage(error: Error) -> Self {
        Failure { error, usage: true, reported: false }
    }

    /// The report on stdout holds it already.
    pub fn reported(error: Error) -> Self {
        Failure { error, usage: false, reported: true }
    }

    /// Says on stderr why, in one line, and in JSON on stdout too if the command was to answer in JSON.
    pub fn tell(self, out: &mut Out, json: bool) -> ExitCode {
        // The library names its calls; here there are commands for them.
        const CALLS: [(&str, &str); 2] = [
            ("`reset_key`", "`rowferry sessions reset-key`"),
            ("`set_token`", "`rowferry connections update --token-file`"),
        ];
        let said = |text: &str| CALLS.iter().fold(text.to_owned(), |text, (call, command)| text.replace(call, command));
        complain(said(&self.error.to_string()));
        if json && !self.reported {
            let line = json!({
                "event": "error",
                "code": self.error.code(),
                "message": self.error.message(),
                "hint": self.error.hint().map(said),
            });
            if let Err(failure) = out.json(&line) {
                complain(failure.error.to_string());
            }
        }
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, usage: false, reported: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_typed_here_is_wrong_usage() {
        let error = || Error::new(ErrorKind::InvalidInput, "m");
        assert!(Failure::typed(error()).usage);
        assert!(!Failure::typed(error().with_http_status(422)).usage);
        assert!(!Failure::typed(Error::new(ErrorKind::NotFound, "m")).usage);
    }
}
