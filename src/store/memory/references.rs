//! References between rows: whether one is whole, and what becomes of the rows that refer to one whose values change.

use super::rows::{Data, Stop, Write, default};
use super::table::{Row, Table, Tables, order};
use crate::domain::record::Reason;
use crate::domain::schema::{ForeignKey, ForeignKeyAction};
use crate::domain::value::{Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;
use crate::store::{Check, Referring, Target};

/// How many rows may follow one another, each because the one before it changed.
const DEEPEST: usize = 100;

/// Whether a row of this table refers to nothing by this foreign key. Where a value is NULL it refers to nothing that must be
/// there.
fn is_broken(tables: &Tables, table: &Table, key: &ForeignKey, row: &[Value]) -> bool {
    let Some(values) = table.schema.column_indexes(&key.columns).and_then(|columns| values(row, &columns)) else {
        return false;
    };
    let parent = tables.get(&key.parent);
    let found = parent.and_then(|parent| {
        let columns = parent.schema.column_indexes(&key.parent_columns)?;
        Some(!parent.matching(&columns, &values).is_empty())
    });
    found != Some(true)
}

/// The values of these columns; `None` if one is NULL.
fn values<'r>(row: &'r [Value], columns: &[usize]) -> Option<Vec<ValueRef<'r>>> {
    columns.iter().map(|at| row.get(*at).map(Value::as_ref).filter(|value| !value.is_null())).collect()
}

fn broken(table: &Table, key: &ForeignKey) -> Stop {
    let message = format!("it refers to a row of {:?} that is not there", key.parent);
    Stop::refused(Reason::ForeignKey, key.columns.first().map(String::as_str), format!("{:?}: {message}", table.schema.name))
}

impl Write<'_> {
    /// Looks at the references of a row: at all, or at those that these columns are part of.
    pub(super) fn check_references(&mut self, name: &str, id: u64, changed: Option<&[usize]>) -> Result<(), Stop> {
        if self.check == Check::ByCaller {
            return Ok(());
        }
        let table = self.data.tables.table(name)?;
        let Some(row) = table.row(id) else { return Ok(()) };
        let is_meant = |key: &&ForeignKey| {
            let is_changed =
                |name| table.schema.column_index(name).is_some_and(|at| changed.is_some_and(|all| all.contains(&at)));
            changed.is_none() || key.columns.iter().any(|name| is_changed(name))
        };
        let mut keys = table.schema.foreign_keys.iter().filter(is_meant);
        match keys.find(|key| is_broken(&self.data.tables, table, key, row)) {
            None => Ok(()),
            Some(key) if self.check == Check::Now => Err(broken(table, key)),
            Some(_) => {
                self.data.unchecked.insert((name.to_owned(), id));
                Ok(())
            }
        }
    }

    /// Lets the rows that refer to one that was changed follow it, as their foreign keys say.
    pub(super) fn follow(&mut self, name: &str, (old, new): (&Row, &Row), depth: usize) -> Result<(), Stop> {
        let table = self.data.tables.table(name)?;
        let is_changed = |at: usize| order(old[at].as_ref(), new[at].as_ref()).is_ne();
        // Only what is unique can be referred to.
        let changed: Vec<usize> = (0..old.len()).filter(|at| is_changed(*at) && table.identifies(*at)).collect();
        if self.check == Check::ByCaller || changed.is_empty() {
            return Ok(());
        }
        if depth >= DEEPEST {
            let message = format!("more than {DEEPEST} rows would have to follow one another");
            return Err(Stop::refused(Reason::Refused, None, message));
        }
        let mut stay = Vec::new();
        for (child, key, columns) in referring(&self.data.tables, table, &changed) {
            let Some(before) = values(old, &columns) else { continue };
            let referring = self.data.tables.table(&child)?;
            let Some(own) = referring.schema.column_indexes(&key.columns) else { continue };
            let ids = referring.matching(&own, &before);
            let each = |value: &dyn Fn(usize) -> Value| own.iter().enumerate().map(|(at, own)| (*own, value(at))).collect();
            let set: Vec<(usize, Value)> = match key.on_update {
                ForeignKeyAction::Restrict if !ids.is_empty() => return Err(held(&child)),
                ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => {
                    stay.push((child, key, ids));
                    continue;
                }
                ForeignKeyAction::Cascade => each(&|at| new[columns[at]].clone()),
                ForeignKeyAction::SetNull => each(&|_| Value::Null),
                ForeignKeyAction::SetDefault => each(&|at| default(&referring.schema.columns[own[at]])),
            };
            let mut followed = ids.into_iter().map(|id| self.update(&child, id, &set, depth + 1));
            followed.try_for_each(|done| done.map_err(Stop::of_follower))?;
        }
        for (child, key, ids) in stay {
            let referring = self.data.tables.table(&child)?;
            let rows = ids.into_iter().filter_map(|id| Some((id, referring.row(id)?)));
            let broken = rows.filter(|(_, row)| is_broken(&self.data.tables, referring, &key, row));
            let broken: Vec<u64> = broken.map(|(id, _)| id).collect();
            match self.check {
                Check::Now if !broken.is_empty() => return Err(held(&child)),
                _ => self.data.unchecked.extend(broken.into_iter().map(|id| (child.clone(), id))),
            }
        }
        Ok(())
    }
}

fn held(child: &str) -> Stop {
    Stop::refused(Reason::ForeignKey, None, format!("rows of {child:?} refer to what the row has now"))
}

/// The foreign keys that refer to one of these columns of a table: each with the name of its own table, and where the columns
/// that it refers to stand.
fn referring(tables: &Tables, parent: &Table, columns: &[usize]) -> Vec<(String, ForeignKey, Vec<usize>)> {
    let mut found = Vec::new();
    for child in tables.iter() {
        let keys = child.schema.foreign_keys.iter();
        for key in keys.filter(|key| child.schema.names.same(&key.parent, &parent.schema.name)) {
            if let Some(to) = parent.schema.column_indexes(&key.parent_columns)
                && to.iter().any(|at| columns.contains(at))
            {
                found.push((child.schema.name.clone(), key.clone(), to));
            }
        }
    }
    found
}

impl Tables {
    /// The foreign keys that refer to a table.
    pub(super) fn referring(&self, parent: &str) -> Vec<Referring> {
        let of_child = |child: &Table| {
            let schema = std::sync::Arc::clone(&child.schema);
            let keys = schema.foreign_keys.iter().filter(|key| schema.names.same(&key.parent, parent));
            keys.map(|key| Referring { table: schema.name.clone(), key: key.clone(), deferred: schema.deferred }).collect()
        };
        self.iter().flat_map(|child| -> Vec<Referring> { of_child(child) }).collect()
    }
}

impl Data {
    /// An error if a row that was written without its parent still has none.
    pub(super) fn check_all(&self) -> Result<()> {
        for (name, id) in &self.unchecked {
            let table = self.tables.table(name)?;
            let Some(row) = table.row(*id) else { continue };
            if let Some(key) = table.schema.foreign_keys.iter().find(|key| is_broken(&self.tables, table, key, row)) {
                let message =
                    format!("cannot commit: a row of {name:?} refers to a row of {:?} that is not there", key.parent);
                return Err(Error::new(ErrorKind::ForeignKey, message));
            }
        }
        Ok(())
    }

    /// Whether rows refer to columns of a table that may change.
    pub(super) fn depends_on_checks(&self, target: &Target<'_>) -> Result<bool> {
        let Some(table) = self.tables.get(&target.table.name).filter(|_| target.updates) else { return Ok(false) };
        let key = key_of(&table.schema)?.map_or(Vec::new(), |(columns, _)| columns);
        let collations = table.schema.key_collations_of(&key);
        let is_exact = |at: usize| collations.get(at).copied().flatten().is_none();
        let stays = |column: &usize| key.iter().position(|part| part == column).is_some_and(is_exact);
        let others: Vec<usize> = (0..table.schema.columns.len()).filter(|at| !stays(at)).collect();
        Ok(!referring(&self.tables, table, &others).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{TableSchema, UniqueKind, UniqueSet};
    use crate::store::memory::tests::{put, reference, rows, seen, store};
    use crate::store::{Change, Refused, Store, Writer, memory};

    /// A parent, its code unique, and a child that refers to the code.
    fn family(on_update: ForeignKeyAction) -> (memory::MemoryStore, TableSchema, TableSchema) {
        let mut parent = memory::tests::table("parent", "id! code", "id");
        parent.unique = vec![UniqueSet { columns: vec!["code".into()], kind: UniqueKind::Full, ..UniqueSet::default() }];
        let mut child = memory::tests::table("child", "id! code", "id");
        child.columns[1].default = Some("'none'".into());
        child.foreign_keys = vec![ForeignKey { on_update, ..reference("code", "parent", "code") }];
        (store(&[&parent, &child]), parent, child)
    }

    fn insert(writer: &mut dyn Writer, table: &TableSchema, id: i64, code: &str) -> Vec<Refused> {
        put(writer, table, Change::Insert, &rows([[id.into(), code.into()]]))
    }

    fn rename(writer: &mut dyn Writer, table: &TableSchema, id: i64, code: &str) -> Vec<Refused> {
        put(writer, table, Change::Update { key: &[0], set: &[1] }, &rows([[id.into(), code.into()]]))
    }

    #[test]
    fn rows_follow_their_parent_or_hold_it() {
        use ForeignKeyAction::{Cascade, NoAction, Restrict, SetDefault, SetNull};
        for action in [NoAction, Restrict, SetNull, SetDefault, Cascade] {
            let (store, parent, child) = family(action);
            let mut writer = store.writer().unwrap();
            for (id, code) in [(1, "a"), (2, "none"), (3, "c")] {
                assert!(insert(&mut *writer, &parent, id, code).is_empty());
            }
            assert!(insert(&mut *writer, &child, 1, "a").is_empty());
            let refused = rename(&mut *writer, &parent, 1, "b");
            let code = seen(&mut *writer, &child)[0][1].clone();
            let expected = match action {
                NoAction | Restrict => {
                    assert_eq!(refused[0].reason, Reason::ForeignKey, "{action:?}");
                    assert_eq!(seen(&mut *writer, &parent)[0][1], "a".into(), "{action:?}");
                    "a".into()
                }
                SetNull => Value::Null,
                SetDefault => "none".into(),
                Cascade => "b".into(),
            };
            assert_eq!((code, refused.is_empty()), (expected, !matches!(action, NoAction | Restrict)), "{action:?}");
            // What nobody refers to may change.
            assert!(rename(&mut *writer, &parent, 3, "d").is_empty());
        }
    }

    #[test]
    fn a_change_that_cannot_be_followed_is_undone_as_a_whole() {
        let (store, parent, mut child) = family(ForeignKeyAction::Cascade);
        child.name = "picky".into();
        child.unique = vec![UniqueSet { columns: vec!["code".into()], kind: UniqueKind::Full, ..UniqueSet::default() }];
        child.foreign_keys[0].on_update = ForeignKeyAction::SetDefault;
        let mut writer = store.writer().unwrap();
        let new = crate::store::NewTable { schema: &child, exact: true, parents: &|_| None };
        writer.create_table(&new).unwrap();
        let follower = TableSchema { name: "child".into(), ..child.clone() };
        for (id, code) in [(1, "a"), (2, "none")] {
            assert!(insert(&mut *writer, &parent, id, code).is_empty());
            assert!(insert(&mut *writer, &child, id, code).is_empty());
        }
        assert!(insert(&mut *writer, &follower, 1, "a").is_empty());
        let before = [&parent, &child, &follower].map(|table| seen(&mut *writer, table));
        // The follower follows; then the picky one's default is taken.
        let refused = rename(&mut *writer, &parent, 1, "b");
        assert_eq!((refused[0].reason, &refused[0].column), (Reason::UniqueConflict, &None));
        assert_eq!([&parent, &child, &follower].map(|table| seen(&mut *writer, table)), before);
        assert!(rename(&mut *writer, &parent, 1, "a").is_empty(), "the same value is no change");
    }

    #[test]
    fn references_are_checked_when_it_was_said() {
        let (store, parent, child) = family(ForeignKeyAction::NoAction);
        let mut writer = store.writer().unwrap();
        let refused = insert(&mut *writer, &child, 1, "a");
        assert_eq!((refused[0].reason, refused[0].column.as_deref()), (Reason::ForeignKey, Some("code")));
        assert!(seen(&mut *writer, &child).is_empty());
        // At the commit, which can be tried again.
        let target = |table, updates| Target { table, updates };
        assert!(writer.check_references(Check::AtCommit, &[target(&child, true)]).unwrap());
        assert!(insert(&mut *writer, &child, 1, "a").is_empty());
        assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::ForeignKey);
        assert!(insert(&mut *writer, &parent, 1, "a").is_empty());
        // The parent goes and comes back.
        assert!(rename(&mut *writer, &parent, 1, "b").is_empty());
        assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::ForeignKey);
        assert!(rename(&mut *writer, &parent, 1, "a").is_empty());
        writer.commit().unwrap();
        drop(writer);
        // Not at all, but where rows refer to what may change.
        let mut writer = store.writer().unwrap();
        assert!(!writer.check_references(Check::ByCaller, &[target(&child, true), target(&parent, true)]).unwrap());
        assert_eq!(insert(&mut *writer, &child, 2, "x").len(), 1, "nothing has changed");
        assert!(writer.check_references(Check::ByCaller, &[target(&child, true), target(&parent, false)]).unwrap());
        assert!(insert(&mut *writer, &child, 2, "x").is_empty());
        writer.commit().unwrap();
    }

    #[test]
    fn a_row_may_refer_to_itself() {
        let mut node = memory::tests::table("node", "id! up", "id");
        node.foreign_keys = vec![reference("up", "node", "id")];
        let store = store(&[&node]);
        let mut writer = store.writer().unwrap();
        let put = |writer: &mut dyn Writer, id: i64, up: i64| {
            memory::tests::put(writer, &node, Change::Insert, &rows([[id.into(), up.into()]])).len()
        };
        assert_eq!((put(&mut *writer, 1, 1), put(&mut *writer, 2, 3), put(&mut *writer, 3, 1)), (0, 1, 0));
    }
}
