//! Keys as the unique indexes of rowferry's own tables hold them: a store may have a bound for those.

use sha2::{Digest as _, Sha256};

use crate::domain::value::Value;

/// The first byte of a digest. No key begins with it.
const DIGEST: u8 = 0xff;

/// The bytes of a key, or the digest of one that is longer than an index holds.
pub(super) fn indexed(key: &[u8], longest: usize) -> Value {
    if key.len() <= longest {
        return Value::Blob(key.to_vec());
    }
    let mut digest = vec![DIGEST];
    digest.extend_from_slice(&Sha256::digest(key));
    Value::Blob(digest)
}

/// Whether this is the digest of a key.
#[cfg(all(feature = "client", feature = "server"))]
pub(super) fn is_digest(key: &[u8]) -> bool {
    key.first() == Some(&DIGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cells::encode;

    #[test]
    fn a_digest_is_no_key() {
        let key = encode([Value::from("x".repeat(50)).as_ref()]);
        assert_eq!(indexed(&key, key.len()), Value::Blob(key.clone()));
        let Value::Blob(digest) = indexed(&key, key.len() - 1) else { panic!() };
        assert_eq!((digest.len(), digest[0]), (33, DIGEST));
        let values = [Value::Null, 1.into(), (-1).into(), 1.5.into(), "a".into(), Value::Blob(vec![0xff])];
        assert!(values.iter().all(|value| encode([value.as_ref()])[0] != DIGEST));
    }
}
