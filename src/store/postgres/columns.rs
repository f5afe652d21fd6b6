//! The columns of tables, and what their types are without the domains around them.

use std::collections::HashMap;

use postgres::Row;

use super::any;
use super::connection::Connection;
use super::faults::failed;
use super::quote::quote;
use super::table::Column;
use super::types::{BaseType, function};
use crate::domain::postgres_type::{ANY, default_value};
use crate::domain::schema::{self, DefaultValue, LogicalType, Numbering};
use crate::domain::value::Value;
use crate::error::Result;

/// A column by its number in its table, as everybody knows it and as PostgreSQL does.
pub(super) type Numbered = (i16, schema::Column, Column);

/// The columns of these tables, in their order.
pub(super) fn read(connection: &mut Connection, tables: &[u32]) -> Result<HashMap<u32, Vec<Numbered>>> {
    let rows = connection.rows(COLUMNS, &[&tables])?;
    let mut types: Vec<u32> = rows.iter().map(|row| row.try_get(4).map_err(failed)).collect::<Result<_>>()?;
    types.sort_unstable();
    types.dedup();
    let types = base_types(connection, &types)?;
    let mut columns: HashMap<u32, Vec<Numbered>> = HashMap::with_capacity(tables.len());
    for row in &rows {
        let table = row.try_get(0).map_err(failed)?;
        columns.entry(table).or_default().push(column(row, &types)?);
    }
    Ok(columns)
}

/// The collation is the column's where it is not its type's own, which is the database's for all but domains and `name`.
const COLUMNS: &str = "SELECT a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod,
    a.attnotnull, a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid),
    l.collname,
    (SELECT pg_catalog.quote_ident(sn.nspname) || '.' || pg_catalog.quote_ident(s.relname) FROM pg_depend o JOIN pg_class s ON s.oid = o.objid AND s.relkind = 'S'
        JOIN pg_namespace sn ON sn.oid = s.relnamespace WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
        AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i') ORDER BY o.deptype DESC, s.oid LIMIT 1)
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation l ON l.oid = a.attcollation AND a.attcollation NOT IN (0, 100) AND a.atttypid <> 'name'::regtype
  WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";

fn column(row: &Row, types: &HashMap<u32, BaseType>) -> Result<Numbered> {
    fn get<'r, T: postgres::types::FromSql<'r>>(row: &'r Row, at: usize) -> Result<T> {
        row.try_get(at).map_err(failed)
    }
    let name: String = get(row, 2)?;
    let declared: String = get(row, 3)?;
    let type_oid: u32 = get(row, 4)?;
    let mut base = types.get(&type_oid).cloned().unwrap_or_default();
    let modifier: i32 = get(row, 5)?;
    if modifier >= 0 {
        base.modifier = modifier;
    }
    let (identity, generated): (String, String) = (get(row, 7)?, get(row, 8)?);
    let expression: Option<String> = get(row, 9)?;
    let collation: Option<String> = get(row, 10)?;
    let sequence: Option<String> = get(row, 11)?;
    let (is_identity, is_generated) = (!identity.is_empty(), !generated.is_empty());
    // What a generated column is computed by stands where others have their default.
    let default = expression.filter(|_| !is_generated);
    // A sequence may belong to a column that does not take its numbers.
    let counts = |default: &String| default.contains("nextval(");
    let sequence = sequence.filter(|_| is_identity || default.as_ref().is_some_and(counts));
    let (precision, scale) = base.digits();
    let nullable = !get::<bool>(row, 6)? && !base.is_not_null;
    let numbering = match identity.as_str() {
        "" => sequence.as_ref().filter(|_| !nullable).map(|_| Numbering::ByDefault),
        "a" => Some(Numbering::Always),
        _ => Some(Numbering::ByDefault),
    };
    let logical = base.logical(&declared);
    let described = schema::Column {
        numbering,
        default: default.as_deref().filter(|_| numbering.is_none()).map(|text| plain_default(text, &logical)),
        logical,
        nullable,
        generated: is_generated,
        collation,
        max_length: base.max_length(),
        precision,
        scale,
        declared_type: declared.clone(),
        name,
        ..schema::Column::default()
    };
    let column =
        Column { quoted: quote(&described.name), type_sql: declared, carried: base.carried(), base, is_generated, sequence };
    Ok((get(row, 1)?, described, column))
}

/// A default as SQL that every database reads alike, if it is a literal or the current time; otherwise as it is.
fn plain_default(text: &str, logical: &LogicalType) -> String {
    let value = match (logical, DefaultValue::parse(text)) {
        // What is in quotes is the JSON of a value.
        (LogicalType::Any, Some(DefaultValue::Literal(Value::Text(json)))) => {
            Some(DefaultValue::Literal(any::decode(&json)))
        }
        _ => default_value(text, logical),
    };
    value.map_or_else(|| text.to_owned(), |value| value.to_sql())
}

/// What types are below the domains around them.
fn base_types(connection: &mut Connection, types: &[u32]) -> Result<HashMap<u32, BaseType>> {
    let rows = connection.rows(TYPES, &[&types])?;
    let base = |row: &Row| {
        let is_domain: bool = row.try_get(6).map_err(failed)?;
        let (schema, name): (String, String) = (row.try_get(7).map_err(failed)?, row.try_get(8).map_err(failed)?);
        let writes_otherwise: bool = row.try_get(9).map_err(failed)?;
        let outermost: String = row.try_get(5).map_err(failed)?;
        let base = BaseType {
            oid: row.try_get(1).map_err(failed)?,
            name: row.try_get(2).map_err(failed)?,
            sql: row.try_get(3).map_err(failed)?,
            modifier: row.try_get(4).map_err(failed)?,
            is_not_null: row.try_get(10).map_err(failed)?,
            is_any: is_domain && outermost == ANY,
            output: writes_otherwise.then(|| function(&schema, &name)),
            operators: row.try_get::<_, Option<Vec<String>>>(11).map_err(failed)?.and_then(|all| all.try_into().ok()),
        };
        Ok((row.try_get(0).map_err(failed)?, base))
    };
    rows.iter().map(base).collect()
}

/// A cast to text that is a function may say something else than the type's output, which its input reads: it drops the spaces behind a
/// `character`, and adds the mask to an `inet`. So does no cast from `name`, and boolean does not travel as text.
const TYPES: &str = "WITH RECURSIVE chain AS (
    SELECT t.oid AS declared, t.oid AS base, 0 AS depth, t.typtypmod AS modifier, t.typnotnull AS not_null FROM pg_type t WHERE t.oid = ANY($1)
    UNION ALL
    SELECT c.declared, b.oid, c.depth + 1, CASE WHEN c.modifier < 0 THEN b.typtypmod ELSE c.modifier END, c.not_null OR b.typnotnull
    FROM chain c JOIN pg_type d ON d.oid = c.base AND d.typtype = 'd' JOIN pg_type b ON b.oid = d.typbasetype)
  SELECT DISTINCT ON (c.declared) c.declared, c.base, b.typname, pg_catalog.format_type(c.base, -1), c.modifier, d.typname, d.typtype = 'd',
    fn.nspname, f.proname, EXISTS (SELECT FROM pg_cast s WHERE s.castsource = c.base AND s.casttarget = 'text'::regtype
        AND s.castfunc <> 0 AND c.base <> 'name'::regtype), c.not_null, o.operators
  FROM chain c JOIN pg_type b ON b.oid = c.base JOIN pg_type d ON d.oid = c.declared
  JOIN pg_proc f ON f.oid = b.typoutput JOIN pg_namespace fn ON fn.oid = f.pronamespace
  LEFT JOIN LATERAL (SELECT array_agg('OPERATOR(' || quote_ident(n.nspname) || '.' || o.oprname || ')' ORDER BY p.amopstrategy) AS operators
    FROM pg_opclass k JOIN pg_am m ON m.oid = k.opcmethod AND m.amname = 'btree'
    JOIN pg_amop p ON p.amopfamily = k.opcfamily AND p.amoplefttype = k.opcintype AND p.amoprighttype = k.opcintype AND p.amoppurpose = 's'
    JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE k.opcintype = c.base AND k.opcdefault HAVING bool_or(n.nspname <> 'pg_catalog')) o ON true
  ORDER BY c.declared, c.depth DESC";
