//! What a pull should have done, worked out by SQL on the files, independently of the pull and its report.
//!
//! Three databases are compared: the shop, the backup as it was before the pull, and the backup after it.

use std::path::Path;

use rowferry::{Error, ErrorKind, Result, Strategy};
use rusqlite::{Connection, OpenFlags, Statement};

use super::data::Table;
use super::failed;

/// The three databases, under these names.
pub const SHOP: &str = "shop";
pub const BEFORE: &str = "before_pull";
pub const AFTER: &str = "after_pull";

/// How many records should have become what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub skipped: u64,
}

/// Looks at the three databases.
pub struct Check(Connection);

impl Check {
    pub fn open(shop: &Path, before: &Path, after: &Path) -> Result<Self> {
        let sqlite = Connection::open_in_memory_with_flags(OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        for (path, name) in [(shop, SHOP), (before, BEFORE), (after, AFTER)] {
            let path = path.to_string_lossy();
            sqlite.execute(&format!("ATTACH ?1 AS {name}"), [&*path]).map_err(failed)?;
        }
        sqlite.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Check(sqlite))
    }

    /// How many rows a table has.
    pub fn rows(&self, database: &str, table: &Table) -> Result<u64> {
        self.number(&format!("SELECT count(*) FROM {database}.{}", quote(table.name)))
    }

    /// Whether a table holds the same rows in two databases.
    pub fn same(&self, table: &Table, one: &str, other: &str) -> Result<bool> {
        let columns = list(&self.columns(table)?);
        let rows = |database: &str| format!("SELECT {columns} FROM {database}.{}", quote(table.name));
        self.equal(&rows(one), &rows(other))
    }

    /// What becomes of the shop's records in a pull of all tables by this strategy, and whether the table is now what that
    /// makes of it.
    pub fn pulled(&self, table: &Table, strategy: Strategy) -> Result<(Counts, bool)> {
        match (strategy, table.key) {
            (Strategy::Append, _) => self.appended(table),
            (_, []) => self.counted(table, strategy),
            (_, _) => self.keyed(table, strategy),
        }
    }

    /// Whether every reference leads to a row.
    pub fn references_hold(&self) -> Result<bool> {
        let mut broken = self.0.prepare(&format!("PRAGMA {AFTER}.foreign_key_check")).map_err(failed)?;
        broken.exists([]).map(|broken| !broken).map_err(failed)
    }

    /// Rows with a key: each record meets the row of its key, or is new.
    fn keyed(&self, table: &Table, strategy: Strategy) -> Result<(Counts, bool)> {
        let columns = self.columns(table)?;
        let name = quote(table.name);
        let on: Vec<String> = table.key.iter().map(|key| format!("h.{0} = s.{0}", quote(key))).collect();
        let on = on.join(" AND ");
        let becomes = |column: &String| match strategy {
            Strategy::Overwrite => format!("s.{column}"),
            Strategy::Merge => format!("coalesce(s.{column}, h.{column})"),
            _ => format!("h.{column}"),
        };
        let becomes: Vec<String> = columns.iter().map(becomes).collect();
        let stays =
            |(column, new): (&String, &String)| format!("{new} IS h.{column} AND typeof({new}) = typeof(h.{column})");
        let stays = columns.iter().zip(&becomes).map(stays).collect::<Vec<_>>().join(" AND ");
        let both = format!("{SHOP}.{name} s JOIN {BEFORE}.{name} h ON {on}");
        let found = self.number(&format!("SELECT count(*) FROM {both}"))?;
        let mut counts = Counts { created: self.rows(SHOP, table)? - found, ..Counts::default() };
        match strategy {
            Strategy::Overwrite | Strategy::Merge => {
                counts.unchanged = self.number(&format!("SELECT count(*) FROM {both} WHERE {stays}"))?;
                counts.updated = found - counts.unchanged;
            }
            _ => counts.skipped = found,
        }
        let all = |from: &str| columns.iter().map(|column| format!("{from}.{column}")).collect::<Vec<_>>().join(", ");
        let expected = format!(
            "SELECT {} FROM {both}
             UNION ALL SELECT {} FROM {SHOP}.{name} s WHERE NOT EXISTS (SELECT 1 FROM {BEFORE}.{name} h WHERE {on})
             UNION ALL SELECT {} FROM {BEFORE}.{name} h WHERE NOT EXISTS (SELECT 1 FROM {SHOP}.{name} s WHERE {on})",
            becomes.join(", "),
            all("s"),
            all("h")
        );
        let equal = self.equal(&expected, &format!("SELECT {} FROM {AFTER}.{name} a", all("a")))?;
        Ok((counts, equal))
    }

    /// Rows without a key: afterwards each stands there as often as on the side that had it more often.
    fn counted(&self, table: &Table, strategy: Strategy) -> Result<(Counts, bool)> {
        let columns = list(&self.columns(table)?);
        let name = quote(table.name);
        let counted = |database: &str, shop: &str, here: &str| {
            format!("SELECT {columns}, {shop} AS shop, {here} AS here FROM {database}.{name} GROUP BY {columns}")
        };
        let both = format!(
            "SELECT {columns}, sum(shop) AS shop, sum(here) AS here
             FROM ({} UNION ALL {}) GROUP BY {columns}",
            counted(SHOP, "count(*)", "0"),
            counted(BEFORE, "0", "count(*)")
        );
        let created = self.number(&format!("SELECT sum(max(shop - here, 0)) FROM ({both})"))?;
        let found = self.rows(SHOP, table)? - created;
        let counts = match strategy {
            Strategy::Overwrite | Strategy::Merge => Counts { created, unchanged: found, ..Counts::default() },
            _ => Counts { created, skipped: found, ..Counts::default() },
        };
        let expected = format!("SELECT {columns}, max(shop, here) FROM ({both})");
        let actual = format!("SELECT {columns}, count(*) FROM {AFTER}.{name} GROUP BY {columns}");
        Ok((counts, self.equal(&expected, &actual)?))
    }

    /// Rows with new keys: each record is a new row, unless there is one with the same values in a unique set. Keys are left
    /// out of the comparison: what they lead to takes their place.
    fn appended(&self, table: &Table) -> Result<(Counts, bool)> {
        let natural = |database: &str| table.natural.replace('$', database);
        let columns = self.0.prepare(&natural(SHOP)).map_err(failed)?.column_count();
        let numbered = |rows: String| {
            let names: Vec<String> = (1..=columns).map(|at| format!("c{at}")).collect();
            format!("n({}) AS ({rows})", names.join(", "))
        };
        let unique: Vec<String> = (1..=table.unique).map(|at| format!("c{at}")).collect();
        let condition = match table.unique {
            0 => "1".to_owned(),
            _ => {
                let here = format!("WITH {} SELECT {} FROM n", numbered(natural(BEFORE)), unique.join(", "));
                format!("({}) NOT IN ({here})", unique.join(", "))
            }
        };
        let new = format!("WITH {} SELECT * FROM n WHERE {condition}", numbered(natural(SHOP)));
        let created = self.number(&format!("SELECT count(*) FROM ({new})"))?;
        let counts = Counts { created, skipped: self.rows(SHOP, table)? - created, ..Counts::default() };
        let expected = format!("SELECT * FROM ({}) UNION ALL SELECT * FROM ({new})", natural(BEFORE));
        Ok((counts, self.equal(&expected, &natural(AFTER))?))
    }

    /// Whether two queries give the same rows, in any order: the same values of the same storage classes.
    fn equal(&self, one: &str, other: &str) -> Result<bool> {
        let mut one = self.sorted(one)?;
        let mut other = self.sorted(other)?;
        let width = one.column_count();
        let (mut one, mut other) = (one.query([]).map_err(failed)?, other.query([]).map_err(failed)?);
        loop {
            let (a, b) = (one.next().map_err(failed)?, other.next().map_err(failed)?);
            let (a, b) = match (a, b) {
                (None, None) => return Ok(true),
                (Some(a), Some(b)) => (a, b),
                _ => return Ok(false),
            };
            for column in 0..width {
                if a.get_ref(column).map_err(failed)? != b.get_ref(column).map_err(failed)? {
                    return Ok(false);
                }
            }
        }
    }

    fn sorted(&self, query: &str) -> Result<Statement<'_>> {
        let columns = self.0.prepare(query).map_err(failed)?.column_count();
        let order: Vec<String> = (1..=columns).map(|at| at.to_string()).collect();
        self.0.prepare(&format!("SELECT * FROM ({query}) ORDER BY {}", order.join(", "))).map_err(failed)
    }

    /// The names of the shop's columns, quoted.
    fn columns(&self, table: &Table) -> Result<Vec<String>> {
        let sql = format!("SELECT name FROM pragma_table_xinfo(?1, '{SHOP}')");
        let mut statement = self.0.prepare(&sql).map_err(failed)?;
        let names = statement.query_map([table.name], |row| row.get::<_, String>(0)).map_err(failed)?;
        names.map(|name| name.map(|name| quote(&name)).map_err(failed)).collect()
    }

    /// The count that a query gives; a sum over no rows is none.
    fn number(&self, query: &str) -> Result<u64> {
        let number = self.0.query_row(query, [], |row| row.get::<_, Option<i64>>(0)).map_err(failed)?;
        let count = u64::try_from(number.unwrap_or_default());
        count.map_err(|error| Error::new(ErrorKind::Database, format!("a count cannot be read: {error}")))
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(columns: &[String]) -> String {
    columns.join(", ")
}
