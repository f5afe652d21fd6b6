//! Terms of Elixir as its `inspect` writes them: what a sender of PhoenixKit sends of values that its JSON has no form for.

/// A term.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term<'t> {
    /// `nil`, `true`, `:unbound`, without the colon.
    Atom(&'t str),
    /// Digits as they stand, with a sign, a point or an exponent.
    Number(&'t str),
    /// The content of a string.
    Text(String),
    Tuple(Vec<Term<'t>>),
    List(Vec<Term<'t>>),
    /// `%Postgrex.Point{x: 1.5, y: 2.0}`
    Struct(&'t str, Vec<(&'t str, Term<'t>)>),
    /// `~D[2024-05-06]`: the letter and what stands in the brackets.
    Sigil(char, &'t str),
    /// `<<160, 5::size(3)>>`: each number and of how many bits it is.
    Bits(Vec<(u8, u8)>),
}

/// How deep terms may be in each other.
const DEPTH: u32 = 8;

impl<'t> Term<'t> {
    /// Reads a whole text; `None` if it is no term that is known here, or was cut short (`inspect` writes `...` then).
    pub(super) fn read(text: &'t str) -> Option<Term<'t>> {
        let mut reader = Reader(text);
        let term = reader.term(DEPTH)?;
        reader.0.is_empty().then_some(term)
    }

    /// The field of a struct.
    pub(super) fn field(&self, name: &str) -> Option<&Term<'t>> {
        match self {
            Term::Struct(_, fields) => fields.iter().find(|(known, _)| *known == name).map(|(_, term)| term),
            _ => None,
        }
    }

    /// Whole numbers of any size that fits.
    pub(super) fn integer<N: std::str::FromStr>(&self) -> Option<N> {
        match self {
            Term::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub(super) fn tuple(&self) -> Option<&[Term<'t>]> {
        match self {
            Term::Tuple(terms) => Some(terms),
            _ => None,
        }
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<&[Term<'t>]> {
        match self {
            Term::List(terms) => Some(terms),
            _ => None,
        }
    }
}

/// What is left to be read.
struct Reader<'t>(&'t str);

impl<'t> Reader<'t> {
    fn takes(&mut self, token: &str) -> bool {
        self.0.strip_prefix(token).map(|rest| self.0 = rest).is_some()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> Option<&'t str> {
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        (!taken.is_empty()).then_some(taken)
    }

    fn term(&mut self, depth: u32) -> Option<Term<'t>> {
        let depth = depth.checked_sub(1)?;
        match self.0.chars().next()? {
            '%' => self.structure(depth),
            '{' => self.takes("{").then(|| self.until("}", |reader| reader.term(depth)))?.map(Term::Tuple),
            '[' => self.takes("[").then(|| self.until("]", |reader| reader.term(depth)))?.map(Term::List),
            '<' => self.takes("<<").then(|| self.until(">>", Reader::bits))?.map(Term::Bits),
            '"' => self.string().map(Term::Text),
            '~' => self.sigil(),
            'D' => self.decimal(),
            '-' | '0'..='9' => self.take_while(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)).map(Term::Number),
            _ => {
                self.takes(":");
                self.take_while(is_word).map(Term::Atom)
            }
        }
    }

    /// Parts with `, ` between them up to the token.
    fn until<T>(&mut self, end: &str, mut part: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut parts = Vec::new();
        while !self.takes(end) {
            if !parts.is_empty() && !self.takes(", ") {
                return None;
            }
            parts.push(part(self)?);
        }
        Some(parts)
    }

    fn structure(&mut self, depth: u32) -> Option<Term<'t>> {
        self.takes("%");
        let name = self.take_while(|c| is_word(c) || c == '.')?;
        if !self.takes("{") {
            return None;
        }
        let field = |reader: &mut Self| {
            let name = reader.take_while(is_word)?;
            reader.takes(": ").then(|| reader.term(depth))?.map(|term| (name, term))
        };
        self.until("}", field).map(|fields| Term::Struct(name, fields))
    }

    fn string(&mut self) -> Option<String> {
        self.takes("\"");
        let mut text = String::new();
        loop {
            let c = self.0.chars().next()?;
            self.0 = self.0.get(c.len_utf8()..)?;
            match c {
                '"' => return Some(text),
                '\\' => {
                    let escaped = self.0.chars().next()?;
                    self.0 = self.0.get(escaped.len_utf8()..)?;
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        '"' | '\\' | '#' => escaped,
                        // Those of control characters, which no known value has.
                        _ => return None,
                    });
                }
                c => text.push(c),
            }
        }
    }

    fn sigil(&mut self) -> Option<Term<'t>> {
        self.takes("~");
        let letter = self.take_while(|c| c.is_ascii_uppercase())?;
        let inside = self.takes("[").then(|| self.take_while(|c| c != ']'))??;
        self.takes("]").then_some(Term::Sigil(letter.chars().next()?, inside))
    }

    /// `Decimal.new("1.50")`, in old versions `#Decimal<1.50>`, which is no value of a known one.
    fn decimal(&mut self) -> Option<Term<'t>> {
        let number = self.takes("Decimal.new(\"").then(|| self.take_while(|c| c != '"'))??;
        self.takes("\")").then_some(Term::Number(number))
    }

    fn bits(&mut self) -> Option<(u8, u8)> {
        let byte = self.take_while(|c| c.is_ascii_digit())?.parse().ok()?;
        if !self.takes("::size(") {
            return Some((byte, 8));
        }
        let size = self.take_while(|c| c.is_ascii_digit())?.parse().ok()?;
        (self.takes(")") && (1..=8).contains(&size)).then_some((byte, size))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_whole_or_not_at_all() {
        let point = Term::Struct("Postgrex.Point", vec![("x", Term::Number("1.5")), ("y", Term::Number("-2.0e-3"))]);
        assert_eq!(Term::read("%Postgrex.Point{x: 1.5, y: -2.0e-3}"), Some(point));
        assert_eq!(
            Term::read(r#"{1, "a\"b", nil, :unbound}"#),
            Some(Term::Tuple(vec![Term::Number("1"), Term::Text("a\"b".into()), Term::Atom("nil"), Term::Atom("unbound"),]))
        );
        assert_eq!(Term::read("<<160, 5::size(3)>>"), Some(Term::Bits(vec![(160, 8), (5, 3)])));
        assert_eq!(Term::read("~D[2024-05-06]"), Some(Term::Sigil('D', "2024-05-06")));
        assert_eq!(Term::read("[]"), Some(Term::List(vec![])));
        assert_eq!(Term::read("Decimal.new(\"1.50\")"), Some(Term::Number("1.50")));
        for broken in [
            "",
            "%",
            "%A",
            "%A{",
            "%A{x}",
            "%A{x: }",
            "%A{x: 1",
            "%A{x: 1,y: 2}",
            "%A{x: 1} ",
            "{1, ...}",
            "[1, 2",
            "\"x",
            "\"x\" <> ...",
            "<<256>>",
            "<<1::size(0)>>",
            "<<1::size(9)>>",
            "~D[",
            "~D",
            "Decimal",
            "ř",
            &"[".repeat(100_000),
        ] {
            assert_eq!(Term::read(broken), None, "{broken:.40}");
        }
    }
}
