//! What to do with an incoming record.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// What to do with an incoming record whose key exists here. A record whose key is new is created by each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// The local row stays as it is.
    #[default]
    Skip,
    /// The columns that the record has replace the local ones.
    Overwrite,
    /// The columns that the record has, and that are not null there, replace the local ones.
    Merge,
    /// The record becomes a new row with a new key; rows pulled with it that refer to it follow.
    Append,
}

impl Strategy {
    /// All four.
    pub const ALL: [Strategy; 4] = [Strategy::Skip, Strategy::Overwrite, Strategy::Merge, Strategy::Append];

    /// The name as it stands on the wire and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Skip => "skip",
            Strategy::Overwrite => "overwrite",
            Strategy::Merge => "merge",
            Strategy::Append => "append",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == text).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("{text:?} is no strategy"))
                .with_hint("Choose one of skip, overwrite, merge, append.")
        })
    }
}
