//! How the values of a column travel between PostgreSQL and the rest of rowferry.

use super::quote::quote;
use crate::domain::schema::LogicalType;

/// How the values of a column travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Carried {
    /// `boolean`, as the integers 0 and 1.
    Bool,
    /// `smallint`, as an integer.
    Int2,
    /// `integer`, as an integer.
    Int4,
    /// `bigint`, as an integer.
    Int8,
    /// `real`, as a double, which can be every one of them.
    Float4,
    /// `double precision`, as a double.
    Float8,
    /// `text` and `character varying`, as text.
    Text,
    /// `bytea`, as bytes.
    Bytes,
    /// The domain [`ANY`](crate::domain::postgres_type::ANY): values of every class.
    Any,
    /// Every other type, as the text that PostgreSQL writes for it and reads again.
    Cast,
}

/// Numbers of PostgreSQL's own types, which never change.
pub(super) mod oid {
    pub(in crate::store::postgres) const BOOL: u32 = 16;
    pub(in crate::store::postgres) const BYTEA: u32 = 17;
    pub(in crate::store::postgres) const NAME: u32 = 19;
    pub(in crate::store::postgres) const INT8: u32 = 20;
    pub(in crate::store::postgres) const INT2: u32 = 21;
    pub(in crate::store::postgres) const INT4: u32 = 23;
    pub(in crate::store::postgres) const TEXT: u32 = 25;
    pub(in crate::store::postgres) const JSON: u32 = 114;
    pub(in crate::store::postgres) const FLOAT4: u32 = 700;
    pub(in crate::store::postgres) const FLOAT8: u32 = 701;
    pub(in crate::store::postgres) const BPCHAR: u32 = 1042;
    pub(in crate::store::postgres) const VARCHAR: u32 = 1043;
    pub(in crate::store::postgres) const DATE: u32 = 1082;
    pub(in crate::store::postgres) const TIME: u32 = 1083;
    pub(in crate::store::postgres) const TIMESTAMP: u32 = 1114;
    pub(in crate::store::postgres) const TIMESTAMPTZ: u32 = 1184;
    pub(in crate::store::postgres) const TIMETZ: u32 = 1266;
    pub(in crate::store::postgres) const NUMERIC: u32 = 1700;
    pub(in crate::store::postgres) const UUID: u32 = 2950;
    pub(in crate::store::postgres) const JSONB: u32 = 3802;
}

/// What a type is, domains taken away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct BaseType {
    /// Its number.
    pub(super) oid: u32,
    /// Its name alone.
    pub(super) name: String,
    /// It as SQL, without a length or digits of its own: a cast to it changes no value.
    pub(super) sql: String,
    /// Its length or digits, of the column or of the domain; -1 if there are none.
    pub(super) modifier: i32,
    /// Whether a domain forbids NULL.
    pub(super) is_not_null: bool,
    /// Whether the column's type is [`ANY`](crate::domain::postgres_type::ANY).
    pub(super) is_any: bool,
    /// The function that writes a value out, where a cast to text says something else.
    pub(super) output: Option<String>,
    /// The operators that sort it, as SQL, in the order `<`, `<=`, `=`, `>=`, `>`: where they are an extension's, whose schema need not be
    /// among those that names are looked for in. Others, of the type that it is cast to, would be found instead.
    pub(super) operators: Option<[String; 5]>,
}

impl BaseType {
    /// A comparison (`<`, `<=`, `=`, `>=`, `>`) as the type itself means it, which `ORDER BY` goes by.
    pub(super) fn operator<'o>(&'o self, name: &'o str) -> &'o str {
        let at = ["<", "<=", "=", ">=", ">"].iter().position(|known| *known == name);
        let own = self.operators.as_ref().zip(at).and_then(|(operators, at)| operators.get(at));
        own.map_or(name, String::as_str)
    }

    /// How values of it travel.
    pub(super) fn carried(&self) -> Carried {
        match self.oid {
            _ if self.is_any => Carried::Any,
            oid::BOOL => Carried::Bool,
            oid::INT2 => Carried::Int2,
            oid::INT4 => Carried::Int4,
            oid::INT8 => Carried::Int8,
            oid::FLOAT4 => Carried::Float4,
            oid::FLOAT8 => Carried::Float8,
            oid::TEXT | oid::VARCHAR => Carried::Text,
            oid::BYTEA => Carried::Bytes,
            _ => Carried::Cast,
        }
    }

    /// What values of it mean. `declared` is the column's type as PostgreSQL writes it.
    pub(super) fn logical(&self, declared: &str) -> LogicalType {
        match self.oid {
            _ if self.is_any => LogicalType::Any,
            oid::BOOL => LogicalType::Boolean,
            oid::INT2 | oid::INT4 | oid::INT8 => LogicalType::Integer,
            oid::FLOAT4 | oid::FLOAT8 => LogicalType::Real,
            oid::NUMERIC => LogicalType::Numeric,
            oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => LogicalType::Text,
            oid::BYTEA => LogicalType::Blob,
            oid::UUID => LogicalType::Uuid,
            oid::DATE => LogicalType::Date,
            oid::TIME | oid::TIMETZ => LogicalType::Time,
            oid::TIMESTAMP => LogicalType::Timestamp,
            oid::TIMESTAMPTZ => LogicalType::TimestampTz,
            oid::JSON | oid::JSONB => LogicalType::Json,
            _ if self.name == "citext" => LogicalType::Text,
            _ => LogicalType::Other(declared.to_owned()),
        }
    }

    /// The longest text in characters, where the type says so.
    pub(super) fn max_length(&self) -> Option<u32> {
        let characters = matches!(self.oid, oid::VARCHAR | oid::BPCHAR).then_some(self.modifier)?;
        // The modifier counts the four bytes of its own.
        u32::try_from(characters.checked_sub(4)?).ok()
    }

    /// The digits of a numeric, and how many of them stand after the point, where the type says so.
    pub(super) fn digits(&self) -> (Option<u32>, Option<u32>) {
        if self.oid != oid::NUMERIC || self.modifier < 4 {
            return (None, None);
        }
        let packed = (self.modifier - 4).cast_unsigned();
        // From PostgreSQL 15 on a scale has 11 bits and a sign; a negative one is none here.
        let scale = packed & 0x7ff;
        (Some(packed >> 16), (scale < 0x400).then_some(scale))
    }
}

/// An expression for a value of a column's type as exactly the text that its type reads again. `value` is an expression, too.
pub(super) fn text_of(carried: Carried, base: &BaseType, value: &str) -> String {
    match (carried, &base.output) {
        (Carried::Text, _) => value.to_owned(),
        // Its values are jsonb.
        (Carried::Any, _) => format!("({value})::jsonb::text"),
        (_, Some(output)) => format!("pg_catalog.textin({output}({value}))"),
        (_, None) => format!("({value})::text"),
    }
}

/// The function of this name in this schema.
pub(super) fn function(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::postgres_type::ANY;

    fn base(oid: u32, modifier: i32) -> BaseType {
        BaseType { oid, modifier, ..BaseType::default() }
    }

    #[test]
    fn lengths_and_digits_are_read_from_the_modifier() {
        assert_eq!(base(oid::VARCHAR, 84).max_length(), Some(80));
        assert_eq!([base(oid::VARCHAR, -1).max_length(), base(oid::TEXT, 84).max_length()], [None; 2]);
        assert_eq!(base(oid::NUMERIC, ((10 << 16) | 2) + 4).digits(), (Some(10), Some(2)));
        assert_eq!(base(oid::NUMERIC, ((3 << 16) | (0x800 - 2)) + 4).digits(), (Some(3), None));
        assert_eq!([base(oid::NUMERIC, -1).digits(), base(oid::DATE, 6).digits()], [(None, None); 2]);
    }

    #[test]
    fn everything_but_a_few_types_travels_as_text() {
        let carried = [oid::BOOL, oid::VARCHAR, oid::BPCHAR, oid::NUMERIC, oid::BYTEA].map(|oid| base(oid, -1).carried());
        assert_eq!(carried, [Carried::Bool, Carried::Text, Carried::Cast, Carried::Cast, Carried::Bytes]);
        let any = BaseType { is_any: true, ..base(oid::JSONB, -1) };
        assert_eq!((any.carried(), any.logical(ANY)), (Carried::Any, LogicalType::Any));
        assert_eq!(base(1007, -1).logical("integer[]"), LogicalType::Other("integer[]".into()));
        let padded = BaseType { output: Some(function("pg_catalog", "bpcharout")), ..base(oid::BPCHAR, 9) };
        assert_eq!(text_of(Carried::Cast, &padded, "x"), r#"pg_catalog.textin("pg_catalog"."bpcharout"(x))"#);
    }
}
