//! Values of Postgres types that a sender of PhoenixKit sends as terms of Elixir, and the text that Postgres itself has for
//! them. Which they are is known from the column's declared type: a text that happens to look like a term stays what it is.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::elixir::Term;

/// What a string in a column of this type stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Meant {
    /// Itself.
    Itself,
    /// This.
    Text(String),
    /// A term of which no text is known.
    Unknown,
}

/// What a string in a column of this declared type of Postgres, which is none of those that have a counterpart here, stands for.
pub(super) fn meant(declared: &str, text: &str) -> Meant {
    let name = declared.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
    if matches!(&*name, "bit" | "bit varying" | "varbit") {
        return bits(text);
    }
    let is_term = text.strip_prefix('%').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    if !is_term {
        return Meant::Itself;
    }
    Term::read(text).and_then(|term| of_term(&name, &term)).map_or(Meant::Unknown, Meant::Text)
}

/// The text of a `tsvector`, which comes as an array of terms.
pub(super) fn tsvector(lexemes: &[&str]) -> Option<String> {
    let mut out = String::new();
    for lexeme in lexemes {
        let term = Term::read(lexeme)?;
        let Term::Text(word) = named(&term, "Lexeme")?.field("word")? else { return None };
        let space = if out.is_empty() { "" } else { " " };
        write!(out, "{space}'{}'", word.replace('\\', "\\\\").replace('\'', "''")).ok()?;
        for (at, position) in term.field("positions")?.list()?.iter().enumerate() {
            let [place, Term::Atom(weight)] = position.tuple()? else { return None };
            let weight = if matches!(*weight, "nil" | "D") { "" } else { weight };
            write!(out, "{}{}{weight}", if at == 0 { ":" } else { "," }, place.integer::<u32>()?).ok()?;
        }
    }
    Some(out)
}

/// Bits come as such a term unless they fill whole bytes: then these come as they are.
fn bits(text: &str) -> Meant {
    let parts = match (text.ends_with(")>>"), text.starts_with("<<")) {
        (true, true) => match Term::read(text) {
            Some(Term::Bits(parts)) => parts,
            _ => return Meant::Unknown,
        },
        _ => return Meant::Text(bits_of_bytes(text.as_bytes())),
    };
    let mut out = String::new();
    for (value, size) in parts {
        for bit in (0..size).rev() {
            out.push(if value >> bit & 1 == 1 { '1' } else { '0' });
        }
    }
    Meant::Text(out)
}

/// The bits of whole bytes.
pub(super) fn bits_of_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:08b}")).collect()
}

/// Whether the values of a declared type are bits.
pub(super) fn is_bits(declared: &str) -> bool {
    matches!(meant(declared, ""), Meant::Text(_))
}

/// A struct of this name of the database driver.
fn named<'a, 't>(term: &'a Term<'t>, name: &str) -> Option<&'a Term<'t>> {
    match term {
        Term::Struct(known, _) if known.strip_prefix("Postgrex.") == Some(name) => Some(term),
        _ => None,
    }
}

fn of_term(declared: &str, term: &Term<'_>) -> Option<String> {
    let Term::Struct(name, _) = term else { return None };
    match name.strip_prefix("Postgrex.")? {
        "INET" => inet(term, declared == "cidr"),
        "MACADDR" => macaddr(term),
        "Interval" => interval(term),
        "Range" => range(term),
        "Multirange" => {
            let ranges = term.field("ranges")?.list()?.iter().map(range).collect::<Option<Vec<_>>>()?;
            Some(format!("{{{}}}", ranges.join(",")))
        }
        "Point" => point(term),
        "Line" => {
            let [a, b, c] = ["a", "b", "c"].map(|name| term.field(name).and_then(float));
            Some(format!("{{{},{},{}}}", a?, b?, c?))
        }
        "LineSegment" => Some(format!("[{},{}]", point(term.field("point1")?)?, point(term.field("point2")?)?)),
        "Box" => Some(format!("{},{}", point(term.field("upper_right")?)?, point(term.field("bottom_left")?)?)),
        "Path" => match term.field("open")? {
            Term::Atom("true") => Some(format!("[{}]", points(term.field("points")?)?)),
            Term::Atom("false") => Some(format!("({})", points(term.field("points")?)?)),
            _ => None,
        },
        "Polygon" => Some(format!("({})", points(term.field("vertices")?)?)),
        "Circle" => Some(format!("<{},{}>", point(term.field("center")?)?, float(term.field("radius")?)?)),
        _ => None,
    }
}

fn inet(term: &Term<'_>, is_cidr: bool) -> Option<String> {
    let parts = term.field("address")?.tuple()?;
    let (address, most) = match parts.len() {
        4 => {
            let bytes = parts.iter().map(Term::integer).collect::<Option<Vec<u8>>>()?;
            (Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(), 32)
        }
        8 => {
            let words = parts.iter().map(Term::integer).collect::<Option<Vec<u16>>>()?;
            (Ipv6Addr::from(<[u16; 8]>::try_from(words).ok()?).to_string(), 128)
        }
        _ => return None,
    };
    let mask = match term.field("netmask")? {
        Term::Atom("nil") => most,
        mask => mask.integer::<u8>().filter(|mask| *mask <= most)?,
    };
    Some(if mask < most || is_cidr { format!("{address}/{mask}") } else { address })
}

fn macaddr(term: &Term<'_>) -> Option<String> {
    let parts = term.field("address")?.tuple()?;
    let bytes = parts.iter().map(|part| part.integer::<u8>().map(|byte| format!("{byte:02x}")));
    let bytes = bytes.collect::<Option<Vec<_>>>().filter(|bytes| matches!(bytes.len(), 6 | 8))?;
    Some(bytes.join(":"))
}

/// As Postgres writes it in its own style: `1 year 2 mons -3 days +04:05:06.789`.
fn interval(term: &Term<'_>) -> Option<String> {
    let number = |name| term.field(name).map_or(Some(0), Term::integer::<i64>);
    let (months, days) = (number("months")?, number("days")?);
    let micros = i128::from(number("secs")?) * 1_000_000 + i128::from(number("microsecs")?);
    let mut out = String::new();
    let mut was_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let space = if out.is_empty() { "" } else { " " };
            let plus = if was_negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            write!(out, "{space}{plus}{value} {unit}{plural}").ok()?;
            was_negative = value < 0;
        }
    }
    if micros != 0 || out.is_empty() {
        let space = if out.is_empty() { "" } else { " " };
        let sign = match (micros < 0, was_negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(out, "{space}{sign}{hours:02}:{minutes:02}:{:02}", seconds % 60).ok()?;
        if fraction != 0 {
            write!(out, ".{}", format!("{fraction:06}").trim_end_matches('0')).ok()?;
        }
    }
    Some(out)
}

fn range(term: &Term<'_>) -> Option<String> {
    let term = named(term, "Range")?;
    let (lower, upper) = (term.field("lower")?, term.field("upper")?);
    if matches!((lower, upper), (Term::Atom("empty"), _) | (_, Term::Atom("empty"))) {
        return Some("empty".to_owned());
    }
    let end = |value: &Term<'_>, inclusive: &str, brackets: [&'static str; 2]| {
        let is_open = matches!(value, Term::Atom("unbound" | "nil"));
        let bracket = match term.field(inclusive)? {
            Term::Atom("true") if !is_open => brackets[0],
            Term::Atom("true" | "false") => brackets[1],
            _ => return None,
        };
        Some((if is_open { String::new() } else { bound(value)? }, bracket))
    };
    let (lower, open) = end(lower, "lower_inclusive", ["[", "("])?;
    let (upper, close) = end(upper, "upper_inclusive", ["]", ")"])?;
    Some(format!("{open}{lower},{upper}{close}"))
}

/// The end of a range.
fn bound(value: &Term<'_>) -> Option<String> {
    Some(match value {
        // A decimal with an exponent is written out by Postgres: what it is here is not known to be the same text.
        Term::Number(digits) if !digits.contains(['e', 'E']) => (*digits).to_owned(),
        Term::Sigil('D', date) => (*date).to_owned(),
        Term::Sigil('N', moment) => format!("\"{}\"", without_zeros(moment)),
        Term::Sigil('U', moment) => format!("\"{}+00\"", without_zeros(moment.strip_suffix('Z')?)),
        _ => return None,
    })
}

/// A moment without what stands at the end of its fraction and says nothing.
fn without_zeros(moment: &str) -> &str {
    match moment.contains('.') {
        true => moment.trim_end_matches('0').trim_end_matches('.'),
        false => moment,
    }
}

fn points(list: &Term<'_>) -> Option<String> {
    Some(list.list()?.iter().map(point).collect::<Option<Vec<_>>>()?.join(","))
}

fn point(term: &Term<'_>) -> Option<String> {
    let point = named(term, "Point")?;
    Some(format!("({},{})", float(point.field("x")?)?, float(point.field("y")?)?))
}

/// A double as Postgres writes it: `2`, `1.5`, `1e+21`.
fn float(term: &Term<'_>) -> Option<String> {
    let value = match term {
        Term::Number(digits) => digits.parse::<f64>().ok().filter(|value| value.is_finite())?,
        Term::Atom("inf") => return Some("Infinity".to_owned()),
        _ => return None,
    };
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        let written = format!("{value:e}");
        let (digits, exponent) = written.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let sign = if exponent < 0 { '-' } else { '+' };
        return Some(format!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
    }
    Some(format!("{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_become_what_postgres_writes() {
        for (declared, term, expected) in [
            ("inet", "%Postgrex.INET{address: {192, 168, 1, 1}, netmask: nil}", "192.168.1.1"),
            ("inet", "%Postgrex.INET{address: {192, 168, 1, 1}, netmask: 32}", "192.168.1.1"),
            ("inet", "%Postgrex.INET{address: {192, 168, 0, 1}, netmask: 24}", "192.168.0.1/24"),
            ("inet", "%Postgrex.INET{address: {0, 0, 0, 0, 0, 0, 0, 1}, netmask: nil}", "::1"),
            ("cidr", "%Postgrex.INET{address: {10, 0, 0, 0}, netmask: 8}", "10.0.0.0/8"),
            ("cidr", "%Postgrex.INET{address: {8193, 3512, 0, 0, 0, 0, 0, 1}, netmask: 128}", "2001:db8::1/128"),
            ("macaddr", "%Postgrex.MACADDR{address: {8, 0, 43, 1, 2, 3}}", "08:00:2b:01:02:03"),
            ("interval", "%Postgrex.Interval{months: 1, days: 2, secs: 11045, microsecs: 0}", "1 mon 2 days 03:04:05"),
            (
                "interval",
                "%Postgrex.Interval{months: 14, days: 3, secs: 14706, microsecs: 789000}",
                "1 year 2 mons 3 days 04:05:06.789",
            ),
            ("interval", "%Postgrex.Interval{months: -1, days: 2, secs: -5, microsecs: 0}", "-1 mons +2 days -00:00:05"),
            ("interval", "%Postgrex.Interval{months: 0, days: -1, secs: 3600, microsecs: 0}", "-1 days +01:00:00"),
            ("interval", "%Postgrex.Interval{months: 0, days: 0, secs: 0, microsecs: 0}", "00:00:00"),
            ("int4range", "%Postgrex.Range{lower: 1, upper: 10, lower_inclusive: true, upper_inclusive: false}", "[1,10)"),
            (
                "int4range",
                "%Postgrex.Range{lower: :unbound, upper: 5, lower_inclusive: false, upper_inclusive: true}",
                "(,5]",
            ),
            (
                "int4range",
                "%Postgrex.Range{lower: :empty, upper: :empty, lower_inclusive: false, upper_inclusive: false}",
                "empty",
            ),
            (
                "numrange",
                "%Postgrex.Range{lower: Decimal.new(\"1.50\"), upper: :unbound, lower_inclusive: true, upper_inclusive: false}",
                "[1.50,)",
            ),
            (
                "daterange",
                "%Postgrex.Range{lower: ~D[2024-01-01], upper: ~D[2024-02-01], lower_inclusive: true, upper_inclusive: false}",
                "[2024-01-01,2024-02-01)",
            ),
            (
                "tstzrange",
                "%Postgrex.Range{lower: ~U[2024-01-01 00:00:00.000000Z], upper: ~U[2024-01-01 01:02:03.450000Z], lower_inclusive: true, upper_inclusive: false}",
                "[\"2024-01-01 00:00:00+00\",\"2024-01-01 01:02:03.45+00\")",
            ),
            (
                "int4multirange",
                "%Postgrex.Multirange{ranges: [%Postgrex.Range{lower: 1, upper: 3, lower_inclusive: true, upper_inclusive: false}]}",
                "{[1,3)}",
            ),
            ("point", "%Postgrex.Point{x: 1.5, y: 2.0}", "(1.5,2)"),
            ("point", "%Postgrex.Point{x: 1.0e21, y: -1.0e-7}", "(1e+21,-1e-07)"),
            ("circle", "%Postgrex.Circle{center: %Postgrex.Point{x: 0.0, y: 1.0}, radius: 2.5}", "<(0,1),2.5>"),
            ("path", "%Postgrex.Path{points: [%Postgrex.Point{x: 0.0, y: 1.0}], open: true}", "[(0,1)]"),
            ("bit", "<<10::size(4)>>", "1010"),
            ("bit(3)", "<<5::size(3)>>", "101"),
            ("bit varying", "<<160, 5::size(3)>>", "10100000101"),
            ("bit", "A", "01000001"),
            ("bit varying", "", ""),
        ] {
            assert_eq!(meant(declared, term), Meant::Text(expected.to_owned()), "{declared} {term}");
        }
        let lexemes = [
            "%Postgrex.Lexeme{word: \"cat\", positions: [{3, nil}, {5, :A}]}",
            "%Postgrex.Lexeme{word: \"it's\", positions: []}",
        ];
        assert_eq!(tsvector(&lexemes).as_deref(), Some("'cat':3,5A 'it''s'"));
        assert_eq!(tsvector(&["a"]), None);
    }

    #[test]
    fn what_is_no_term_stays_and_what_is_not_known_is_said() {
        for (declared, text) in
            [("inet", "10.0.0.1"), ("USER-DEFINED", "happy"), ("USER-DEFINED", "{1, \"x\"}"), ("xid", "%"), ("x", "%a{}")]
        {
            assert_eq!(meant(declared, text), Meant::Itself, "{text}");
        }
        for (declared, text) in [
            ("USER-DEFINED", "%Geo.Point{coordinates: {1.0, 2.0}, srid: 4326}"),
            ("inet", "%Postgrex.INET{address: {192, 168, 1, 256}, netmask: nil}"),
            ("inet", "%Postgrex.INET{address: {1, 2, 3, 4}, netmask: 33}"),
            ("inet", "%Postgrex.INET{address: {1, 2}, netmask: nil}"),
            ("inet", "%Postgrex.INET{"),
            ("macaddr", "%Postgrex.MACADDR{address: {8}}"),
            ("int4range", "%Postgrex.Range{lower: 1}"),
            (
                "numrange",
                "%Postgrex.Range{lower: Decimal.new(\"1E+3\"), upper: :unbound, lower_inclusive: true, upper_inclusive: false}",
            ),
            ("polygon", "%Postgrex.Polygon{vertices: [%Postgrex.Point{x: 1.0, y: 1.0}, ...]}"),
            ("bit", "<<1, 2, ...::size(3)>>"),
        ] {
            assert_eq!(meant(declared, text), Meant::Unknown, "{text}");
        }
    }
}
