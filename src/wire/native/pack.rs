//! Compression of pages: LZ4 blocks, where they pay.

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::frame::Fault;

/// What is smaller is not worth the effort.
const SMALLEST: usize = 512;
/// What is larger is a few large values: compressing them would hold them in memory once more.
const LARGEST: usize = 8 << 20;
/// Pages that go by at most before compression is tried again.
const LONGEST_WAIT: u32 = 63;

/// Decides from page to page whether to compress: it continues while that pays. When it does not, it lets more and more pages by
/// before it tries again.
#[derive(Debug)]
pub(super) struct Packer {
    wanted: bool,
    /// Pages to let by, after the last failure.
    wait: u32,
    /// How many of them are left.
    left: u32,
    scratch: Vec<u8>,
}

impl Packer {
    pub(super) fn new(wanted: bool) -> Self {
        Packer { wanted, wait: 0, left: 0, scratch: Vec::new() }
    }

    /// The compressed form of a page's rows, if that saves at least an eighth.
    pub(super) fn pack(&mut self, raw: &[u8]) -> Option<&[u8]> {
        if !self.wanted || !(SMALLEST..=LARGEST).contains(&raw.len()) {
            return None;
        }
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        let room = get_maximum_output_size(raw.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        match compress_into(raw, &mut self.scratch) {
            Ok(length) if length <= raw.len() - raw.len() / 8 => {
                self.wait = 0;
                Some(&self.scratch[..length])
            }
            _ => {
                self.wait = (self.wait * 2 + 1).min(LONGEST_WAIT);
                self.left = self.wait;
                None
            }
        }
    }
}

/// Decompresses a block, which must give exactly `raw` bytes, onto the end of `out`.
pub(super) fn unpack(packed: &[u8], raw: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    // LZ4 says at most 255 bytes by one. So a small message never takes much memory.
    if raw / 255 > packed.len() {
        return Err(Fault::Protocol("no compression is that good"));
    }
    let start = out.len();
    out.resize(start + raw, 0);
    match decompress_into(packed, &mut out[start..]) {
        Ok(length) if length == raw => Ok(()),
        _ => Err(Fault::Protocol("its rows cannot be decompressed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_not_taken_for_what_cannot_be() {
        let mut out = Vec::new();
        assert!(unpack(&[0; 10], usize::MAX, &mut out).is_err());
        assert!(unpack(&[0; 10], 11 * 255, &mut out).is_err());
        assert_eq!(out.capacity(), 0);
        // The best that there is.
        let raw = vec![7; 1 << 20];
        let packed = lz4_flex::block::compress(&raw);
        unpack(&packed, raw.len(), &mut out).unwrap();
        assert_eq!(out, raw);
    }
}
