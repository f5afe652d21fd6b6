//! Places in a table that are given to the receiver of a named pull, signed: with one of them a receiver that comes back proves how
//! far which download was, however little of that this site has written down.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::row_sum::RowSum;
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
    /// The sum over these records, with its own signature, which is yet to be checked.
    summed: Option<(u128, Vec<u8>)>,
}

/// Bytes of a signature, and of the sum over the records before a place.
const TAG: usize = 16;
const SUM: usize = 16;

/// The place after the `position`th record of a download. Where records are summed, it has the sum of those before it, for the pull
/// of this name: also a new download of the same pull may begin there.
pub(crate) fn sign(
    key: &SiteKey,
    transfer: Uuid,
    position: u64,
    cursor: &Cursor,
    sum: Option<(Uuid, RowSum)>,
) -> Option<Place> {
    let mut signature = tag(key, transfer, position, cursor)?.to_vec();
    if let Some((pull, RowSum { sum, .. })) = sum.filter(|(_, sum)| sum.rows == position) {
        signature.extend_from_slice(&sum.to_le_bytes());
        signature.extend_from_slice(&sum_tag(key, pull, (position, sum), cursor)?);
    }
    let mut values = cursor.values.clone();
    values.push(Value::Integer(i64::try_from(position).ok()?));
    values.push(Value::Blob(signature));
    Some(Place { run: cursor.run | SIGNED, values })
}

impl GivenPlace {
    /// Takes a place apart, as it is given with or without a name.
    pub(crate) fn new(place: Place) -> Self {
        let digest = hex(&Sha256::digest(place.encode().unwrap_or_default()));
        let Place { run, mut values } = place;
        if run & SIGNED == 0 {
            return GivenPlace { cursor: Cursor { run, values }, digest, signed: None, summed: None };
        }
        let (mut signed, mut summed) = (None, None);
        if let [Value::Integer(position), Value::Blob(signature)] =
            values.split_off(values.len().saturating_sub(2)).as_mut_slice()
        {
            let mut tag = std::mem::take(signature);
            let rest = tag.split_off(tag.len().min(TAG));
            summed = rest.split_first_chunk::<SUM>().map(|(sum, tag)| (u128::from_le_bytes(*sum), tag.to_vec()));
            // What is longer and has no sum is nobody's signature.
            signed = u64::try_from(*position).ok().filter(|_| rest.is_empty() || summed.is_some()).map(|at| (at, tag));
        }
        GivenPlace { cursor: Cursor { run: run & !SIGNED, values }, digest, signed, summed }
    }

    /// How many records are before it, and the sum over them, if it was given to the pull of this name.
    pub(crate) fn sum(&self, key: &SiteKey, pull: Uuid) -> Option<RowSum> {
        let (position, _) = self.signed.as_ref()?;
        let (sum, given) = self.summed.as_ref()?;
        let tag = sum_tag(key, pull, (*position, *sum), &self.cursor)?;
        secret::equal(&tag, given).then_some(RowSum { rows: *position, sum: *sum })
    }

    /// How many records are before it, if it is a place of this download.
    pub(super) fn position(&self, key: &SiteKey, transfer: Uuid) -> Option<u64> {
        let (position, given) = self.signed.as_ref()?;
        let tag = tag(key, transfer, *position, &self.cursor)?;
        secret::equal(&tag, given).then_some(*position)
    }
}

fn tag(key: &SiteKey, transfer: Uuid, position: u64, cursor: &Cursor) -> Option<[u8; TAG]> {
    let mut signed = transfer.as_bytes().to_vec();
    signed.extend_from_slice(&position.to_le_bytes());
    signed.extend(Place { run: cursor.run, values: cursor.values.clone() }.encode()?);
    Some(key.place_tag(&signed))
}

/// The receiver chooses the name of its pull: what is signed here begins as no id of a transfer does, which are made from the time.
fn sum_tag(key: &SiteKey, pull: Uuid, (position, sum): (u64, u128), cursor: &Cursor) -> Option<[u8; TAG]> {
    let mut signed = b"\xffsum of a pull".to_vec();
    signed.extend_from_slice(pull.as_bytes());
    signed.extend_from_slice(&position.to_le_bytes());
    signed.extend_from_slice(&sum.to_le_bytes());
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
        let place = sign(&key, transfer, 500, &cursor, None).unwrap();
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

    #[test]
    fn a_sum_is_of_the_pull_that_it_was_given_to() {
        let (key, transfer, pull) = (SiteKey::from_bytes([7; 32]), Uuid::new_v4(), Uuid::new_v4());
        let cursor = Cursor { run: 0, values: vec![Value::Integer(5)] };
        let sum = RowSum { rows: 500, sum: 0xabcd };
        let place = sign(&key, transfer, 500, &cursor, Some((pull, sum))).unwrap();
        let given = GivenPlace::new(place.clone());
        assert_eq!((given.position(&key, transfer), given.sum(&key, pull)), (Some(500), Some(sum)));
        assert_eq!((given.position(&key, Uuid::new_v4()), given.sum(&key, pull)), (None, Some(sum)), "a new download");
        assert_eq!(given.sum(&key, Uuid::new_v4()), None);
        assert_eq!(given.sum(&SiteKey::from_bytes([8; 32]), pull), None);
        // One byte of the sum, of its signature, of the download's, one more, one fewer.
        let bent = |bend: &dyn Fn(&mut Vec<u8>)| {
            let mut place = place.clone();
            let Some(Value::Blob(signature)) = place.values.last_mut() else { panic!("a place is signed") };
            bend(signature);
            let given = GivenPlace::new(place);
            (given.position(&key, transfer), given.sum(&key, pull))
        };
        assert_eq!(bent(&|bytes| bytes[20] ^= 1), (Some(500), None));
        assert_eq!(bent(&|bytes| bytes[40] ^= 1), (Some(500), None));
        assert_eq!(bent(&|bytes| bytes[3] ^= 1), (None, Some(sum)));
        assert_eq!(bent(&|bytes| bytes.push(0)), (Some(500), None));
        assert_eq!(bent(&|bytes| bytes.truncate(20)), (None, None));
        // One of another number of records is none of this place.
        let other = sign(&key, transfer, 499, &cursor, Some((pull, sum))).unwrap();
        assert_eq!(GivenPlace::new(other).sum(&key, pull), None);
    }
}
