//! Places in a table that are given to the receiver of a named pull, signed: with one of them a receiver that comes back proves how
//! far which download was, however little of that this site has written down.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::value::Value;
use crate::secret::{self, SiteKey, hex};
use crate::store::Cursor;
use crate::wire::native::Place;

/// Set in the run of a place that is signed. The store numbers few runs, from 0 on.
const SIGNED: u8 = 0x80;

/// A place as the receiver gave it back.
#[derive(Debug, Clone)]
pub(crate) struct GivenPlace {
    /// Where the store reads on.
    pub(crate) cursor: Cursor,
    /// The digest of the place.
    pub(super) digest: String,
    /// How many records of the table are before it, as its signature says, which is yet to be checked.
    signed: Option<(u64, Vec<u8>)>,
}

/// The place after the `position`th record of a download.
pub(crate) fn sign(key: &SiteKey, transfer: Uuid, position: u64, cursor: &Cursor) -> Option<Place> {
    let tag = tag(key, transfer, position, cursor)?;
    let mut values = cursor.values.clone();
    values.push(Value::Integer(i64::try_from(position).ok()?));
    values.push(Value::Blob(tag.to_vec()));
    Some(Place { run: cursor.run | SIGNED, values })
}

impl GivenPlace {
    /// Takes a place apart, as it is given with or without a name.
    pub(crate) fn new(place: Place) -> Self {
        let digest = hex(&Sha256::digest(place.encode().unwrap_or_default()));
        let Place { run, mut values } = place;
        if run & SIGNED == 0 {
            return GivenPlace { cursor: Cursor { run, values }, digest, signed: None };
        }
        let signed = match values.split_off(values.len().saturating_sub(2)).as_mut_slice() {
            [Value::Integer(position), Value::Blob(tag)] => {
                u64::try_from(*position).ok().map(|position| (position, std::mem::take(tag)))
            }
            _ => None,
        };
        GivenPlace { cursor: Cursor { run: run & !SIGNED, values }, digest, signed }
    }

    /// How many records are before it, if it is a place of this download.
    pub(super) fn position(&self, key: &SiteKey, transfer: Uuid) -> Option<u64> {
        let (position, given) = self.signed.as_ref()?;
        let tag = tag(key, transfer, *position, &self.cursor)?;
        secret::equal(&tag, given).then_some(*position)
    }
}

fn tag(key: &SiteKey, transfer: Uuid, position: u64, cursor: &Cursor) -> Option<[u8; 16]> {
    let mut signed = transfer.as_bytes().to_vec();
    signed.extend_from_slice(&position.to_le_bytes());
    signed.extend(Place { run: cursor.run, values: cursor.values.clone() }.encode()?);
    Some(key.place_tag(&signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_the_same_download_are_proof() {
        let (key, transfer) = (SiteKey::from_bytes([7; 32]), Uuid::new_v4());
        let cursor = Cursor { run: 1, values: vec![Value::Integer(5), Value::from("x")] };
        let place = sign(&key, transfer, 500, &cursor).unwrap();
        let given = GivenPlace::new(place.clone());
        assert_eq!((given.cursor.clone(), given.position(&key, transfer)), (cursor.clone(), Some(500)));
        assert_eq!(given.position(&key, Uuid::new_v4()), None);
        assert_eq!(given.position(&SiteKey::from_bytes([8; 32]), transfer), None);
        let changed = |change: &dyn Fn(&mut Place)| {
            let mut other = place.clone();
            change(&mut other);
            GivenPlace::new(other).position(&key, transfer)
        };
        assert_eq!(changed(&|place| place.values[0] = Value::Integer(4)), None);
        assert_eq!(changed(&|place| place.values[2] = Value::Integer(499)), None);
        assert_eq!(changed(&|place| place.run = 0x82), None);
        // One without a signature is where the store reads on, and proves nothing.
        let plain = GivenPlace::new(Place { run: 1, values: cursor.values.clone() });
        assert_eq!((plain.cursor.clone(), plain.position(&key, transfer)), (cursor, None));
        // What nobody made is no panic.
        for values in [vec![], vec![Value::Null], vec![Value::Null, Value::Integer(-1), Value::Blob(vec![])]] {
            assert_eq!(GivenPlace::new(Place { run: 0xff, values }).position(&key, transfer), None);
        }
    }
}
