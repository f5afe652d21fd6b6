//! What a table looks like: columns, key, unique sets, foreign keys.

use crate::domain::names::NameRules;
use crate::domain::table::FileNumbers;
use crate::domain::value::Value;

/// A table's structure, as a store reads it from its catalogue or a peer describes it. It never holds SQL that is run:
/// tables are made from its names and types only.
///
/// Later versions may add fields, as to the other structures here: end it with `..TableSchema::default()`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableSchema {
    /// The table's name, as written at its creation.
    pub name: String,
    /// The columns in their order, generated ones included.
    pub columns: Vec<Column>,
    /// The primary key's columns in key order, each once; empty if there is none.
    pub primary_key: Vec<String>,
    /// SQLite: for each column of the primary key the name of the collation that the key compares it by, `None` where that is the
    /// column's own. Empty where the whole key compares as its columns do.
    pub key_collations: Vec<Option<String>>,
    /// SQLite: what the primary key does with a row whose key is taken.
    pub key_on_conflict: OnConflict,
    /// Unique sets beside the primary key.
    pub unique: Vec<UniqueSet>,
    /// References to other tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// Plain indexes: not unique, not partial, over columns only.
    pub indexes: Vec<Index>,
    /// The names of other indexes that are not unique: over expressions, or over some of the rows.
    pub other_indexes: Vec<String>,
    /// SQLite: a STRICT table.
    pub strict: bool,
    /// SQLite: a WITHOUT ROWID table.
    pub without_rowid: bool,
    /// SQLite: the key is AUTOINCREMENT.
    pub autoincrement: bool,
    /// The largest number that AUTOINCREMENT ever gave. It is known of a peer's tables only, where the peer tells it.
    pub sequence: Option<i64>,
    /// SQLite: the numbers of the file that the table is in. They are known of a peer's tables only, where the peer tells them.
    pub file: FileNumbers,
    /// SQLite: whether the statement that it keeps of the table cannot be read, so that nothing is known of ON CONFLICT clauses and
    /// deferred foreign keys.
    pub is_unread: bool,
    /// SQLite: the key is the rowid itself, as `INTEGER PRIMARY KEY` makes it (and `INTEGER PRIMARY KEY DESC` does not).
    /// It is never NULL, and SQLite finds the next one itself.
    pub rowid_alias: bool,
    /// How the store that the table lives in compares names. A peer does not tell its own: what it describes has the default, and is
    /// compared by the rules of the store that it is compared with.
    pub names: NameRules,
    /// Whether a foreign key may be checked as late as at the commit. It is known of local tables only.
    pub deferred: bool,
    /// Whether triggers run when its rows are written. It is known of local tables only.
    pub has_triggers: bool,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Column {
    /// The name, as written.
    pub name: String,
    /// The type as the store declares it; empty where SQLite has none.
    pub declared_type: String,
    /// What the values mean.
    pub logical: LogicalType,
    /// Whether NULL may stand in it, whatever its declaration says: a column of a key is nullable only where the store lets NULL
    /// into the key, as SQLite does in most tables whose key does not say NOT NULL.
    pub nullable: bool,
    /// SQLite: what NOT NULL does with a row that has NULL there.
    pub not_null_on_conflict: OnConflict,
    /// The default as the store's expression text. Only literals and the current time are ever taken over: see
    /// [`DefaultValue::parse`].
    pub default: Option<String>,
    /// Whether the store computes it.
    pub generated: bool,
    /// SQLite: the collation's name where it is not BINARY.
    pub collation: Option<String>,
    /// Longest text in characters, where the type says so.
    pub max_length: Option<u32>,
    /// Digits of a numeric, where the type says so.
    pub precision: Option<u32>,
    /// Digits after the point, where the type says so.
    pub scale: Option<u32>,
}

/// What the values of a column mean, beyond their storage class.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum LogicalType {
    /// True or false.
    Boolean,
    /// Whole numbers up to 64 bits.
    Integer,
    /// Doubles.
    Real,
    /// Decimal numbers of any precision.
    Numeric,
    /// Text.
    Text,
    /// Bytes.
    Blob,
    /// A UUID, as text or 16 bytes.
    Uuid,
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// Date and time without a zone.
    Timestamp,
    /// A moment in time.
    TimestampTz,
    /// A JSON document.
    Json,
    /// Anything: SQLite columns without a type.
    #[default]
    Any,
    /// A type of the peer's that has no counterpart here, by its name; its values are text.
    Other(String),
}

/// A set of columns of which no two rows may have the same values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UniqueSet {
    /// The columns, each once; empty for an index over expressions, or one that compares otherwise than its columns do.
    pub columns: Vec<String>,
    /// What the index covers.
    pub kind: UniqueKind,
    /// SQLite: the name of the index, where it was made as one; `None` for a constraint of the table.
    pub index: Option<String>,
    /// SQLite: the columns as the index lists them, where that is more than `columns` say; empty otherwise.
    pub parts: Vec<IndexPart>,
    /// SQLite: what it does with a row whose values are taken.
    pub on_conflict: OnConflict,
}

/// A column of an index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexPart {
    /// Its name. One may stand in an index several times.
    pub column: String,
    /// The name of the collation that the index compares it by, `None` where that is the column's own.
    pub collation: Option<String>,
    /// Whether its values come in descending order.
    pub descending: bool,
}

impl IndexPart {
    /// The column as it is: in ascending order, compared as it compares itself.
    pub fn plain(column: &str) -> Self {
        IndexPart { column: column.to_owned(), ..IndexPart::default() }
    }
}

/// What a unique index covers. Only a [`UniqueKind::Full`] one can identify rows or be made again elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UniqueKind {
    /// Plain columns of all rows.
    #[default]
    Full,
    /// Plain columns of the rows that satisfy a condition.
    Partial,
    /// At least one expression.
    Expression,
}

/// A reference from columns of this table to columns of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ForeignKey {
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table referred to.
    pub parent: String,
    /// The columns referred to, one for each of `columns`; the parent's primary key where none was written.
    pub parent_columns: Vec<String>,
    /// What happens to this row when the parent is deleted.
    pub on_delete: ForeignKeyAction,
    /// What happens to this row when the parent's key changes.
    pub on_update: ForeignKeyAction,
    /// Whether it is checked only at the commit (DEFERRABLE INITIALLY DEFERRED).
    pub deferred: bool,
}

/// What a change of the parent does to the referring row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ForeignKeyAction {
    /// Refuse, at the end of the statement or transaction.
    #[default]
    NoAction,
    /// Refuse at once.
    Restrict,
    /// Set the columns to NULL.
    SetNull,
    /// Set the columns to their defaults.
    SetDefault,
    /// Delete or change this row too.
    Cascade,
}

impl ForeignKeyAction {
    /// The SQL words.
    pub fn as_sql(self) -> &'static str {
        match self {
            ForeignKeyAction::NoAction => "NO ACTION",
            ForeignKeyAction::Restrict => "RESTRICT",
            ForeignKeyAction::SetNull => "SET NULL",
            ForeignKeyAction::SetDefault => "SET DEFAULT",
            ForeignKeyAction::Cascade => "CASCADE",
        }
    }

    /// The action of these SQL words; `None` for any others.
    pub fn from_sql(words: &str) -> Option<Self> {
        [Self::NoAction, Self::Restrict, Self::SetNull, Self::SetDefault, Self::Cascade]
            .into_iter()
            .find(|action| action.as_sql().eq_ignore_ascii_case(words))
    }
}

/// What a constraint does with a row that breaks it, where the statement that writes the row does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The statement fails, and leaves nothing behind.
    #[default]
    Abort,
    /// The transaction is rolled back.
    Rollback,
    /// The statement fails at this row: what it wrote before stays.
    Fail,
    /// The row is left out.
    Ignore,
    /// The rows that are in its way are deleted, or NULL becomes the column's default.
    Replace,
}

impl OnConflict {
    /// The SQL word.
    pub fn as_sql(self) -> &'static str {
        match self {
            OnConflict::Abort => "ABORT",
            OnConflict::Rollback => "ROLLBACK",
            OnConflict::Fail => "FAIL",
            OnConflict::Ignore => "IGNORE",
            OnConflict::Replace => "REPLACE",
        }
    }

    /// What this SQL word says; `None` for any other.
    pub fn from_sql(word: &str) -> Option<Self> {
        [Self::Abort, Self::Rollback, Self::Fail, Self::Ignore, Self::Replace]
            .into_iter()
            .find(|known| known.as_sql().eq_ignore_ascii_case(word))
    }
}

/// A plain index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The columns. One may stand in it several times.
    pub parts: Vec<IndexPart>,
}

/// A default that may be taken over from a peer: a literal, or the current date or time. Anything else is code.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum DefaultValue {
    /// A literal.
    Literal(Value),
    /// CURRENT_DATE.
    CurrentDate,
    /// CURRENT_TIME.
    CurrentTime,
    /// CURRENT_TIMESTAMP.
    CurrentTimestamp,
}

impl TableSchema {
    /// The position of a column, by name as the table's [store](TableSchema::names) compares names.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| self.names.same(&column.name, name))
    }

    /// A column by name: see [`TableSchema::column_index`].
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.column_index(name).map(|index| &self.columns[index])
    }

    /// How the primary key compares each of these columns, if they are its columns, in any order: the name of a collation, `None`
    /// for the column's own. Empty where the key compares as its columns do, and for other columns.
    pub fn key_collations_of(&self, columns: &[usize]) -> Vec<Option<&str>> {
        if self.key_collations.iter().all(Option::is_none) || columns.len() != self.primary_key.len() {
            return Vec::new();
        }
        let part = |column: &usize| {
            let at = self.primary_key.iter().position(|name| self.column_index(name) == Some(*column))?;
            Some(self.key_collations.get(at).and_then(Option::as_deref))
        };
        columns.iter().map(part).collect::<Option<_>>().unwrap_or_default()
    }

    /// How many names of columns all its keys, unique sets, foreign keys and indexes have together. Each set and index of a WITHOUT
    /// ROWID table also has the columns of the primary key.
    pub(crate) fn key_names(&self) -> usize {
        let sets = self.unique.iter().map(|set| set.columns.len().max(set.parts.len()));
        let indexes = self.indexes.iter().map(|index| index.parts.len());
        let keys = self.foreign_keys.iter().map(|key| key.columns.len().max(key.parent_columns.len()));
        let own = self.primary_key.len();
        let carried = if self.without_rowid { (self.unique.len() + self.indexes.len()).saturating_mul(own) } else { 0 };
        sets.chain(indexes).chain(keys).sum::<usize>().saturating_add(own).saturating_add(carried)
    }

    /// The positions of these columns; `None` if one is missing.
    pub fn column_indexes(&self, names: &[String]) -> Option<Vec<usize>> {
        names.iter().map(|name| self.column_index(name)).collect()
    }
}

impl DefaultValue {
    /// Reads a default's expression text, SQLite's or Postgres'. `None` if it is anything but a literal (a Postgres cast
    /// behind it is allowed) or the current date or time: such a default is left out of tables that are made here. What is in
    /// quotes of any kind is a string: SQLite takes a name for one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut text = text.trim();
        while let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            text = inner.trim();
        }
        if let Some((literal, cast)) = text.rsplit_once("::") {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '(' | ')' | '[' | ']' | ',');
            if !cast.is_empty() && cast.chars().all(plain) {
                text = literal.trim();
            }
        }
        let literal = |value| Some(DefaultValue::Literal(value));
        match text.to_ascii_uppercase().as_str() {
            "NULL" => return literal(Value::Null),
            "TRUE" => return literal(Value::Integer(1)),
            "FALSE" => return literal(Value::Integer(0)),
            "CURRENT_DATE" => return Some(DefaultValue::CurrentDate),
            "CURRENT_TIME" => return Some(DefaultValue::CurrentTime),
            "CURRENT_TIMESTAMP" | "NOW()" => return Some(DefaultValue::CurrentTimestamp),
            _ => {}
        }
        if let Some(inner) = ['\'', '"', '`'].into_iter().find_map(|quote| quoted(text, quote)).or_else(|| bracketed(text)) {
            return literal(Value::Text(inner.into_bytes()));
        }
        if let Some(hex) = text.strip_prefix(['x', 'X']).and_then(|text| quoted(text, '\'')) {
            return unhex(&hex).and_then(|bytes| literal(Value::Blob(bytes)));
        }
        number(text).map(DefaultValue::Literal)
    }

    /// It as SQL that every database reads alike.
    pub fn to_sql(&self) -> String {
        match self {
            DefaultValue::CurrentDate => "CURRENT_DATE".to_owned(),
            DefaultValue::CurrentTime => "CURRENT_TIME".to_owned(),
            DefaultValue::CurrentTimestamp => "CURRENT_TIMESTAMP".to_owned(),
            DefaultValue::Literal(Value::Null) => "NULL".to_owned(),
            DefaultValue::Literal(Value::Integer(v)) => v.to_string(),
            DefaultValue::Literal(Value::Real(v)) => format!("{v:?}"),
            DefaultValue::Literal(Value::Text(v)) => format!("'{}'", String::from_utf8_lossy(v).replace('\'', "''")),
            DefaultValue::Literal(Value::Blob(v)) => {
                format!("x'{}'", v.iter().map(|b| format!("{b:02x}")).collect::<String>())
            }
        }
    }
}

/// The number that this is, with a sign or without; `None` if it is none, or none that can be written down again.
fn number(text: &str) -> Option<Value> {
    let (is_negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits.trim_start()),
        None => (false, text),
    };
    let digits = without_separators(digits)?;
    let signed = |digits: &str| format!("{}{digits}", if is_negative { "-" } else { "" });
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let is_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let value = is_hex.then(|| u64::from_str_radix(hex, 16).ok())??.cast_signed();
        return if is_negative { value.checked_neg() } else { Some(value) }.map(Value::Integer);
    }
    if !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && let Ok(value) = signed(&digits).parse()
    {
        return Some(Value::Integer(value));
    }
    let is_numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value = signed(&digits).parse::<f64>().ok()?;
    (is_numeric && value.is_finite()).then_some(Value::Real(value))
}

/// Digits without the `_` that may stand between them; `None` where one stands elsewhere.
fn without_separators(digits: &str) -> Option<String> {
    let is_digit = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
    let bytes = digits.as_bytes();
    let between = |at: usize| at > 0 && is_digit(bytes.get(at - 1).copied()) && is_digit(bytes.get(at + 1).copied());
    let all_between = digits.bytes().enumerate().all(|(at, b)| b != b'_' || between(at));
    all_between.then(|| digits.replace('_', ""))
}

/// What stands in these quotes, which are doubled inside; `None` if the text is anything else.
fn quoted(text: &str, quote: char) -> Option<String> {
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut content = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == quote && chars.next() != Some(quote) {
            return None;
        }
        content.push(c);
    }
    Some(content)
}

/// What stands in brackets.
fn bracketed(text: &str) -> Option<String> {
    text.strip_prefix('[')?.strip_suffix(']').filter(|inner| !inner.contains(']')).map(str::to_owned)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_defaults_are_read() {
        let literal = |value: Value| Some(DefaultValue::Literal(value));
        assert_eq!(DefaultValue::parse("0"), literal(0.into()));
        assert_eq!(DefaultValue::parse("-1.5e3"), literal(Value::Real(-1500.0)));
        assert_eq!(DefaultValue::parse("'it''s'"), literal("it's".into()));
        assert_eq!(DefaultValue::parse("('x')"), literal("x".into()));
        assert_eq!(DefaultValue::parse("'new'::character varying(20)"), literal("new".into()));
        assert_eq!(DefaultValue::parse("x'00ff'"), literal(Value::Blob(vec![0, 255])));
        assert_eq!(DefaultValue::parse("true"), literal(1.into()));
        assert_eq!(DefaultValue::parse("current_timestamp"), Some(DefaultValue::CurrentTimestamp));
        for (text, value) in [
            ("\"x \"\"y\"", Value::from("x \"y")),
            ("`a``b`", "a`b".into()),
            ("[br ack]", "br ack".into()),
            ("''", "".into()),
            ("\"current_date\"", "current_date".into()),
            ("0x10", 16.into()),
            ("-0X1f", (-31).into()),
            ("0xFFFFFFFFFFFFFFFF", (-1).into()),
            ("- 5", (-5).into()),
            ("+ 1", 1.into()),
            ("1_000", 1_000.into()),
            ("-9223372036854775808", i64::MIN.into()),
            ("9223372036854775808", Value::Real(9_223_372_036_854_775_808.0)),
            (".5", Value::Real(0.5)),
            ("5.", Value::Real(5.0)),
        ] {
            assert_eq!(DefaultValue::parse(text), literal(value.clone()), "{text}");
            assert_eq!(DefaultValue::parse(&DefaultValue::Literal(value.clone()).to_sql()), literal(value), "{text}");
        }
        for code in [
            "nextval('a_seq'::regclass)",
            "random()",
            "(1+1)",
            "'a' || 'b'",
            "'a'); DROP TABLE t; --'",
            "inf",
            "nan",
            "word",
            "\"x\"y\"",
            "[a]b]",
            "0x",
            "0x10000000000000000",
            "-0x8000000000000000",
            "1__0",
            "_1",
            "- - 5",
            "1e999",
            "x'0'",
            "",
        ] {
            assert_eq!(DefaultValue::parse(code), None, "{code}");
        }
    }

    #[test]
    fn a_key_tells_how_it_compares_in_any_order_of_its_columns() {
        let column = |name: &str| Column { name: name.into(), ..Column::default() };
        let mut table = TableSchema {
            columns: ["a", "b", "c"].map(column).into(),
            primary_key: vec!["B".into(), "a".into()],
            key_collations: vec![Some("NOCASE".into()), None],
            ..TableSchema::default()
        };
        assert_eq!(table.key_collations_of(&[1, 0]), [Some("NOCASE"), None]);
        assert_eq!(table.key_collations_of(&[0, 1]), [None, Some("NOCASE")]);
        for others in [&[1][..], &[1, 2], &[0, 1, 2]] {
            assert!(table.key_collations_of(others).is_empty(), "{others:?}");
        }
        table.key_collations = vec![None, None];
        assert!(table.key_collations_of(&[1, 0]).is_empty());
    }

    #[test]
    fn columns_are_found_without_case() {
        let column = Column { name: "Größe".into(), ..Column::default() };
        let table = TableSchema { columns: vec![column], ..TableSchema::default() };
        assert_eq!(table.column_index("GRößE"), Some(0));
        assert_eq!(table.column_index("GRÖSSE"), None);
    }
}
