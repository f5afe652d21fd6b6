//! Primary keys, unique sets and indexes.

use std::collections::HashMap;

use postgres::Row;

use super::connection::Connection;
use super::faults::failed;
use super::table::{Table, UniqueIndex};
use super::types::function;
use crate::domain::schema::{self, IndexPart, UniqueKind, UniqueSet};
use crate::error::Result;

/// An index as the catalogue has it.
pub(super) struct Index {
    name: String,
    constraint: Option<String>,
    is_primary: bool,
    is_unique: bool,
    is_deferrable: bool,
    nulls_not_distinct: bool,
    predicate: Option<String>,
    /// Whether it is a B-tree that compares by the operators of its columns' types.
    is_plain: bool,
    parts: Vec<Part>,
}

/// A column of an index, or an expression.
struct Part {
    /// The number of the column in the table; 0 for an expression.
    number: i16,
    descending: bool,
    /// The name of its collation and its schema, where it is not the column's.
    collation: Option<(String, String)>,
    /// Whether two texts that differ may be the same to that collation.
    is_coarse: bool,
}

/// The indexes of these tables, in the order in which they were made. One that is not whole yet, or never was, counts for nothing.
pub(super) fn read(connection: &mut Connection, tables: &[u32]) -> Result<HashMap<u32, Vec<Index>>> {
    let mut indexes: HashMap<u32, Vec<Index>> = HashMap::new();
    for row in &connection.rows(INDEXES, &[&tables])? {
        indexes.entry(row.try_get(0).map_err(failed)?).or_default().push(index(row)?);
    }
    Ok(indexes)
}

/// `indnullsnotdistinct` came with version 15: where the index has no such column, the name means that of `old`.
const INDEXES: &str = "SELECT x.* FROM (SELECT false AS indnullsnotdistinct) old CROSS JOIN LATERAL (
    SELECT i.indrelid, c.relname, k.conname, i.indisprimary, i.indisunique, NOT i.indimmediate, indnullsnotdistinct,
      pg_get_expr(i.indpred, i.indrelid), m.amname = 'btree' AND coalesce(k.contype <> 'x', true) AND NOT EXISTS (
        SELECT FROM unnest(i.indclass::oid[]) o(oid) JOIN pg_opclass USING (oid) WHERE NOT opcdefault AND opcname NOT LIKE '%\\_pattern\\_ops'),
      NOT i.indisunique AND EXISTS (SELECT FROM unnest(i.indclass::oid[]) o(oid) JOIN pg_opclass USING (oid) WHERE NOT opcdefault),
      p.numbers, p.descending, p.names, p.schemas, p.coarse, i.indexrelid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    CROSS JOIN LATERAL (
      SELECT array_agg(n.number ORDER BY at) AS numbers, array_agg(n.turned & 1 = 1 ORDER BY at) AS descending,
        array_agg(l.collname::text ORDER BY at) AS names, array_agg(s.nspname::text ORDER BY at) AS schemas,
        array_agg(coalesce(NOT l.collisdeterministic, false) ORDER BY at) AS coarse
      FROM unnest(i.indkey::int2[], i.indoption::int2[], i.indcollation::oid[]) WITH ORDINALITY n(number, turned, collated, at)
      LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n.number
      LEFT JOIN pg_collation l ON l.oid = n.collated AND l.oid IS DISTINCT FROM a.attcollation
      LEFT JOIN pg_namespace s ON s.oid = l.collnamespace
      WHERE at <= i.indnkeyatts) p
    WHERE i.indrelid = ANY($1) AND i.indisvalid AND i.indislive) x
  ORDER BY x.indexrelid";

fn index(row: &Row) -> Result<Index> {
    fn get<'r, T: postgres::types::FromSql<'r>>(row: &'r Row, at: usize) -> Result<T> {
        row.try_get(at).map_err(failed)
    }
    let (numbers, descending): (Vec<i16>, Vec<bool>) = (get(row, 10)?, get(row, 11)?);
    let (names, schemas): (Vec<Option<String>>, Vec<Option<String>>) = (get(row, 12)?, get(row, 13)?);
    let coarse: Vec<bool> = get(row, 14)?;
    let collations = names.into_iter().zip(schemas).map(|(name, schema)| name.zip(schema));
    let parts = numbers.into_iter().zip(descending).zip(collations).zip(coarse);
    Ok(Index {
        name: get(row, 1)?,
        constraint: get(row, 2)?,
        is_primary: get(row, 3)?,
        is_unique: get(row, 4)?,
        is_deferrable: get(row, 5)?,
        nulls_not_distinct: get(row, 6)?,
        predicate: get(row, 7)?,
        is_plain: get(row, 8)? && !get::<bool>(row, 9)?,
        parts: parts
            .map(|(((number, descending), collation), is_coarse)| Part { number, descending, collation, is_coarse })
            .collect(),
    })
}

impl Index {
    /// Adds it to its table, whose columns are at these positions.
    pub(super) fn add_to(self, table: &mut Table, positions: &HashMap<i16, usize>) {
        let columns: Option<Vec<usize>> = self.parts.iter().map(|part| positions.get(&part.number).copied()).collect();
        if !self.is_unique {
            return self.add_plain(table, columns);
        }
        let is_coarser = !self.is_plain || self.parts.iter().any(|part| part.is_coarse);
        let names = |columns: &[usize]| columns.iter().map(|at| table.schema.columns[*at].name.clone()).collect::<Vec<_>>();
        let index = UniqueIndex {
            columns: columns.clone().unwrap_or_default(),
            collates: self.parts.iter().map(|part| part.collate()).collect(),
            is_deferrable: self.is_deferrable,
            nulls_not_distinct: self.nulls_not_distinct,
            is_coarser,
            predicate: self.predicate.clone(),
            constraint: self.constraint.clone(),
            name: self.name.clone(),
        };
        if self.is_primary {
            table.schema.primary_key = names(&index.columns);
            table.primary = Some(index);
            return;
        }
        let kind = match (&columns, &self.predicate) {
            (None, _) => UniqueKind::Expression,
            (Some(_), _) if is_coarser => UniqueKind::Expression,
            (Some(_), Some(_)) => UniqueKind::Partial,
            (Some(_), None) => UniqueKind::Full,
        };
        // A column may stand in an index several times, and once among those of a set.
        let mut listed = if kind == UniqueKind::Expression { Vec::new() } else { names(&index.columns) };
        let mut seen = std::collections::HashSet::new();
        listed.retain(|name| seen.insert(name.clone()));
        let says_more = self.parts.iter().any(|part| part.descending || part.collation.is_some());
        let parts = match (kind, &columns) {
            (UniqueKind::Full | UniqueKind::Partial, Some(columns)) if says_more || listed.len() < columns.len() => {
                self.parts(table, columns)
            }
            _ => Vec::new(),
        };
        let index_name = self.constraint.is_none().then_some(self.name);
        table.schema.unique.push(UniqueSet {
            columns: listed,
            kind,
            index: index_name,
            parts,
            nulls_not_distinct: index.nulls_not_distinct,
            ..UniqueSet::default()
        });
        table.unique.push(index);
    }

    fn add_plain(self, table: &mut Table, columns: Option<Vec<usize>>) {
        match columns.filter(|_| self.is_plain && self.predicate.is_none()) {
            Some(columns) => {
                let parts = self.parts(table, &columns);
                table.schema.indexes.push(schema::Index { name: self.name, parts });
            }
            None => table.schema.other_indexes.push(self.name),
        }
    }

    fn parts(&self, table: &Table, columns: &[usize]) -> Vec<IndexPart> {
        let part = |(part, at): (&Part, &usize)| IndexPart {
            column: table.schema.columns[*at].name.clone(),
            collation: part.collation.as_ref().map(|(name, _)| name.clone()),
            descending: part.descending,
        };
        self.parts.iter().zip(columns).map(part).collect()
    }
}

impl Part {
    /// Its collation as SQL, where it is not the column's.
    fn collate(&self) -> String {
        self.collation.as_ref().map_or_else(String::new, |(name, schema)| format!(" COLLATE {}", function(schema, name)))
    }
}
