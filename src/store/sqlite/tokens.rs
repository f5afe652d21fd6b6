//! The words of SQL as SQLite cuts them (its `tokenize.c`), for what is read of texts that SQLite itself has accepted.

/// A piece of SQL that means something: no spaces, no comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name or keyword without quotes.
    Word(&'t str),
    /// A name or string in quotes, with them: `"..."`, `'...'`, `` `...` `` or `[...]`.
    Quoted(&'t str),
    /// A number, without a sign.
    Number(&'t str),
    /// `x'...'`.
    Blob(&'t str),
    /// Any other character.
    Sign(char),
}

impl<'t> Token<'t> {
    /// Whether it is this keyword. In quotes it would be a name.
    pub(super) fn is(self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// What it names, or the content of the string, without quotes.
    pub(super) fn name(self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_owned()),
            Token::Quoted(text) => unquoted(text),
            _ => None,
        }
    }
}

/// What is in quotes; those within are doubled there.
fn unquoted(text: &str) -> Option<String> {
    let open = text.chars().next()?;
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    Some(match open {
        '[' => inner.to_owned(),
        quote => inner.replace(&format!("{quote}{quote}"), &quote.to_string()),
    })
}

/// The tokens of a text; `None` if there is something in it that is none.
pub(super) fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\n' | '\r' | '\u{c}' | '\u{feff}' => {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            '-' if rest.starts_with("--") => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                continue;
            }
            // One that does not end takes all that follows.
            '/' if rest.starts_with("/*") && rest.len() > 2 => {
                rest = rest[2..].split_once("*/").map_or("", |(_, after)| after);
                continue;
            }
            '\'' | '"' | '`' => quoted_length(rest, first)?,
            '[' => rest.find(']')? + 1,
            'x' | 'X' if rest[1..].starts_with('\'') => 1 + quoted_length(&rest[1..], '\'')?,
            _ if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) => {
                number_length(rest)
            }
            _ if is_name_part(first) => rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()),
            _ if first.is_ascii_graphic() => 1,
            _ => return None,
        };
        let (token, after) = rest.split_at(length);
        found.push(match first {
            '\'' | '"' | '`' | '[' => Token::Quoted(token),
            'x' | 'X' if token.ends_with('\'') => Token::Blob(token),
            _ if token.starts_with(|c: char| c.is_ascii_digit()) || (first == '.' && length > 1) => Token::Number(token),
            _ if is_name_part(first) => Token::Word(token),
            sign => Token::Sign(sign),
        });
        rest = after;
    }
    Some(found)
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of what stands in quotes at the beginning of a text, with them.
fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find(quote)? + 1;
        if !text[at..].starts_with(quote) {
            return Some(at);
        }
        at += 1;
    }
}

fn number_length(text: &str) -> usize {
    let is_hex = text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let mut before = ' ';
    let is_part = |c: char, before: char| {
        let is_exponent = !is_hex && matches!(before, 'e' | 'E');
        is_name_part(c) || c == '.' || (is_exponent && matches!(c, '+' | '-'))
    };
    text.find(|c| !is_part(c, std::mem::replace(&mut before, c))).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_as_sqlite_does() {
        let text = "a-- b\n/* c */\"d\"\"e\"[f]g]`h``i`'j''k'x'00'.5e-3+0x1F,$1 1_000/**/ünï\u{feff}/* no end";
        let found = tokens(text).unwrap();
        assert_eq!(
            found,
            [
                Token::Word("a"),
                Token::Quoted("\"d\"\"e\""),
                Token::Quoted("[f]"),
                Token::Word("g"),
                Token::Sign(']'),
                Token::Quoted("`h``i`"),
                Token::Quoted("'j''k'"),
                Token::Blob("x'00'"),
                Token::Number(".5e-3"),
                Token::Sign('+'),
                Token::Number("0x1F"),
                Token::Sign(','),
                Token::Word("$1"),
                Token::Number("1_000"),
                Token::Word("ünï\u{feff}"),
            ]
        );
        let names: Vec<_> = found.iter().filter_map(|token| token.name()).collect();
        assert_eq!(names, ["a", "d\"e", "f", "g", "h`i", "j'k", "$1", "ünï\u{feff}"]);
        assert!(Token::Word("Check").is("CHECK") && !Token::Quoted("\"check\"").is("CHECK"));
    }

    #[test]
    fn what_does_not_end_or_is_no_sql_is_said() {
        for text in ["'a", "\"a\"\"", "`", "[a", "x'0", "a\0", "\u{1}", "\u{7f}"] {
            assert_eq!(tokens(text), None, "{text:?}");
        }
        assert_eq!(tokens(" \n-- c"), Some(Vec::new()));
        assert_eq!(tokens("/*"), Some(vec![Token::Sign('/'), Token::Sign('*')]));
        assert_eq!(tokens("''"), Some(vec![Token::Quoted("''")]));
        assert_eq!(Token::Quoted("''").name().unwrap(), "");
    }
}
