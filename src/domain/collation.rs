//! How texts are compared.

use std::borrow::Cow;

use crate::domain::value::{Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};

/// SQLite's own collations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collation {
    /// Byte for byte.
    Binary,
    /// Without regard to the case of ASCII letters.
    NoCase,
    /// Without regard to spaces at the end.
    RTrim,
}

impl Collation {
    /// The collation of this name; byte for byte for none.
    pub(crate) fn named(name: Option<&str>) -> Result<Self> {
        let is = |other: &str| name.is_none_or(|name| name.eq_ignore_ascii_case(other));
        match name {
            _ if is("BINARY") => Ok(Collation::Binary),
            _ if is("NOCASE") => Ok(Collation::NoCase),
            _ if is("RTRIM") => Ok(Collation::RTrim),
            _ => Err(Error::new(ErrorKind::SchemaMismatch, format!("no such collation: {}", name.unwrap_or_default()))),
        }
    }

    /// Those of so many columns; byte for byte where none is named.
    pub(crate) fn all(names: &[Option<&str>], columns: usize) -> Result<Vec<Self>> {
        (0..columns).map(|at| Collation::named(names.get(at).copied().flatten())).collect()
    }

    /// What stands for a value: equal, and ordered, byte for byte as the values are by the collation.
    pub(crate) fn fold(self, value: ValueRef<'_>) -> Folded<'_> {
        match (self, value) {
            (Collation::NoCase, ValueRef::Text(text)) if text.iter().any(u8::is_ascii_uppercase) => {
                Folded::Text(Cow::Owned(text.to_ascii_lowercase()))
            }
            (Collation::RTrim, ValueRef::Text(text)) => {
                let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
                Folded::Text(Cow::Borrowed(text.get(..end).unwrap_or_default()))
            }
            (_, value) => Folded::Same(value),
        }
    }
}

/// What a collation makes of a value.
pub(crate) enum Folded<'v> {
    Same(ValueRef<'v>),
    Text(Cow<'v, [u8]>),
}

impl Folded<'_> {
    pub(crate) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Folded::Same(value) => *value,
            Folded::Text(text) => ValueRef::Text(text),
        }
    }

    pub(crate) fn to_owned(&self) -> Value {
        self.as_ref().to_owned()
    }
}
