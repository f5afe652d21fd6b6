//! Values as parameters: an array for each column, so that one statement takes one row or thousands.

use std::borrow::Cow;

use postgres::types::ToSql;

use super::any;
use super::casts::{Adapted, Cast};
use super::types::Carried;
use crate::domain::value::ValueRef;

/// The values of one column.
#[derive(Debug)]
pub(super) enum Array<'v> {
    Bool(Vec<Option<bool>>),
    Integer(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Text(Vec<Option<Cow<'v, str>>>),
    Bytes(Vec<Option<&'v [u8]>>),
}

impl<'v> Array<'v> {
    /// An array for a column.
    pub(super) fn new(cast: &Cast, rows: usize) -> Self {
        match cast.carried {
            Carried::Bool => Array::Bool(Vec::with_capacity(rows)),
            Carried::Int2 | Carried::Int4 | Carried::Int8 => Array::Integer(Vec::with_capacity(rows)),
            Carried::Float4 | Carried::Float8 => Array::Real(Vec::with_capacity(rows)),
            Carried::Bytes => Array::Bytes(Vec::with_capacity(rows)),
            Carried::Text | Carried::Any | Carried::Cast => Array::Text(Vec::with_capacity(rows)),
        }
    }

    /// Adds a value, and says whether the column may hold it. One that it cannot hold is NULL in the array.
    pub(super) fn push(&mut self, cast: &Cast, value: ValueRef<'v>) -> bool {
        let (value, text) = match cast.adapt(value) {
            Adapted::Ready(value) => (value, None),
            Adapted::Text(text) => (ValueRef::Null, Some(text)),
            Adapted::Misfit(..) => {
                self.push_null();
                return false;
            }
        };
        match (self, value) {
            (Array::Bool(array), ValueRef::Integer(v)) => array.push(Some(v != 0)),
            (Array::Integer(array), ValueRef::Integer(v)) => array.push(Some(v)),
            (Array::Real(array), ValueRef::Real(v)) => array.push(Some(v)),
            (Array::Bytes(array), ValueRef::Blob(v)) => array.push(Some(v)),
            (Array::Text(array), ValueRef::Null) => array.push(text),
            (Array::Text(array), value) if cast.carried == Carried::Any => array.push(any::json(value).map(Cow::Owned)),
            // It was found to be UTF-8.
            (Array::Text(array), ValueRef::Text(v)) => array.push(Some(String::from_utf8_lossy(v))),
            (array, _) => array.push_null(),
        }
        true
    }

    pub(super) fn push_null(&mut self) {
        match self {
            Array::Bool(array) => array.push(None),
            Array::Integer(array) => array.push(None),
            Array::Real(array) => array.push(None),
            Array::Text(array) => array.push(None),
            Array::Bytes(array) => array.push(None),
        }
    }

    pub(super) fn as_parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Array::Bool(array) => array,
            Array::Integer(array) => array,
            Array::Real(array) => array,
            Array::Text(array) => array,
            Array::Bytes(array) => array,
        }
    }
}

/// Arrays as parameters.
pub(super) fn parameters<'a>(arrays: &'a [Array<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    arrays.iter().map(Array::as_parameter).collect()
}

/// What a statement reads the rows of arrays from, as `s(c0, c1, ..)`. The first array is the parameter of this number.
pub(super) fn source(casts: &[&Cast], first: usize) -> String {
    let arrays: Vec<String> = casts
        .iter()
        .enumerate()
        .map(|(at, cast)| format!("pg_catalog.unnest(${}::{})", first + at, cast.array_type()))
        .collect();
    let names: Vec<String> = (0..casts.len()).map(|at| format!("c{at}")).collect();
    format!("ROWS FROM ({}) WITH ORDINALITY AS s({}, n)", arrays.join(", "), names.join(", "))
}
