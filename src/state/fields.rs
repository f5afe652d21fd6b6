//! The columns of a row, read one after the other.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::{moment, number, optional_text, text, unreadable};
use crate::domain::value::Value;
use crate::error::Result;

/// A row, and how far it was read. Each method reads the next column.
pub(crate) struct Fields<'r> {
    row: &'r [Value],
    next: usize,
}

impl<'r> Fields<'r> {
    pub(crate) fn of(row: &'r [Value]) -> Self {
        Fields { row, next: 0 }
    }

    fn column(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        text(self.row, self.column())
    }

    pub(crate) fn optional_text(&mut self) -> Result<Option<String>> {
        optional_text(self.row, self.column())
    }

    /// A uuid, or one of an enum's words.
    pub(crate) fn word<T: FromStr>(&mut self) -> Result<T> {
        self.optional_word()?.ok_or_else(|| unreadable("word"))
    }

    pub(crate) fn optional_word<T: FromStr>(&mut self) -> Result<Option<T>> {
        self.optional_text()?.map(|text| text.parse().map_err(|_| unreadable("word"))).transpose()
    }

    pub(crate) fn moment(&mut self) -> Result<OffsetDateTime> {
        moment(&self.text()?)
    }

    pub(crate) fn optional_moment(&mut self) -> Result<Option<OffsetDateTime>> {
        self.optional_text()?.map(|text| moment(&text)).transpose()
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        number(self.row, self.column())
    }

    pub(crate) fn optional_number(&mut self) -> Result<Option<u64>> {
        let column = self.column();
        match self.row.get(column) {
            Some(Value::Null) => Ok(None),
            _ => number(self.row, column).map(Some),
        }
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.number()? != 0)
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let json = |text: String| serde_json::from_str(&text).map_err(|_| unreadable("JSON"));
        self.optional_text()?.map(json).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_str(&self.text()?).map_err(|_| unreadable("JSON"))
    }
}
