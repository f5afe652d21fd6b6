//! Appends against a model: whatever the keys, the new rows hang together as the records did, and the old ones are untouched.

use crate::support::common::Fixture;
use crate::support::model::show;
use crate::support::model::sql::{fill, read};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use rowferry::{Limits, PullOptions, Records, Site, Strategy as Choice, Value};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Integer(&'static str),
    TextUuid,
    BlobUuid,
    /// Kept if it is free.
    Code,
    /// The parent's key and a number.
    OfParent,
}

const KEYS: [Key; 6] = [
    Key::Integer("INTEGER PRIMARY KEY"),
    Key::Integer("INTEGER PRIMARY KEY AUTOINCREMENT"),
    Key::Integer("INT PRIMARY KEY NOT NULL"),
    Key::TextUuid,
    Key::BlobUuid,
    Key::Code,
];

impl Key {
    fn sql(self) -> &'static str {
        match self {
            Key::Integer(sql) => sql,
            Key::BlobUuid => "BLOB PRIMARY KEY NOT NULL",
            Key::TextUuid | Key::Code => "TEXT PRIMARY KEY NOT NULL",
            Key::OfParent => "INT NOT NULL",
        }
    }

    fn value(self, key: u8) -> Value {
        let uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e000 + u128::from(key));
        match self {
            Key::Integer(_) | Key::OfParent => i64::from(key).into(),
            Key::TextUuid => uuid.to_string().into(),
            Key::BlobUuid => Value::Blob(uuid.as_bytes().to_vec()),
            Key::Code => format!("code {key}").into(),
        }
    }

    /// Whether this is a key as an append makes it, where the local ones were these.
    fn is_new(self, key: &Value, local: &[Value]) -> bool {
        let is_v7 = |uuid: Option<Uuid>| uuid.is_some_and(|uuid| uuid.get_version_num() == 7);
        match (self, key) {
            (Key::Integer(_), key) => local.iter().all(|local| local.as_integer() < key.as_integer()),
            (Key::BlobUuid, Value::Blob(bytes)) => is_v7(Uuid::from_slice(bytes).ok()),
            (Key::TextUuid, key) => is_v7(key.as_str().and_then(|text| text.parse().ok())),
            _ => !local.contains(key) || self == Key::OfParent,
        }
    }
}

/// A record or a row, of any table.
#[derive(Clone, Debug)]
struct Item {
    key: u8,
    up: Option<u8>,
    /// A unique value besides the key.
    mail: Option<u8>,
    /// Unique among the children of a parent, where the table says so.
    label: u8,
    /// Whether a CHECK is against it.
    bad: bool,
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let item = (0..6u8, weighted(0.8, 0..7u8), weighted(0.6, 0..8u8), 0..2u8, proptest::bool::weighted(0.08));
    vec(item.prop_map(|(key, up, mail, label, bad)| Item { key, up, mail, label, bad }), 0..10)
}

#[derive(Clone, Debug)]
struct Table {
    key: Key,
    /// The table that `up` refers to.
    up: Option<usize>,
    labelled: bool,
    local: Vec<Item>,
    incoming: Vec<Item>,
}

impl Table {
    fn is_of_parent(&self) -> bool {
        self.key == Key::OfParent
    }

    /// What tells this row from all others for people: it stays with it whatever its key.
    fn name(&self, whose: &str, item: &Item) -> String {
        match item.up {
            Some(up) if self.is_of_parent() => format!("{whose} {up}/{}", item.key),
            _ => format!("{whose} {}", item.key),
        }
    }

    /// Leaves out what could not be at either site: keys and mails twice, and references to nothing where they are local.
    fn clean(&mut self) {
        let (of_parent, labelled) = (self.is_of_parent(), self.labelled);
        for items in [&mut self.local, &mut self.incoming] {
            let (mut keys, mut mails, mut labels) = (Vec::new(), Vec::new(), Vec::new());
            items.retain_mut(|item| {
                item.up = item.up.filter(|_| self.up.is_some());
                item.mail = item.mail.filter(|mail| !of_parent && !mails.contains(mail));
                mails.extend(item.mail);
                let key = (item.up.filter(|_| of_parent), item.key);
                let label = item.up.filter(|_| labelled).map(|up| (up, item.label));
                let is_twice = keys.contains(&key) || label.is_some_and(|label| labels.contains(&label));
                keys.push(key);
                labels.extend(label);
                !is_twice && (!of_parent || item.up.is_some())
            });
        }
        self.local.iter_mut().for_each(|item| item.bad = false);
    }
}

/// Tables `t0`, `t1`, ... in one of three shapes: parents, children and their children; a tree in one table; a circle of two.
fn worlds() -> impl Strategy<Value = Vec<Table>> {
    let shape = prop_oneof![Just(vec![None, Some(0), Some(1)]), Just(vec![Some(0)]), Just(vec![Some(1), Some(0)])];
    let tables = shape.prop_flat_map(|ups| {
        let labelled = ups.len() == 3;
        let table = |(at, up)| {
            let key = if at == 2 { Just(Key::OfParent).boxed() } else { select(&KEYS[..]).boxed() };
            let labelled = labelled && at == 1;
            (key, items(), items()).prop_map(move |(key, local, incoming)| Table { key, up, labelled, local, incoming })
        };
        ups.into_iter().enumerate().map(table).collect::<Vec<_>>()
    });
    tables.prop_map(|mut tables| {
        tables.iter_mut().for_each(Table::clean);
        for at in 0..tables.len() {
            let of_parent = tables[at].is_of_parent();
            let parents: Vec<u8> =
                tables[at].up.map(|up| tables[up].local.iter().map(|item| item.key).collect()).unwrap_or_default();
            let has_parent = |item: &mut Item| {
                item.up = item.up.filter(|up| parents.contains(up));
                item.up.is_some() || !of_parent
            };
            tables[at].local.retain_mut(has_parent);
        }
        tables
    })
}

#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Created,
    /// It is the local row of this name.
    Skipped(String),
    Failed,
}

/// What becomes of each record of each table.
fn fates(tables: &[Table]) -> Vec<Vec<Fate>> {
    let alone = |table: &Table, item: &Item| {
        if let Some(local) = table.local.iter().find(|local| local.mail.is_some() && local.mail == item.mail) {
            return Fate::Skipped(table.name("local", local));
        }
        let is_taken = table.key == Key::Code && table.local.iter().any(|local| local.key == item.key);
        if is_taken || item.bad { Fate::Failed } else { Fate::Created }
    };
    let mut fates: Vec<Vec<Fate>> =
        tables.iter().map(|table| table.incoming.iter().map(|item| alone(table, item)).collect()).collect();
    // Whose parent is here already may itself be here, by its label.
    for (at, table) in tables.iter().enumerate().filter(|(_, table)| table.labelled) {
        for (n, item) in table.incoming.iter().enumerate() {
            let Ok(Some(parent)) = parent(tables, &fates, table, item) else { continue };
            let is_it =
                |local: &&Item| local.label == item.label && local.up.is_some_and(|up| parent == format!("local {up}"));
            let found = table.local.iter().find(is_it).map(|local| table.name("local", local));
            match (&fates[at][n], found) {
                (Fate::Created | Fate::Failed, Some(found)) => fates[at][n] = Fate::Skipped(found),
                // It is one row by its mail and another by its label.
                (Fate::Skipped(other), Some(found)) if *other != found => fates[at][n] = Fate::Failed,
                _ => {}
            }
        }
    }
    // A record without its parent fails, and with it those that refer to it.
    loop {
        let mut next = fates.clone();
        for (at, table) in tables.iter().enumerate() {
            for (n, item) in table.incoming.iter().enumerate() {
                if fates[at][n] == Fate::Created && parent(tables, &fates, table, item).is_err() {
                    next[at][n] = Fate::Failed;
                }
            }
        }
        if next == fates {
            break;
        }
        fates = next;
    }
    // Keys that are made of the parent's may meet others there.
    for (at, table) in tables.iter().enumerate().filter(|(_, table)| table.is_of_parent()) {
        let of = |item: &Item, parent: String| (parent, item.key);
        let local_parent = |item: &Item| format!("local {}", item.up.expect("the key has it"));
        let mut taken: Vec<_> = table.local.iter().map(|item| of(item, local_parent(item))).collect();
        for (n, item) in table.incoming.iter().enumerate() {
            if let (Fate::Created, Ok(Some(parent))) = (&fates[at][n], parent(tables, &fates, table, item)) {
                match taken.contains(&of(item, parent.clone())) {
                    true => fates[at][n] = Fate::Failed,
                    false => taken.push(of(item, parent)),
                }
            }
        }
    }
    fates
}

/// The name of the row that a record's reference leads to in the end.
fn parent(tables: &[Table], fates: &[Vec<Fate>], table: &Table, item: &Item) -> Result<Option<String>, ()> {
    let (Some(up), Some(target)) = (item.up, table.up) else { return Ok(None) };
    let parents = &tables[target];
    // Only a parent that came with it: a local row that has its key is another one.
    let n = parents.incoming.iter().position(|parent| parent.key == up).ok_or(())?;
    match &fates[target][n] {
        Fate::Created => Ok(Some(parents.name("new", &parents.incoming[n]))),
        Fate::Skipped(local) => Ok(Some(local.clone())),
        Fate::Failed => Err(()),
    }
}

const COLUMNS: [&str; 6] = ["id", "up", "name", "mail", "label", "n"];

fn row(tables: &[Table], table: &Table, whose: &str, item: &Item) -> Vec<Value> {
    let up = item.up.and_then(|up| Some(tables[table.up?].key.value(up)));
    let mail = item.mail.map(|mail| format!("mail {mail}"));
    let n = if item.bad { 13 } else { 1 };
    let label = i64::from(item.label).into();
    vec![table.key.value(item.key), up.into(), table.name(whose, item).into(), mail.into(), label, n.into()]
}

fn sql(tables: &[Table]) -> String {
    let table = |(at, table): (usize, &Table)| {
        let reference = table.up.map_or(String::new(), |up| format!(" REFERENCES t{up}"));
        let up = table.up.map_or("", |up| tables[up].key.sql().split(' ').next().unwrap_or_default());
        let end = match table.is_of_parent() {
            true => ", PRIMARY KEY (id, up)) WITHOUT ROWID",
            false if table.labelled => ", UNIQUE (up, label))",
            false => ")",
        };
        format!(
            "CREATE TABLE t{at}(id {}, up {up}{reference}, name TEXT, mail TEXT UNIQUE, label INT, n INT CHECK (n <> 13){end};",
            table.key.sql()
        )
    };
    "PRAGMA foreign_keys = OFF;".to_owned() + &tables.iter().enumerate().map(table).collect::<String>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn appended_rows_hang_together_as_the_records_did(
        tables in worlds(),
        commit_rows in 1..20usize,
        batch_size in 1..20u32,
    ) {
        let fixture = Fixture::new(&sql(&tables));
        let mut limits = Limits::default();
        limits.pull.commit_rows = commit_rows;
        let site = Site::builder().limits(limits).open(fixture.path()).unwrap();
        let names: Vec<String> = (0..tables.len()).map(|at| format!("t{at}")).collect();
        let mut records = Vec::new();
        for (table, name) in tables.iter().zip(&names) {
            let rows = table.local.iter().map(|item| row(&tables, table, "local", item)).collect::<Vec<_>>();
            fill(&fixture.sqlite, name, &rows);
            let mut incoming = Records::new(COLUMNS);
            table.incoming.iter().for_each(|item| incoming.push(row(&tables, table, "new", item)));
            records.push(incoming);
        }
        let local = |name: &str| {
            let rows = read(&fixture.sqlite, &format!("SELECT * FROM {name} WHERE name LIKE 'local%' ORDER BY name"));
            rows.iter().map(|row| show(row)).collect::<Vec<_>>()
        };
        let before: Vec<_> = names.iter().map(|name| local(name)).collect();

        let all: Vec<(&str, &Records)> = names.iter().map(String::as_str).zip(&records).collect();
        let options = PullOptions::new().strategy(Choice::Append).batch_size(batch_size);
        let report = site.import_multiple(&all, options).unwrap();

        let fates = fates(&tables);
        for (at, (table, name)) in tables.iter().zip(&names).enumerate() {
            prop_assert_eq!(&local(name), &before[at], "rows that were there: {}", name);
            let count = |fate: fn(&Fate) -> bool| fates[at].iter().filter(|one| fate(one)).count() as u64;
            let outcome = &report.table(name).unwrap().outcome;
            let expected = (count(|f| *f == Fate::Created), count(|f| matches!(f, Fate::Skipped(_))), count(|f| *f == Fate::Failed));
            prop_assert_eq!((outcome.created, outcome.skipped, outcome.failed), expected, "{}: {:?}", name, &outcome.failures);
            prop_assert_eq!((outcome.updated, outcome.unchanged), (0, 0));

            let target = table.up.map_or("t0".to_owned(), |up| format!("t{up}"));
            let sql = format!(
                "SELECT t.name || ' of ' || ifnull(p.name, 'none') FROM {name} t LEFT JOIN {target} p ON p.id = t.up
                 WHERE t.name LIKE 'new%' ORDER BY 1"
            );
            let mut expected = Vec::new();
            for (item, _) in table.incoming.iter().zip(&fates[at]).filter(|(_, fate)| **fate == Fate::Created) {
                let parent = parent(&tables, &fates, table, item).unwrap();
                expected.push(format!("'{} of {}'", table.name("new", item), parent.as_deref().unwrap_or("none")));
            }
            expected.sort();
            prop_assert_eq!(fixture.rows(&sql), expected, "{}", name);

            let old: Vec<Value> = table.local.iter().map(|item| table.key.value(item.key)).collect();
            for new in read(&fixture.sqlite, &format!("SELECT id FROM {name} WHERE name LIKE 'new%'")) {
                prop_assert!(table.key.is_new(&new[0], &old), "{} got the key {:?}", name, &new[0]);
            }
        }
        prop_assert!(fixture.rows("PRAGMA foreign_key_check").is_empty());
        prop_assert!(fixture.rows("SELECT * FROM rowferry_keys").is_empty());
    }
}
