//! A short stand-in for the content of a row.

use sha2::{Digest, Sha256};

use super::value::ValueRef;

/// Sixteen bytes of SHA-256 over the storage classes and bytes of a row's values: rows of the same digest are the same.
#[derive(Clone, Default)]
pub struct RowDigest(Sha256);

impl RowDigest {
    /// The digest of no values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a name, such as a column's.
    pub fn name(&mut self, name: &str) {
        self.tagged(b'n', name.as_bytes());
    }

    /// Takes in a value.
    pub fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.update([b'0']),
            ValueRef::Integer(v) => self.tagged(b'i', &v.to_be_bytes()),
            ValueRef::Real(v) => self.tagged(b'r', &v.to_bits().to_be_bytes()),
            ValueRef::Text(v) => self.tagged(b't', v),
            ValueRef::Blob(v) => self.tagged(b'b', v),
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> [u8; 16] {
        let full = self.0.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(values: &[ValueRef<'_>]) -> [u8; 16] {
        let mut digest = RowDigest::new();
        values.iter().for_each(|value| digest.value(*value));
        digest.finish()
    }

    #[test]
    fn classes_and_borders_of_values_count() {
        let one = [ValueRef::Integer(1), ValueRef::Real(1.0), ValueRef::Text(b"1"), ValueRef::Blob(b"1"), ValueRef::Null];
        for (at, a) in one.iter().enumerate() {
            for (other, b) in one.iter().enumerate() {
                assert_eq!(digest(&[*a]) == digest(&[*b]), at == other);
            }
        }
        assert_ne!(
            digest(&[ValueRef::Text(b"ab"), ValueRef::Text(b"c")]),
            digest(&[ValueRef::Text(b"a"), ValueRef::Text(b"bc")])
        );
        assert_ne!(digest(&[ValueRef::Real(0.0)]), digest(&[ValueRef::Real(-0.0)]));
    }
}
