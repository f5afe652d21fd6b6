//! Characters that change how a text reads without being seen.

/// The characters of a text, each with whether it is hidden where it stands: a picture may say that it is one, as an emoji with U+FE0F
/// after it does.
pub(crate) fn chars(text: &str) -> impl Iterator<Item = (char, bool)> + '_ {
    let before = std::iter::once(None).chain(text.chars().map(Some));
    let shows = |before: Option<char>, c: char| c == '\u{fe0f}' && before.is_some_and(is_picture);
    text.chars().zip(before).map(move |(c, before)| (c, is_hidden(c) && !shows(before, c)))
}

/// Whether a text has a hidden character in it.
pub(crate) fn has_hidden(text: &str) -> bool {
    chars(text).any(|(_, hidden)| hidden)
}

/// The first characters of a text, at most this many, with blanks for the hidden ones.
pub(crate) fn without_hidden(text: &str, most: usize) -> String {
    chars(text).take(most).map(|(c, hidden)| if hidden { ' ' } else { c }).collect()
}

/// Whether this is a sign that is drawn as an emoji, or as text, by what stands after it.
fn is_picture(c: char) -> bool {
    matches!(c, '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether a character steers a terminal, turns the direction of writing or takes no room: a text with it reads as another one.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            // Zero-width ones and marks of direction; separators of lines and paragraphs; embeddings and isolates.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            // Selectors of another shape, and tags.
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_all_writings_are_seen() {
        assert!(!has_hidden("Bäckup 1 – ночной 夜 גיבוי نسخ \u{2764}\u{fe0f} 🖥\u{fe0f} e\u{301}"));
        for hidden in [
            "\0",
            "\n",
            "\u{7f}",
            "\u{85}",
            "\u{200b}",
            "\u{200d}",
            "\u{200e}",
            "\u{202e}",
            "\u{2066}",
            "\u{2028}",
            "\u{feff}",
            "\u{ad}",
            "\u{180b}",
            "\u{fe00}",
            "\u{fe0e}",
            "\u{fe0f}",
            "\u{e0100}",
            "\u{e01ef}",
        ] {
            assert!(has_hidden(hidden) && has_hidden(&format!("Nightly{hidden}")), "{hidden:?}");
        }
        assert!(has_hidden("1\u{fe0f}") && has_hidden("\u{2764}\u{fe0f}\u{fe0f}") && has_hidden("\u{2764}\u{fe0e}"));
        assert_eq!(without_hidden("a\u{fe0f}\u{2764}\u{fe0f}b\nc", 5), "a \u{2764}\u{fe0f}b");
    }
}
