//! Where a WebSocket message is cut into frames.

use std::ops::Range;

/// The most bytes of text in one frame to a peer of PhoenixKit, whose time is quadratic in the size of a frame and not of a
/// message: 6 MB take 33 s in one frame and 0.4 s in these.
pub const TEXT_FRAGMENT_BYTES: usize = 64 << 10;

/// The parts of a message of at most `most` bytes each, at least one. A character of text is in one part: some readers check each.
pub fn fragments(message: &[u8], most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(0_usize);
    std::iter::from_fn(move || {
        let from = next?;
        let mut to = message.len().min(from.saturating_add(most.max(1)));
        // The bytes of a character after its first one; there are three at most.
        let inside = |at: &usize| message.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
        to = (to.saturating_sub(3).max(from + 1)..=to).rev().find(|at| !inside(at)).unwrap_or(to);
        next = (to < message.len()).then_some(to);
        Some(from..to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(message: &str, most: usize) -> Vec<String> {
        fragments(message.as_bytes(), most).map(|part| String::from_utf8_lossy(&message.as_bytes()[part]).into()).collect()
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(cut("", 4), [""]);
        assert_eq!(cut("abcd", 4), ["abcd"]);
        assert_eq!(cut("abcde", 4), ["abcd", "e"]);
        assert_eq!(cut("abcř", 4), ["abc", "ř"]);
        assert_eq!(cut("a😀b😀", 4), ["a", "😀", "b", "😀"]);
        assert_eq!(cut("a😀b", 5), ["a😀", "b"]);
    }

    #[test]
    fn what_is_no_text_is_cut_all_the_same() {
        let bytes = [0xBF; 10];
        assert_eq!(fragments(&bytes, 4).collect::<Vec<_>>(), [0..4, 4..8, 8..10]);
        assert_eq!(fragments(&bytes, 0).count(), 10);
    }
}
