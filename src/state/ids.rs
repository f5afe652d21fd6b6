//! Ids by a part of them: nobody likes to type 36 characters.
//!
//! Ids of one pull begin with the same time, so that what tells them apart is their end.

use uuid::Uuid;

use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sql;

/// The fewest digits that stand for an id.
const SHORTEST: usize = 4;

/// Digits of an id, and before how many of them a hyphen stands.
const DIGITS: usize = 32;
const HYPHENS: [usize; 4] = [8, 12, 16, 20];

/// How many ids an error names that a part may stand for.
const NAMED: usize = 5;

/// The id in a table of the state that begins or ends like this; `what` is what its rows are called. `None` if there is no such id, or
/// it is too short for one, or something else.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for a part of several ids.
pub(crate) fn find(sql: &mut dyn Sql, table: &'static str, what: &str, part: &str) -> Result<Option<Uuid>> {
    let Some(digits) = digits(part) else { return Ok(None) };
    let select = format!("SELECT uuid FROM {table} WHERE uuid LIKE ?1 OR uuid LIKE ?2 ORDER BY uuid LIMIT {}", NAMED + 1);
    let begins = format!("{}%", written(&digits, 0));
    let ends = format!("%{}", written(&digits, DIGITS - digits.len()));
    let found = sql.query(&select, &[begins.into(), ends.into()])?;
    let found: Vec<Uuid> = found.iter().map(|row| id(row)).collect::<Result<_>>()?;
    match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => {
            let more = if several.len() > NAMED { ", ..." } else { "" };
            let named: Vec<String> = several.iter().take(NAMED).map(Uuid::to_string).collect();
            let message =
                format!("several {what}s have an id that begins or ends with {part:?}: {}{more}", named.join(", "));
            Err(Error::new(ErrorKind::InvalidInput, message).with_hint("Give more of it."))
        }
    }
}

fn id(row: &[Value]) -> Result<Uuid> {
    let text = super::text(row, 0)?;
    Uuid::parse_str(&text).map_err(|error| {
        Error::new(ErrorKind::Database, format!("the id {text:?} in the database cannot be read: {error}"))
            .with_source(error)
    })
}

/// The digits of what may be a part of an id, in lower case.
fn digits(part: &str) -> Option<String> {
    let digits = part.trim().replace('-', "").to_ascii_lowercase();
    let is_part = (SHORTEST..=DIGITS).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_part.then_some(digits)
}

/// Digits with their hyphens, the first of them being the one at this place of the id.
fn written(digits: &str, first: usize) -> String {
    let mut text = String::with_capacity(digits.len() + HYPHENS.len());
    for (at, digit) in (first..).zip(digits.chars()) {
        if at > first && HYPHENS.contains(&at) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_ids_are() {
        let id = "0199c2f8-0000-7000-8000-00000000abcd";
        let all = id.replace('-', "");
        for length in SHORTEST..=DIGITS {
            assert!(id.starts_with(&written(&all[..length], 0)), "{length}");
            assert!(id.ends_with(&written(&all[DIGITS - length..], DIGITS - length)), "{length}");
        }
    }

    #[test]
    fn what_is_no_part_is_none() {
        assert_eq!(digits(" 0199C2F8-00 ").as_deref(), Some("0199c2f800"));
        for none in ["", "abc", "a-b-c", "users", "%%%%", "0199c2f8-0000-7000-8000-00000000abcd0"] {
            assert_eq!(digits(none), None, "{none}");
        }
    }
}
