//! New UUIDs in the form of old ones.

use uuid::Uuid;

use crate::domain::value::Value;

/// A new UUID in the form of this one: 16 bytes, or text with or without hyphens, in braces, or as a URN; in capitals if the old one
/// is. `None` if this is no UUID.
pub(super) fn new_uuid(old: &Value) -> Option<Value> {
    let new = Uuid::now_v7();
    match old {
        Value::Blob(bytes) if bytes.len() == 16 => Some(Value::Blob(new.as_bytes().to_vec())),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).ok()?;
            Uuid::try_parse(text).ok()?;
            let new = match text.len() {
                32 => new.simple().to_string(),
                36 => new.hyphenated().to_string(),
                38 => new.braced().to_string(),
                45 => new.urn().to_string(),
                _ => return None,
            };
            let in_capitals = text.bytes().any(|b| b.is_ascii_uppercase()) && !text.bytes().any(|b| b.is_ascii_lowercase());
            Some(if in_capitals { new.to_ascii_uppercase() } else { new }.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_uuid_has_the_form_of_the_old_one() {
        let new = |old: &str| new_uuid(&old.into()).and_then(|new| new.as_str().map(str::to_owned));
        for old in [
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67E55044-10B1-426F-9247-BB680E5FE0C8",
            "{67E55044-10B1-426F-9247-BB680E5FE0C8}",
        ] {
            let new = new(old).unwrap();
            let form = |text: &str| text.split(|c: char| c.is_ascii_hexdigit()).collect::<String>();
            assert_eq!((new.len(), form(&new)), (old.len(), form(old)));
            let capitals = |text: &str| !text.bytes().any(|b| b.is_ascii_lowercase());
            assert_eq!(capitals(&new), capitals(old), "{new}");
            assert_eq!(Uuid::try_parse(&new).unwrap().get_version_num(), 7);
        }
        for other in ["not-a-uuid", "", "{67e55044}", "67e55044-10b1-426f-9247-bb680e5fe0c"] {
            assert_eq!(new(other), None, "{other}");
        }
        assert!(matches!(new_uuid(&Value::Blob(vec![1; 16])), Some(Value::Blob(new)) if new.len() == 16));
        assert_eq!(new_uuid(&5.into()), None);
    }
}
