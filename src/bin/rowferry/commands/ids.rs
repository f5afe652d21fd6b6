//! Ids as they are listed for people, and typed by them.

use std::collections::HashSet;

use rowferry::{Error, ErrorKind};
use uuid::Uuid;

use crate::failure::Failure;

/// The fewest digits that are listed, and that are enough to delete something.
const SHORTEST: usize = 8;

/// An error if so little of an id was typed that it may be a mistyped name: `cafe` ends some id, too. Asked before `what`, which
/// has this id, is deleted or revoked.
pub fn enough(typed: &str, what: &str) -> Result<(), Failure> {
    match typed.chars().filter(char::is_ascii_hexdigit).count() < SHORTEST {
        true => {
            let message = format!("{typed:?} is a part of the id of {what}, but too short to delete or revoke it");
            let hint =
                format!("Give the whole id, or at least {SHORTEST} digits of it. A connection goes by its name, too.");
            Err(Failure::usage(Error::new(ErrorKind::InvalidInput, message).with_hint(hint)))
        }
        false => Ok(()),
    }
}

/// The ends of these ids, as long as they must be to be told apart. Their beginnings are the time, and alike in one pull.
#[derive(Debug)]
pub struct ShortIds(usize);

impl ShortIds {
    pub fn new(ids: impl IntoIterator<Item = Uuid>) -> Self {
        let ids: HashSet<Uuid> = ids.into_iter().collect();
        let is_enough = |length: &usize| {
            let ends: HashSet<String> = ids.iter().map(|id| end(*id, *length)).collect();
            ends.len() == ids.len()
        };
        ShortIds((SHORTEST..32).find(is_enough).unwrap_or(32))
    }

    /// The short form of one of them.
    pub fn of(&self, id: Uuid) -> String {
        end(id, self.0)
    }
}

fn end(id: Uuid, length: usize) -> String {
    let digits = id.simple().to_string();
    digits.get(digits.len().saturating_sub(length)..).unwrap_or(&digits).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_long_as_they_must_be() {
        let id = |number: u128| Uuid::from_u128(number);
        let short = ShortIds::new([id(1), id(2), id(1)]);
        assert_eq!([short.of(id(1)), short.of(id(2))], ["00000001", "00000002"]);
        let far = 7 << 40;
        let short = ShortIds::new([id(1), id(1 + far)]);
        assert_eq!([short.of(id(1)), short.of(id(1 + far))], ["00000000001", "70000000001"]);
        assert_eq!(ShortIds::new([]).of(id(5)), "00000005");
    }
}
