//! How values are written as JSON. Which way depends on who reads.

use std::borrow::Cow;

use crate::domain::schema::LogicalType;

/// How values are written as JSON.
///
/// | stored | `Rowferry` | `ReferenceSocket` | `ReferenceHttp` |
/// |---|---|---|---|
/// | integer | number | number; `true`/`false` for 0 and 1 of boolean columns | the same |
/// | real | number with a point or exponent; `{"__rowferry_real__":"inf"}` | number; `":inf"` | number; `"inf"` |
/// | integer, real of a text, uuid or unknown column | number | string | string |
/// | text | string; `{"__rowferry_text__":base64}` if not UTF-8 | string; a binary object if not UTF-8 | the same |
/// | text of a numeric column | string | number where the number is exact, else string | string if it has a point, else number |
/// | text of a timestamp column | string | with `T` between date and time, and a zone for timestamps with zone | the same |
/// | text of a uuid column | string | string | binary object of its 16 bytes |
/// | text of a json column | string | the JSON itself if it is JSON | the same |
/// | blob | binary object | string if it is UTF-8, else binary object; of 16 bytes in a uuid column: the usual text | binary object |
///
/// A binary object is `{"__phoenix_kit_binary__":base64}`, padded.
///
/// Between two rowferry sites nothing is rendered by what it means: what SQLite stores arrives bit for bit. The two others
/// follow what PhoenixKit takes, because it binds each value to a typed column of Postgres:
///
/// - It never takes the text form of a uuid into a uuid column, and over the socket only 16 bytes that happen to be UTF-8.
///   The socket's schema therefore declares uuid columns as `text`, and the text form arrives in tables that it makes itself.
/// - Over the socket it takes bytes only as a plain string. Others come as a binary object, which it stores as the text of
///   that object: nothing is lost, and nothing is converted.
/// - Over the socket it stores a JSON object or array as a JSON *string* that holds it, however it is written; numbers, strings
///   and booleans stay what they are when they are written as JSON. So JSON columns are written as JSON on both paths. A
///   document of `null` becomes NULL. Text that PhoenixKit's parser would choke on (numbers beyond a double, half of a
///   surrogate pair) stays a string, because one such value would make it drop the whole page.
/// - It refuses infinities; they are written as it writes them itself, and that record fails there.
/// - Text that looks like an ISO date or time fails in its text columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// To and from a PhoenixKit peer over the WebSocket.
    ReferenceSocket,
    /// To and from a PhoenixKit peer over HTTP.
    ReferenceHttp,
    /// Between two rowferry sites.
    Rowferry,
}

/// What the values of a column are announced as to a PhoenixKit peer, and written as. Types that are none of ours but whose names say
/// that they hold numbers are announced as such; what else is not known is announced as text, and its numbers are written as strings:
/// a number in a column of text, and a string in one of numbers, breaks the peer's import.
pub(crate) fn announced(logical: &LogicalType) -> Cow<'_, LogicalType> {
    let LogicalType::Other(declared) = logical else { return Cow::Borrowed(logical) };
    let word = declared.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    Cow::Owned(match &*word.to_ascii_uppercase() {
        "MONEY" | "SMALLMONEY" | "CURRENCY" | "FIXED" => LogicalType::Numeric,
        "YEAR" | "LONG" => LogicalType::Integer,
        "SINGLE" => LogicalType::Real,
        _ => return Cow::Borrowed(logical),
    })
}

/// The key of a binary object.
pub(crate) const BINARY: &str = "__phoenix_kit_binary__";
/// The key of a text that is not UTF-8.
pub(crate) const TEXT: &str = "__rowferry_text__";
/// The key of a real that JSON has no number for.
pub(crate) const REAL: &str = "__rowferry_real__";
