//! Which rows keep another one out by a unique set.
//!
//! Sets of plain columns, over all rows, are looked up. What an index over an expression or over some of the rows makes of a
//! row only SQLite knows. So it is made to insert the row, in a savepoint of its own: each row that it names as the one in the way is
//! noted and deleted, until none is left. Triggers and foreign keys are off meanwhile, and all of it is undone.

use super::dialect::{Parameter, borrowed, failed, of_run, quote, quote_all, refusal};
use super::keys::key_parts;
use super::transaction::Transaction;
use crate::domain::schema::{TableSchema, UniqueKind, UniqueSet};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sets;

/// A local row, and what is wanted of it: see [`Writer::clashes`](crate::store::Writer::clashes).
pub(super) struct Clashing<'c> {
    pub(super) table: &'c TableSchema,
    pub(super) key: &'c [usize],
    pub(super) sets: Sets,
    pub(super) rows: &'c Rows,
    pub(super) row: usize,
}

pub(super) fn clashes(transaction: &mut Transaction, row: &Clashing<'_>, found: &mut Rows) -> Result<()> {
    found.clear(row.key.len());
    if row.wanted().all(|set| row.is_known(set)) {
        return row.look_up(transaction, row.rows, row.row, found);
    }
    let (mut others, inserted) = row.quietly(transaction, |transaction| row.make_room(transaction))?;
    match (row.sets, inserted) {
        (Sets::All, Some(_)) => others.drain(..).for_each(|key| found.push(key.iter().map(Value::as_ref))),
        // The database has filled in what the row lacks.
        (Sets::Full, Some(whole)) => row.look_up(transaction, &whole, 0, found)?,
        (_, None) => {}
    }
    Ok(())
}

impl Clashing<'_> {
    fn wanted(&self) -> impl Iterator<Item = &UniqueSet> {
        self.table.unique.iter().filter(|set| self.sets == Sets::All || set.kind == UniqueKind::Full)
    }

    /// Whether the row says all that decides whether another one has the same values.
    fn is_known(&self, set: &UniqueSet) -> bool {
        let says = |name: &String| {
            self.table.column_index(name).is_some_and(|at| {
                let column = &self.table.columns[at];
                self.rows.get(self.row, at).is_some() || (column.default.is_none() && !column.generated)
            })
        };
        set.kind == UniqueKind::Full && set.columns.iter().all(says)
    }

    /// The columns of the key with their values, if the row has all of them.
    fn own_key<'r>(&self, rows: &'r Rows, row: usize) -> Option<Vec<ValueRef<'r>>> {
        let value = |at: &usize| rows.get(row, *at).filter(|value| !value.is_null());
        self.key.iter().map(value).collect::<Option<Vec<_>>>().filter(|key| !key.is_empty())
    }

    fn name(&self, column: usize) -> String {
        quote(&self.table.columns[column].name)
    }

    fn look_up(&self, transaction: &Transaction, rows: &Rows, row: usize, found: &mut Rows) -> Result<()> {
        // A key that the database has given it may be that of a row which was in its way.
        let own = self.own_key(self.rows, self.row);
        let read: Vec<String> = self.key.iter().map(|at| self.name(*at)).collect();
        for set in self.wanted() {
            let Some(columns) = self.table.column_indexes(&set.columns) else { continue };
            let values = columns.iter().map(|at| rows.get(row, *at).filter(|value| !value.is_null()));
            let Some(mut values) = values.collect::<Option<Vec<_>>>() else { continue };
            let equal = columns.iter().map(|at| format!("{} = ?", self.name(*at))).collect::<Vec<_>>().join(" AND ");
            let mut sql = format!("SELECT {} FROM {} WHERE {equal}", read.join(", "), quote(&self.table.name));
            if let Some(own) = &own {
                let same = key_parts(self.table, self.key)
                    .iter()
                    .map(|part| format!("{part} = ?"))
                    .collect::<Vec<_>>()
                    .join(" AND ");
                sql.push_str(&format!(" AND ({same}) IS NOT TRUE"));
                values.extend(own);
            }
            for key in query(transaction, &sql, &values).map_err(failed)? {
                let is_same = |at: usize| (0..key.len()).all(|part| found.get(at, part) == Some(key[part].as_ref()));
                if !(0..found.len()).any(is_same) {
                    found.push(key.iter().map(Value::as_ref));
                }
            }
        }
        Ok(())
    }

    /// Does something that is undone, with triggers and foreign keys off where the table has to do with any.
    fn quietly<T>(&self, transaction: &mut Transaction, work: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let is_quiet = match &transaction.quiet {
            Some((table, is_quiet)) if *table == self.table.name => *is_quiet,
            _ => {
                let overview = transaction.connection.overview()?;
                let is_quiet = self.table.foreign_keys.is_empty()
                    && !overview.has_triggers(&self.table.name)
                    && overview.references_to(&self.table.name).is_empty();
                transaction.quiet = Some((self.table.name.clone(), is_quiet));
                is_quiet
            }
        };
        match is_quiet {
            true => transaction.undone(|| work(transaction)),
            false => transaction.undone_alone(|| work(transaction)),
        }
    }

    /// Deletes what is in the way of the row until SQLite inserts it. Gives the keys of what was deleted, and the row with all its columns,
    /// unless SQLite refuses it for another reason.
    fn make_room(&self, transaction: &Transaction) -> Result<(Vec<Vec<Value>>, Option<Rows>)> {
        let same =
            key_parts(self.table, self.key).iter().map(|part| format!("{part} IS ?")).collect::<Vec<_>>().join(" AND ");
        let delete = format!("DELETE FROM {} WHERE {same}", quote(&self.table.name));
        if let Some(own) = self.own_key(self.rows, self.row) {
            query(transaction, &delete, &own).map_err(failed)?;
        }
        let mut columns: Vec<usize> =
            (0..self.rows.width()).filter(|column| self.rows.get(self.row, *column).is_some()).collect();
        if columns.is_empty() {
            columns.extend(self.key.first());
        }
        let values: Vec<ValueRef<'_>> =
            columns.iter().map(|at| self.rows.get(self.row, *at).unwrap_or(ValueRef::Null)).collect();
        let Some(first) = columns.first().map(|at| self.name(*at)) else { return Ok((Vec::new(), None)) };
        let insert = format!(
            "INSERT OR ABORT INTO {}({}) VALUES ({}) ON CONFLICT DO UPDATE SET {first} = {}.{first} WHERE rowferry_hit() \
             RETURNING {}",
            quote(&self.table.name),
            quote_all(columns.iter().map(|at| self.table.columns[*at].name.as_str())),
            vec!["?"; columns.len()].join(", "),
            quote(&self.table.name),
            quote_all(self.table.columns.iter().map(|column| column.name.as_str())),
        );
        let mut found = Vec::new();
        loop {
            let before = transaction.connection.hits();
            let row = match query(transaction, &insert, &values).map(|mut rows| rows.pop()) {
                Ok(row) => row,
                Err(error) if refusal(&error).is_some() => {
                    transaction.still_open()?;
                    return Ok((Vec::new(), None));
                }
                Err(error) => return Err(failed(error)),
            };
            let lost =
                || Error::new(ErrorKind::Database, format!("a row of {:?} is in the way and not there", self.table.name));
            let row = row.ok_or_else(lost)?;
            if transaction.connection.hits() == before {
                let mut whole = Rows::new(row.len());
                whole.push(row.iter().map(Value::as_ref));
                return Ok((found, Some(whole)));
            }
            let key: Vec<Value> = self.key.iter().map(|at| row[*at].clone()).collect();
            let values: Vec<ValueRef<'_>> = key.iter().map(Value::as_ref).collect();
            query(transaction, &delete, &values).map_err(failed)?;
            if transaction.connection.sqlite.changes() == 0 {
                return Err(lost());
            }
            found.push(key);
        }
    }
}

/// Runs a statement to its end; gives the rows that it gave.
fn query(transaction: &Transaction, sql: &str, values: &[ValueRef<'_>]) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = transaction.connection.sqlite.prepare_cached(sql)?;
    for (at, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, Parameter(*value))?;
    }
    let width = statement.column_count();
    let (mut answer, mut rows) = (statement.raw_query(), Vec::new());
    while let Some(row) = answer.next().map_err(of_run)? {
        let cells = (0..width).map(|at| row.get_ref(at).map(|value| borrowed(value).to_owned()));
        rows.push(cells.collect::<rusqlite::Result<Vec<Value>>>()?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::store::Store;
    use crate::store::sqlite::SqliteStore;

    /// The keys of the rows that keep a row out, sorted; nothing of the table has changed then.
    fn clashes(tables: &str, row: &[Option<Value>], sets: Sets) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch(tables).unwrap();
        let store = SqliteStore::open(&path, &Limits::default()).unwrap();
        let mut writer = store.writer().unwrap();
        let table = writer.schema("t").unwrap().unwrap();
        let key = crate::plan::table::key_of(&table).unwrap().unwrap().0;
        let contents = |writer: &mut dyn crate::store::Writer| {
            let mut rows = Rows::default();
            let bounds = crate::store::PageBounds { rows: 1_000, bytes: 1 << 20 };
            writer.page(&table, None, bounds, &mut rows).unwrap();
            (0..rows.len())
                .map(|row| rows.row(row).map(|cell| cell.map(ValueRef::to_owned)).collect())
                .collect::<Vec<Vec<_>>>()
        };
        let before = contents(&mut *writer);
        let (mut rows, mut found) = (Rows::new(row.len()), Rows::default());
        rows.start_row();
        row.iter().enumerate().for_each(|(at, cell)| cell.iter().for_each(|value| rows.set(at, value.as_ref())));
        writer.clashes(&table, &key, sets, &rows, 0, &mut found).unwrap();
        assert_eq!(contents(&mut *writer), before);
        let mut keys: Vec<Value> =
            (0..found.len()).map(|row| found.get(row, 0).map_or(Value::Null, ValueRef::to_owned)).collect();
        keys.sort_by_key(|key| format!("{key:?}"));
        keys
    }

    fn row<const N: usize>(cells: [Value; N]) -> [Option<Value>; N] {
        cells.map(Some)
    }

    #[test]
    fn every_kind_of_set_counts() {
        let ids = |ids: &[i64]| ids.iter().map(|id| Value::Integer(*id)).collect::<Vec<_>>();
        let find = |tables: &str, cells: &[Option<Value>]| clashes(tables, cells, Sets::All);
        for rest in ["", "STRICT", "WITHOUT ROWID"] {
            let sql = format!(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT UNIQUE, gone TEXT, c TEXT, UNIQUE(c, b)) {rest};
                 CREATE UNIQUE INDEX living ON t(a) WHERE gone IS NULL;
                 CREATE UNIQUE INDEX lower ON t(lower(c));
                 CREATE UNIQUE INDEX other ON t(c COLLATE RTRIM);
                 INSERT INTO t VALUES (1, 'x', 1, NULL, 'A'), (2, 'y', 2, NULL, 'q '), (3, 'x', 3, 'then', 'z'), (4, 'z', 4, NULL, NULL);"
            );
            let [null, then]: [Value; 2] = [Value::Null, "then".into()];
            let (x, y): (Value, Value) = ("x".into(), "y".into());
            assert_eq!(
                find(&sql, &row([9.into(), x.clone(), 2.into(), null.clone(), "Z".into()])),
                ids(&[1, 2, 3]),
                "{rest}"
            );
            assert_eq!(find(&sql, &row([9.into(), x.clone(), 9.into(), then, "a".into()])), ids(&[1]), "{rest}");
            assert_eq!(
                find(&sql, &row([9.into(), null.clone(), null.clone(), null.clone(), "q".into()])),
                ids(&[2]),
                "{rest}"
            );
            // Its own row is in nobody's way, and NULL is like nothing.
            assert_eq!(find(&sql, &row([1.into(), x.clone(), 1.into(), null.clone(), "a".into()])), ids(&[]), "{rest}");
            assert_eq!(find(&sql, &row([2.into(), y, 2.into(), null.clone(), null.clone()])), ids(&[]), "{rest}");
            // Only full sets are asked for.
            let cells = row([9.into(), x, 4.into(), null, "a".into()]);
            assert_eq!(clashes(&sql, &cells, Sets::Full), ids(&[4]), "{rest}");
            assert_eq!(find(&sql, &cells), ids(&[1, 4]), "{rest}");
        }
    }

    #[test]
    fn what_the_row_lacks_the_database_fills_in() {
        let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, g INT AS (a * 2) UNIQUE, d TEXT DEFAULT 'x' UNIQUE);
                   INSERT INTO t(id, a, d) VALUES (1, 5, 'x'), (2, 6, 'y');";
        let cells = [Some(9.into()), Some(6.into()), None, None];
        for sets in [Sets::All, Sets::Full] {
            assert_eq!(clashes(sql, &cells, sets), [Value::Integer(1), Value::Integer(2)], "{sets:?}");
        }
        let alone = [None, None, None, Some("y".into())];
        assert_eq!(clashes(sql, &alone, Sets::All), [Value::Integer(2)]);
        // The key that it would get when what is in its way is gone is that of the row in its way.
        let alone = [None, Some(6.into()), None, Some("z".into())];
        assert_eq!(clashes(sql, &alone, Sets::Full), [Value::Integer(2)]);
    }

    #[test]
    fn nothing_else_hears_of_it() {
        let sql = "PRAGMA foreign_keys = ON;
            CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT UNIQUE ON CONFLICT REPLACE, c TEXT, CHECK (c <> 'no'));
            CREATE UNIQUE INDEX part ON t(c) WHERE c > '';
            CREATE TABLE child(t REFERENCES t(id) ON DELETE CASCADE, a REFERENCES t(a) ON DELETE RESTRICT);
            CREATE TRIGGER no BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
            CREATE TRIGGER not_either BEFORE INSERT ON t BEGIN SELECT RAISE(IGNORE); END;
            CREATE TRIGGER nor_this BEFORE UPDATE ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
            DROP TRIGGER not_either; INSERT INTO t VALUES (1, 'x', 'c'), (2, 'y', 'd');
            CREATE TRIGGER not_either BEFORE INSERT ON t BEGIN SELECT RAISE(IGNORE); END;
            INSERT INTO child VALUES (1, 'x');";
        let cells = row([2.into(), "x".into(), "c".into()]);
        assert_eq!(clashes(sql, &cells, Sets::All), [Value::Integer(1)]);
        // A row that the table would never take clashes with none.
        assert_eq!(clashes(sql, &row([2.into(), "x".into(), "no".into()]), Sets::All), []);
    }
}
