//! What a column makes of a value: whether it can hold it as it is, and how statements write and compare it.
//!
//! Values go to the server as arrays of five types ([`arrays`](super::arrays)), and become those of the column there.

use std::borrow::Cow;
use std::sync::Arc;

use super::connection::Connection;
use super::table::{Column, Table};
use super::types::{BaseType, Carried, oid, text_of};
use crate::domain::record::Reason;
use crate::domain::value::ValueRef;
use crate::error::Result;

/// Types of which PostgreSQL has no `=`, or one that is about something else than the value, and the arrays of them.
const WITHOUT_EQUAL: [u32; 20] =
    [114, 199, 142, 143, 600, 601, 602, 603, 604, 628, 718, 719, 1017, 1018, 1019, 1020, 1027, 629, 4072, 4073];

/// Numbers of types, which never change.
const CHAR: u32 = 18;
const MONEY: u32 = 790;
const BIT: u32 = 1560;
const VARBIT: u32 = 1562;

/// How values become those of a table's columns, one for each.
#[derive(Debug)]
pub(super) struct Casts(Vec<Cast>);

/// How values become those of a column.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    pub(super) carried: Carried,
    pub(super) base: BaseType,
    /// The type as SQL with its length or digits; domains are taken away, whose checks show when a row is written.
    full: String,
    /// The column's own type, as SQL.
    declared: String,
    quoted: String,
}

/// What a column makes of a value.
#[derive(Debug, PartialEq)]
pub(super) enum Adapted<'v> {
    /// It holds this.
    Ready(ValueRef<'v>),
    /// Its type reads this text, or does not: only the server knows.
    Text(Cow<'v, str>),
    /// It cannot hold it.
    Misfit(Reason, &'static str),
}

impl Casts {
    /// Asks for the types of a table's columns.
    pub(super) fn read(connection: &mut Connection, table: &Table) -> Result<Self> {
        let types: Vec<u32> = table.columns.iter().map(|column| column.base.oid).collect();
        let modifiers: Vec<i32> = table.columns.iter().map(|column| column.base.modifier).collect();
        let sql = "SELECT pg_catalog.format_type(t.oid, t.modifier) FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int4[])) \
                   WITH ORDINALITY AS t(oid, modifier, n) ORDER BY n";
        let full = connection.rows(sql, &[&types, &modifiers])?;
        let cast = |(column, row): (&Column, &postgres::Row)| Cast {
            carried: column.carried,
            base: column.base.clone(),
            full: row.get(0),
            declared: column.type_sql.clone(),
            quoted: column.quoted.clone(),
        };
        Ok(Casts(table.columns.iter().zip(&full).map(cast).collect()))
    }

    pub(super) fn get(&self, column: usize) -> &Cast {
        &self.0[column]
    }

    /// The columns at these positions.
    pub(super) fn all(self: &Arc<Self>, columns: &[usize]) -> Vec<&Cast> {
        columns.iter().map(|column| self.get(*column)).collect()
    }
}

impl Cast {
    /// The column's name as SQL.
    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    /// The array that values for the column come in.
    pub(super) fn array_type(&self) -> &'static str {
        match self.carried {
            Carried::Bool => "bool[]",
            Carried::Int2 | Carried::Int4 | Carried::Int8 => "int8[]",
            Carried::Float4 | Carried::Float8 => "float8[]",
            Carried::Bytes => "bytea[]",
            Carried::Text | Carried::Any | Carried::Cast => "text[]",
        }
    }

    /// A value of the column's type out of an element of the array.
    pub(super) fn typed(&self, element: &str) -> String {
        match self.carried {
            // A cast to a length would cut the text; as it is it is refused.
            Carried::Bool | Carried::Int8 | Carried::Float8 | Carried::Bytes | Carried::Text => element.to_owned(),
            Carried::Int2 => format!("{element}::int2"),
            Carried::Int4 => format!("{element}::int4"),
            Carried::Float4 => format!("{element}::float4"),
            Carried::Any => format!("{element}::jsonb::{}", self.declared),
            Carried::Cast => format!("{element}::{}", self.full),
        }
    }

    /// Whether the column would store an element of the array otherwise than it came: shorter, rounded, in another zone, without its time.
    pub(super) fn is_cut(&self, element: &str) -> String {
        let typed = self.typed(element);
        let zoned = |text: &str, kind: &str| format!("({text}::{kind} AT TIME ZONE 'UTC')");
        match self.base.oid {
            _ if self.carried != Carried::Cast => "false".to_owned(),
            // These types read a zone, and forget it.
            oid::TIMESTAMP => format!("{} <> {typed}", zoned(element, "timestamptz")),
            oid::TIME => {
                format!("CASE WHEN {element} ~ '[0-9][-/]' THEN true ELSE {}::time <> {typed} END", zoned(element, "timetz"))
            }
            oid::NAME => format!("octet_length({element}) > 63"),
            CHAR => format!("octet_length({element}) > 1"),
            MONEY => format!("CASE WHEN {element} ~ '^-?[0-9]*\\.[0-9]{{3}}' THEN true ELSE false END"),
            // Dates go further than moments do.
            oid::DATE => {
                format!("CASE WHEN {element} LIKE '%:%' THEN {} <> {typed} ELSE false END", zoned(element, "timestamptz"))
            }
            _ if self.base.modifier >= 0 => format!("{element}::{} <> {typed}", self.base.sql),
            _ => "false".to_owned(),
        }
    }

    /// Whether its type calls two values equal.
    pub(super) fn equal(&self, one: &str, other: &str) -> String {
        match self.is_compared_as_text() {
            true => format!("{} COLLATE \"C\" = {} COLLATE \"C\"", self.text(one), self.text(other)),
            false => format!("{one} {} {other}", self.base.operator("=")),
        }
    }

    pub(super) fn is_compared_as_text(&self) -> bool {
        self.carried == Carried::Cast && WITHOUT_EQUAL.contains(&self.base.oid)
    }

    /// Whether two values are not the same: of another storage class or other bits.
    pub(super) fn differ(&self, one: &str, other: &str) -> String {
        match self.carried {
            Carried::Bool | Carried::Int2 | Carried::Int4 | Carried::Int8 | Carried::Bytes => {
                format!("{one} IS DISTINCT FROM {other}")
            }
            Carried::Float4 => format!("float4send({one}) IS DISTINCT FROM float4send({other})"),
            Carried::Float8 => format!("float8send({one}) IS DISTINCT FROM float8send({other})"),
            Carried::Text | Carried::Any | Carried::Cast => {
                format!("{} COLLATE \"C\" IS DISTINCT FROM {} COLLATE \"C\"", self.text(one), self.text(other))
            }
        }
    }

    /// Whether the first value comes after the second as [`ValueRef::order`] sorts them; `None` where SQL cannot say so.
    pub(super) fn newer(&self, one: &str, other: &str) -> Option<String> {
        let after = match self.carried {
            Carried::Bool | Carried::Int2 | Carried::Int4 | Carried::Int8 | Carried::Bytes => format!("{one} > {other}"),
            // NaN is as new as any other number.
            Carried::Float4 | Carried::Float8 => format!("{one} > {other} AND {one} <> 'NaN'"),
            Carried::Text | Carried::Cast => {
                format!("{} COLLATE \"C\" > {} COLLATE \"C\"", self.text(one), self.text(other))
            }
            Carried::Any => return None,
        };
        Some(format!("({one} IS NOT NULL AND ({other} IS NULL OR {after}))"))
    }

    /// A value as exactly the text that its type reads again.
    pub(super) fn text(&self, value: &str) -> String {
        text_of(self.carried, &self.base, value)
    }

    /// What equal values have in common, as a text: what is the same of two exactly if the type calls them equal.
    pub(super) fn common(&self, value: &str) -> String {
        match self.base.oid {
            oid::NUMERIC => format!("trim_scale({value})::text"),
            oid::BPCHAR => format!("{value}::text"),
            _ if self.base.name == "citext" => format!("lower({value}::text)"),
            _ => self.text(value),
        }
    }

    /// The expression that a statement reads the column by.
    pub(super) fn selected(&self, value: &str) -> String {
        // A domain over a type is another type to the client.
        match self.carried {
            Carried::Any | Carried::Cast => self.text(value),
            Carried::Text => format!("{value}::text"),
            Carried::Bool => format!("{value}::bool"),
            Carried::Int2 | Carried::Int4 | Carried::Int8 => format!("{value}::int8"),
            Carried::Float4 | Carried::Float8 => format!("{value}::float8"),
            Carried::Bytes => format!("{value}::bytea"),
        }
    }

    /// What the column makes of a value.
    pub(super) fn adapt<'v>(&self, value: ValueRef<'v>) -> Adapted<'v> {
        use Adapted::{Misfit, Ready};
        use Reason::{ValueOutOfRange, ValueWouldChange, WrongType};
        match (self.carried, value) {
            (_, ValueRef::Null) => Ready(value),
            (Carried::Bool | Carried::Int2 | Carried::Int4 | Carried::Int8, ValueRef::Real(real)) => match whole(real) {
                Some(integer) => self.adapt(ValueRef::Integer(integer)),
                None if real.trunc() == real || !real.is_finite() => Misfit(ValueOutOfRange, "is too large for it"),
                None => Misfit(ValueWouldChange, "is not whole"),
            },
            (Carried::Bool, ValueRef::Integer(0 | 1)) | (Carried::Int8, ValueRef::Integer(_)) => Ready(value),
            (Carried::Bool, ValueRef::Integer(_)) => Misfit(ValueOutOfRange, "is neither 0 nor 1"),
            (Carried::Int2, ValueRef::Integer(v)) if i16::try_from(v).is_ok() => Ready(value),
            (Carried::Int4, ValueRef::Integer(v)) if i32::try_from(v).is_ok() => Ready(value),
            (Carried::Int2 | Carried::Int4, ValueRef::Integer(_)) => Misfit(ValueOutOfRange, "is too large for it"),
            (Carried::Float8, ValueRef::Real(_)) => Ready(value),
            (Carried::Float4, ValueRef::Real(v)) if v.is_nan() || f64::from(v as f32).to_bits() == v.to_bits() => {
                Ready(value)
            }
            (Carried::Float4, ValueRef::Real(_)) => Misfit(ValueWouldChange, "is finer than it stores"),
            (Carried::Float4 | Carried::Float8, ValueRef::Integer(v)) => match v as f64 {
                real if real as i128 == i128::from(v) => self.adapt(ValueRef::Real(real)),
                _ => Misfit(ValueWouldChange, "is no double"),
            },
            (Carried::Text, ValueRef::Text(bytes)) => match text(bytes) {
                Some(text) if self.base.max_length().is_some_and(|most| is_longer(text, most)) => {
                    Misfit(ValueOutOfRange, "is too long for it")
                }
                Some(_) => Ready(value),
                None => Misfit(ValueOutOfRange, NO_TEXT),
            },
            (Carried::Bytes, ValueRef::Blob(_)) => Ready(value),
            (Carried::Any, _) => Ready(value),
            (Carried::Cast, ValueRef::Text(bytes)) => match text(bytes) {
                Some(text) if self.is_too_fine(text) => Misfit(ValueWouldChange, "is finer than a microsecond"),
                Some(text) => Adapted::Text(Cow::Borrowed(text)),
                None => Misfit(ValueOutOfRange, NO_TEXT),
            },
            (Carried::Cast, ValueRef::Integer(v)) if self.base.oid == oid::NUMERIC => Adapted::Text(v.to_string().into()),
            (Carried::Cast, ValueRef::Real(v)) if self.base.oid == oid::NUMERIC && v.is_finite() => {
                Adapted::Text(v.to_string().into())
            }
            _ => Misfit(WrongType, "is not of its type"),
        }
    }

    /// Whether a moment or an interval is told to less than a microsecond, which no type stores.
    fn is_too_fine(&self, text: &str) -> bool {
        let is_time = matches!(self.base.oid, oid::TIME | oid::TIMETZ | oid::TIMESTAMP | oid::TIMESTAMPTZ)
            || self.base.name == "interval";
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).skip(6).any(|digit| digit != b'0');
        is_time && text.split_once('.').is_some_and(|(_, rest)| digits(rest))
    }

    /// Whether the column stores a text as long and as fine as it is, if it reads it at all. False where that is not seen at once.
    pub(super) fn keeps_length(&self, text: &str) -> bool {
        let modifier = self.base.modifier;
        if self.carried != Carried::Cast {
            return true;
        }
        // A date and a time without a zone have nothing but these in them.
        let only = |text: &str, more: &[u8]| text.bytes().all(|byte| byte.is_ascii_digit() || more.contains(&byte));
        match self.base.oid {
            oid::DATE if text.len() != 10 || !only(text, b"-") => return false,
            oid::TIME if !only(text, b":.") => return false,
            oid::TIMESTAMP if !(only(text, b"-:. T") && text.get(10..).is_some_and(|time| !time.contains('-'))) => {
                return false;
            }
            oid::NAME => return text.len() < 64,
            CHAR | MONEY => return false,
            _ if modifier < 0 => return true,
            _ => {}
        }
        let fraction =
            |text: &str| text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        match self.base.oid {
            oid::NUMERIC => {
                let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'));
                is_plain && self.base.digits().1.is_some_and(|scale| fraction(text) <= scale as usize)
            }
            oid::BPCHAR => self.base.max_length().is_some_and(|most| !is_longer(text, most)),
            oid::DATE => true,
            oid::TIME | oid::TIMETZ | oid::TIMESTAMP | oid::TIMESTAMPTZ => {
                modifier < 0 || fraction(text) <= modifier.unsigned_abs() as usize
            }
            BIT => text.len() == modifier.unsigned_abs() as usize,
            VARBIT => text.len() <= modifier.unsigned_abs() as usize,
            _ => false,
        }
    }

    /// What is said of a value that does not fit.
    pub(super) fn told(&self, name: &str, value: ValueRef<'_>, why: &str) -> String {
        format!("column {name:?} ({}) does not take this {} value, which {why}", self.declared, value.class())
    }
}

/// Why a text cannot be stored.
const NO_TEXT: &str = "is not UTF-8 or has a NUL in it";

/// The text, if PostgreSQL can store it.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.as_bytes().contains(&0))
}

fn is_longer(text: &str, most: u32) -> bool {
    text.len() > most as usize && text.chars().count() > most as usize
}

/// The integer that is this number, if one is.
fn whole(real: f64) -> Option<i64> {
    let integer = real as i64;
    // The largest integer is no double: the cast would find it for 2^63.
    (integer as f64 == real && integer != i64::MAX).then_some(integer)
}
