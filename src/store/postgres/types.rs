//! How the values of a column travel between PostgreSQL and rowferry.

/// How a column's values travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Text,
    Bytes,
    /// Values of every class, in rowferry's own domain for columns that have no type.
    Any,
    /// As the text that PostgreSQL gives, which its own cast reads again.
    Cast,
}
