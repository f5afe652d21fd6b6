//! What is made here for a table that is missing.
//!
//! A table is made from its structured description only: names, types and keys. What the description cannot carry over
//! safely is left out, each time with a sentence for the report: defaults that are expressions, indexes over parts of a table
//! or over expressions, unknown collations, foreign keys to nothing. Generated columns become plain ones. A table that can
//! be made only as something essentially else is refused.
//!
//! From a rowferry sender the declared types are taken over, because SQLite derives from them how values are kept; a type
//! is code when it is written into a statement, so it must be a plain one ([`is_plain_type`]). Where they are Postgres', each becomes
//! the type that keeps its values exactly: see [`in_sqlite`]. From a PhoenixKit sender the type comes from what the values mean, so
//! that each can be stored as it arrives: see [`type_of`].

use std::collections::{HashMap, HashSet};

use super::affinity::Affinity;
use super::compared::Comparisons;
use super::keys::{self, UniqueColumns, are_columns, is_in, is_known};
use super::types::{is_plain_type, is_strict_type, type_of, type_of_affinity};
use crate::domain::names::{is_built_in, is_reserved};
use crate::domain::postgres_type::{default_value, in_sqlite};
use crate::domain::schema::{
    Column, DefaultValue, ForeignKey, Index, IndexPart, OnConflict, Origin, TableSchema, UniqueKind, UniqueSet,
};
use crate::error::{Error, ErrorKind, Result};

/// The most columns that a table may have: SQLite's own bound.
pub const MOST_COLUMNS: usize = 2_000;

/// The table to make here for the sender's, and what of it could not be taken over, as sentences for the report.
///
/// `others` finds a table that foreign keys refer to: one that is here, or that is made in the same pull. In the answer every
/// name of a key, index or foreign key is a column; every default is one that [`DefaultValue::parse`] reads; every declared
/// type [is plain](is_plain_type) or empty; and `rowid_alias` is set for a single key column of the type INTEGER and not
/// otherwise, unless the table is WITHOUT ROWID.
///
/// # Errors
/// [`ReservedName`](ErrorKind::ReservedName): see [`is_reserved`] and [`is_built_in`]. [`TooLarge`](ErrorKind::TooLarge): more than
/// [`MOST_COLUMNS`]. [`SchemaMismatch`](ErrorKind::SchemaMismatch): no columns, two columns of one name, a key without
/// its column, a name with NUL in it.
pub fn creatable<'o>(
    sender: &TableSchema,
    sender_is_rowferry: bool,
    others: &dyn Fn(&str) -> Option<&'o TableSchema>,
) -> Result<(TableSchema, Vec<String>)> {
    check(sender)?;
    let mut notes = Notes { table: &sender.name, sentences: Vec::new(), left_out: 0 };
    let mut made = TableSchema {
        name: sender.name.clone(),
        primary_key: sender.primary_key.clone(),
        strict: sender_is_rowferry && sender.strict,
        without_rowid: sender_is_rowferry && sender.without_rowid && !sender.primary_key.is_empty(),
        key_on_conflict: sender.key_on_conflict,
        ..TableSchema::default()
    };
    if made.strict && !sender.columns.iter().all(|column| is_strict_type(&column.declared_type)) {
        made.strict = false;
        notes.add("it is not made STRICT, because it has types that STRICT tables do not know");
    }
    for column in &sender.columns {
        made.columns.push(create_column(column, sender, sender_is_rowferry, made.strict, &mut notes));
    }
    set_rowid(&mut made, sender, sender_is_rowferry, &mut notes);
    if sender_is_rowferry && !made.rowid_alias {
        let left_out = keys::take_over(&mut made, sender);
        left_out.iter().for_each(|(name, by)| {
            notes.add(format_args!("the collation {by:?} of column {name:?} in the key is left out"));
        });
    }
    for column in &mut made.columns {
        let is_rowid = made.rowid_alias && is_in(&made.primary_key, &column.name);
        if !is_rowid && sender.column(&column.name).is_some_and(|column| column.numbering.is_some()) {
            notes.add(format_args!("column {:?} numbers itself at the sender and is a plain column here", column.name));
        }
        take_default(column, sender.origin, is_rowid, &mut notes);
    }
    if sender.is_unread {
        notes.add(
            "its statement at the sender makes no sense (unread_statement): ON CONFLICT clauses and DEFERRABLE are left out",
        );
    }
    let comparisons = Comparisons::of(&made);
    let mut names = IndexNames { taken: HashSet::from([sender.name.to_ascii_lowercase()]), others };
    made.unique = unique_sets(sender, &made, &comparisons, &mut names, &mut notes);
    made.indexes = indexes(sender, &comparisons, &mut names, &mut notes);
    notes.fold("indexes and unique sets");
    made.foreign_keys = foreign_keys(sender, &made, others, &mut notes);
    notes.fold("foreign keys");
    Ok((made, notes.sentences))
}

/// How many indexes, and how many foreign keys, of a table are left out each with a sentence. A sender may describe thousands.
const MOST_NAMED: usize = 20;

struct Notes<'a> {
    table: &'a str,
    sentences: Vec<String>,
    /// Of one kind, so far.
    left_out: usize,
}

impl Notes<'_> {
    fn add(&mut self, what: impl std::fmt::Display) {
        self.sentences.push(format!("Table {:?}: {what}.", self.table));
    }

    /// One of several that are alike.
    fn leave_out(&mut self, what: impl std::fmt::Display) {
        self.left_out += 1;
        if self.left_out <= MOST_NAMED {
            self.add(what);
        }
    }

    /// Says how many more of them there were.
    fn fold(&mut self, what: &str) {
        let more = std::mem::take(&mut self.left_out).saturating_sub(MOST_NAMED);
        if more > 0 {
            self.add(format_args!("more {what} are left out likewise: {more}"));
        }
    }
}

fn check(sender: &TableSchema) -> Result<()> {
    let name = &sender.name;
    if is_reserved(name) {
        return Err(Error::new(ErrorKind::ReservedName, format!("a table named {name:?} is not made here"))
            .with_hint("Names that begin with sqlite_ or rowferry_ are reserved; rename the table at the sender."));
    }
    if is_built_in(name) {
        return Err(built_in(name));
    }
    let mismatch =
        |what: String| Err(Error::new(ErrorKind::SchemaMismatch, format!("table {name:?} cannot be made: {what}")));
    if name.contains('\0') || sender.columns.iter().any(|column| column.name.contains('\0')) {
        return mismatch("a name has a NUL in it".into());
    }
    if sender.columns.is_empty() {
        return mismatch("the sender says that it has no columns".into());
    }
    if sender.columns.len() > MOST_COLUMNS {
        let what = format!("table {name:?} cannot be made: it has {} columns", sender.columns.len());
        return Err(Error::new(ErrorKind::TooLarge, what).with_hint(format!("A table has at most {MOST_COLUMNS} columns.")));
    }
    let mut seen = HashSet::with_capacity(sender.columns.len());
    for column in &sender.columns {
        if !seen.insert(column.name.to_ascii_lowercase()) {
            return mismatch(format!("it has the column {:?} twice", column.name));
        }
    }
    if !are_columns(&sender.primary_key, sender) {
        return mismatch("its primary key is not a list of its columns".into());
    }
    Ok(())
}

/// That a table would hide one of SQLite's own.
pub(super) fn built_in(name: &str) -> Error {
    let what = format!("a table named {name:?} is not made here: it would hide what SQLite itself has under this name");
    Error::new(ErrorKind::ReservedName, what)
        .with_hint("Rename the table at the sender, or leave it out; names that begin with pragma_ are never made.")
}

/// Collations of Postgres that compare as SQLite does.
const COLLATIONS_BY_BYTES: [&str; 3] = ["C", "POSIX", "ucs_basic"];

fn create_column(
    column: &Column,
    sender: &TableSchema,
    sender_is_rowferry: bool,
    strict: bool,
    notes: &mut Notes<'_>,
) -> Column {
    let mut made = Column { numbering: None, ..column.clone() };
    if sender_is_rowferry && sender.origin == Origin::Postgres {
        made.declared_type = in_sqlite(&column.declared_type, &column.logical).into();
        // No collation of Postgres is known here. Without one, texts are compared byte for byte, as under these.
        made.collation.take_if(|name| COLLATIONS_BY_BYTES.contains(&name.as_str()));
    } else if sender_is_rowferry && sender.origin == Origin::Sqlite {
        let declared = &column.declared_type;
        // Outside of a STRICT table ANY would mean NUMERIC.
        let any_no_more = sender.strict && !strict && declared.eq_ignore_ascii_case("ANY");
        if any_no_more || !(declared.is_empty() || is_plain_type(declared)) {
            made.declared_type = type_of_affinity(Affinity::of(declared, sender.strict)).into();
            let (name, now) = (&column.name, &made.declared_type);
            notes.add(format_args!("the type of column {name:?} is not taken over; it becomes {now:?}"));
        }
    } else {
        made.declared_type = type_of(&column.logical).into();
        if is_in(&sender.primary_key, &column.name) {
            made.nullable = false;
        }
    }
    if column.generated {
        made.generated = false;
        made.default = None;
        notes.add(format_args!("column {:?} is computed by the sender and is a plain column here", column.name));
    }
    if let Some(collation) = made.collation.take_if(|name| sender.origin == Origin::Postgres || !is_known(name)) {
        notes.add(format_args!("the collation {collation:?} of column {:?} is left out", column.name));
    }
    made
}

/// Decides whether the key is the rowid. Only `INTEGER PRIMARY KEY` is one, and SQLite makes one of every such key: a key
/// that is none at the sender (`INTEGER PRIMARY KEY DESC`) gets the type INT, which keeps the same values.
fn set_rowid(made: &mut TableSchema, sender: &TableSchema, sender_is_rowferry: bool, notes: &mut Notes<'_>) {
    let [key] = &made.primary_key[..] else { return };
    let Some(at) = made.column_index(key) else { return };
    let column = &mut made.columns[at];
    if made.without_rowid || !column.declared_type.eq_ignore_ascii_case("INTEGER") {
        return;
    }
    if sender_is_rowferry && sender.origin == Origin::Sqlite && !sender.rowid_alias {
        column.declared_type = "INT".into();
        notes.add(format_args!("the type of column {:?} becomes INT, because it is not the rowid", column.name));
        return;
    }
    column.nullable = false;
    made.rowid_alias = true;
    made.autoincrement = sender_is_rowferry && sender.autoincrement;
}

/// Leaves a default out that cannot be read. The rowid needs none: it numbers itself, as the sender's sequence did.
fn take_default(column: &mut Column, origin: Origin, is_rowid: bool, notes: &mut Notes<'_>) {
    let Some(text) = &column.default else { return };
    let value = match origin {
        Origin::Postgres => default_value(text, &column.logical),
        _ => DefaultValue::parse(text),
    };
    match value {
        _ if is_rowid => column.default = None,
        Some(value) if origin == Origin::Postgres => column.default = Some(value.to_sql()),
        Some(_) => {}
        None => {
            column.default = None;
            notes.add(format_args!("the default of column {:?} is an expression and is left out", column.name));
        }
    }
}

/// The names of indexes that can be made beside a table: tables and indexes share one room of names.
struct IndexNames<'a, 'o> {
    /// Folded.
    taken: HashSet<String>,
    others: &'a dyn Fn(&str) -> Option<&'o TableSchema>,
}

impl IndexNames<'_, '_> {
    /// Takes a name; `false` if it cannot be used.
    fn take(&mut self, name: &str) -> bool {
        let is_usable = !is_reserved(name) && !name.contains('\0') && (self.others)(name).is_none();
        is_usable && self.taken.insert(name.to_ascii_lowercase())
    }
}

fn unique_sets(
    sender: &TableSchema,
    made: &TableSchema,
    comparisons: &Comparisons,
    names: &mut IndexNames<'_, '_>,
    notes: &mut Notes<'_>,
) -> Vec<UniqueSet> {
    let mut sets: Vec<UniqueSet> = Vec::new();
    let mut seen = HashSet::new();
    // Of a key that is one column of the type INTEGER SQLite takes the collation of the column, whatever the key says.
    let is_integer = |column: &Column| column.declared_type.eq_ignore_ascii_case("INTEGER");
    let key = match &made.primary_key[..] {
        _ if made.rowid_alias => None,
        [only] if made.column(only).is_some_and(is_integer) => comparisons.part(only, None).map(|part| vec![part]),
        _ => comparisons.key(made),
    };
    for set in &sender.unique {
        let mut left_out = |why: &str| match &set.index {
            Some(index) => notes.leave_out(format_args!("the unique index {index:?} is left out, because {why}")),
            None => notes.leave_out(format_args!("a unique set is left out, because {why}")),
        };
        if set.kind == UniqueKind::Partial {
            let columns = list(&set.columns);
            left_out(&format!("it is over some of the rows ({columns})"));
            continue;
        }
        let Some(mut new) = listed_set(set, comparisons, &mut left_out) else { continue };
        let Some(compared) = comparisons.set(&new) else { continue };
        let is_key = key.as_ref() == Some(&compared);
        let this = (set.index.as_deref(), compared);
        if seen.contains(&this) {
            continue;
        }
        if set.index.as_deref().is_some_and(|index| !names.take(index)) {
            left_out("its name cannot be used here");
            continue;
        }
        if std::mem::take(&mut new.nulls_not_distinct) {
            notes.add(format_args!("the unique set ({}) takes NULL several times here", list(&set.columns)));
        }
        // An index is no constraint, and one that the key shares does what the key says.
        if new.index.is_some() || is_key {
            new.on_conflict = OnConflict::Abort;
        }
        seen.insert(this);
        sets.push(new);
    }
    sets
}

/// A unique set as it can be made here, from its columns as the sender's index lists them.
fn listed_set(set: &UniqueSet, comparisons: &Comparisons, left_out: &mut dyn FnMut(&str)) -> Option<UniqueSet> {
    let mut new = set.clone();
    let mut seen = HashSet::new();
    if set.parts.is_empty() {
        let is_set = set.columns.iter().all(|column| comparisons.has(column) && seen.insert(column.to_ascii_lowercase()));
        if set.kind == UniqueKind::Full && !set.columns.is_empty() && is_set {
            return Some(new);
        }
        left_out(match set.kind {
            UniqueKind::Expression => "it is over an expression",
            _ => "it is not a list of columns of the table",
        });
        return None;
    }
    if let Some(why) = unlisted(&set.parts, comparisons) {
        left_out(&why);
        return None;
    }
    let is_plain = set.parts.iter().all(|part| part.collation.is_none());
    new.kind = if is_plain { UniqueKind::Full } else { UniqueKind::Expression };
    new.columns.clear();
    for part in set.parts.iter().filter(|_| is_plain) {
        if seen.insert(part.column.to_ascii_lowercase()) {
            new.columns.push(part.column.clone());
        }
    }
    Some(new)
}

/// Why an index with these parts cannot be made.
fn unlisted(parts: &[IndexPart], comparisons: &Comparisons) -> Option<String> {
    if parts.is_empty() || parts.len() > MOST_COLUMNS || parts.iter().any(|part| !comparisons.has(&part.column)) {
        return Some("it is not over columns of the table".to_owned());
    }
    let unknown = parts.iter().filter_map(|part| part.collation.as_deref()).find(|collation| !is_known(collation));
    unknown.map(|collation| format!("the collation {collation:?} is unknown here"))
}

fn indexes(
    sender: &TableSchema,
    comparisons: &Comparisons,
    names: &mut IndexNames<'_, '_>,
    notes: &mut Notes<'_>,
) -> Vec<Index> {
    let mut indexes: Vec<Index> = Vec::new();
    for index in &sender.indexes {
        let why = match unlisted(&index.parts, comparisons) {
            None if names.take(&index.name) => {
                indexes.push(index.clone());
                continue;
            }
            None => "its name cannot be used here".to_owned(),
            Some(why) => why,
        };
        notes.leave_out(format_args!("the index {:?} is left out, because {why}", index.name));
    }
    for name in &sender.other_indexes {
        notes
            .leave_out(format_args!("the index {name:?} is left out, because it is over an expression or some of the rows"));
    }
    indexes
}

/// The foreign keys that can be satisfied here. SQLite refuses every row of a child whose parent's columns are not the
/// parent's primary key or a unique set (<https://www.sqlite.org/foreignkeys.html>, 3).
fn foreign_keys<'o>(
    sender: &TableSchema,
    made: &TableSchema,
    others: &dyn Fn(&str) -> Option<&'o TableSchema>,
    notes: &mut Notes<'_>,
) -> Vec<ForeignKey> {
    let (mut keys, mut seen): (Vec<ForeignKey>, HashSet<ForeignKey>) = Default::default();
    // Each table that is referred to is looked at once.
    let mut parents: HashMap<String, Option<(&TableSchema, UniqueColumns)>> = HashMap::new();
    for key in &sender.foreign_keys {
        let parent = parents.entry(key.parent.to_ascii_lowercase()).or_insert_with_key(|folded| {
            let itself = *folded == sender.name.to_ascii_lowercase();
            let parent = if itself { Some(made) } else { others(&key.parent).filter(|_| !is_reserved(folded)) };
            parent.map(|parent| (parent, UniqueColumns::of(parent)))
        });
        let left_out = |why: &str| {
            let (columns, parent) = (list(&key.columns), &key.parent);
            format!("the foreign key ({columns}) to {parent:?} is left out, because {why}")
        };
        let Some((parent, unique)) = parent else {
            notes.leave_out(left_out("that table is neither here nor pulled"));
            continue;
        };
        let mut key = key.clone();
        if key.parent_columns.is_empty() {
            key.parent_columns = parent.primary_key.clone();
        }
        if key.columns.is_empty() || key.columns.len() != key.parent_columns.len() || !are_in(&key.columns, sender) {
            notes.leave_out(left_out("its columns do not match"));
        } else if !unique.has(&key.parent_columns) {
            notes.leave_out(left_out("what it refers to is not unique there"));
        } else if seen.insert(key.clone()) {
            keys.push(key);
        }
    }
    keys
}

fn are_in(names: &[String], table: &TableSchema) -> bool {
    names.iter().all(|name| table.column_index(name).is_some())
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{ForeignKeyAction, LogicalType, Numbering};
    use crate::limits::Limits;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn column(name: &str, declared: &str, logical: LogicalType) -> Column {
        Column { name: name.into(), declared_type: declared.into(), logical, nullable: true, ..Column::default() }
    }

    /// A table of a rowferry sender: columns as `name:TYPE`.
    fn table(name: &str, columns: &str, key: &str) -> TableSchema {
        let column = |word: String| {
            let (name, declared) = word.split_once(':').unwrap();
            column(name, declared, LogicalType::Any)
        };
        TableSchema {
            name: name.into(),
            columns: names(columns).into_iter().map(column).collect(),
            primary_key: names(key),
            ..TableSchema::default()
        }
    }

    fn nothing(_: &str) -> Option<&'static TableSchema> {
        None
    }

    fn made(sender: &TableSchema) -> (TableSchema, Vec<String>) {
        creatable(sender, true, &nothing).unwrap()
    }

    fn types(table: &TableSchema) -> Vec<&str> {
        table.columns.iter().map(|column| column.declared_type.as_str()).collect()
    }

    #[test]
    fn a_rowferry_senders_table_is_made_as_it_is() {
        let mut sender = table("Größe \"1\"", "id:INTEGER a:VARCHAR(3) b: c:TEXT", "id");
        sender.rowid_alias = true;
        sender.autoincrement = true;
        sender.columns[0].nullable = false;
        sender.columns[1].default = Some("'x'".into());
        sender.columns[1].nullable = false;
        sender.columns[3].collation = Some("nocase".into());
        sender.unique = vec![UniqueSet { columns: names("a b"), kind: UniqueKind::Full, ..UniqueSet::default() }];
        sender.indexes =
            vec![Index { name: "by c".into(), parts: vec![IndexPart { descending: true, ..IndexPart::plain("c") }] }];
        sender.foreign_keys = vec![ForeignKey {
            columns: names("b"),
            parent: "GRößE \"1\"".into(),
            parent_columns: names("ID"),
            on_delete: ForeignKeyAction::Cascade,
            ..ForeignKey::default()
        }];
        assert_eq!(made(&sender), (sender.clone(), vec![]));
    }

    #[test]
    fn a_reference_senders_types_come_from_their_meaning() {
        let columns = [
            column("id", "", LogicalType::Integer),
            column("n", "hostile CHECK (1)", LogicalType::Numeric),
            column("u", "", LogicalType::Uuid),
            column("j", "", LogicalType::Json),
            column("o", "", LogicalType::Other("interval".into())),
        ];
        let sender =
            TableSchema { name: "t".into(), columns: columns.into(), primary_key: names("id"), ..TableSchema::default() };
        let (table, notes) = creatable(&sender, false, &nothing).unwrap();
        assert_eq!(types(&table), ["INTEGER", "NUMERIC TEXT", "UUID", "JSON TEXT", "TEXT"]);
        assert!(table.rowid_alias && !table.autoincrement && !table.columns[0].nullable && notes.is_empty());
        let composite = TableSchema { primary_key: names("id u"), ..sender };
        let (table, _) = creatable(&composite, false, &nothing).unwrap();
        assert!(!table.rowid_alias && !table.columns[0].nullable && !table.columns[2].nullable);
    }

    #[test]
    fn a_postgres_senders_types_keep_what_travels() {
        let typed = |name: &str, declared: &str, logical| column(name, declared, logical);
        let mut id = typed("id", "bigint", LogicalType::Integer);
        (id.numbering, id.nullable) = (Some(Numbering::ByDefault), false);
        let mut n = typed("n", "numeric(10,2)", LogicalType::Numeric);
        n.default = Some("'1.50'::numeric".into());
        let mut bytes = typed("bytes", "bytea", LogicalType::Blob);
        bytes.default = Some("'\\x00ff'::bytea".into());
        let mut mail = typed("mail", "character varying(80)", LogicalType::Text);
        mail.collation = Some("C".into());
        let mut german = typed("german", "text", LogicalType::Text);
        german.collation = Some("de-x-icu".into());
        let mut number = typed("number", "integer", LogicalType::Integer);
        (number.numbering, number.default) = (Some(Numbering::Always), Some("'-5'::integer".into()));
        let tags = typed("tags", "text[]", LogicalType::Other("text[]".into()));
        let sender = TableSchema {
            name: "t".into(),
            origin: Origin::Postgres,
            columns: vec![id, n, bytes, mail, german, number, tags],
            primary_key: names("id"),
            ..TableSchema::default()
        };
        let (table, notes) = made(&sender);
        assert_eq!(types(&table), ["INTEGER", "NUMERIC TEXT", "BLOB", "TEXT", "TEXT", "INTEGER", "TEXT"]);
        assert!(table.rowid_alias && table.origin == Origin::Sqlite);
        assert!(table.columns.iter().all(|column| column.collation.is_none() && column.numbering.is_none()));
        let defaults: Vec<_> = table.columns.iter().map(|column| column.default.as_deref()).collect();
        assert_eq!(defaults, [None, Some("'1.50'"), Some("x'00ff'"), None, None, Some("-5"), None]);
        assert!(notes.len() == 2 && notes[0].contains("de-x-icu") && notes[1].contains("\"number\""), "{notes:#?}");
        // Of a database that is not known here only the meaning is.
        let (table, _) = made(&TableSchema { origin: Origin::Other, ..sender });
        assert_eq!(types(&table)[..3], ["INTEGER", "NUMERIC TEXT", "BLOB"]);
    }

    #[test]
    fn a_sequence_is_the_rowid_and_no_expression_that_is_missed() {
        let mut sender = table("t", "id: n:", "id");
        sender.columns[0].logical = LogicalType::Integer;
        for column in &mut sender.columns {
            column.default = Some("nextval('t_id_seq'::regclass)".into());
        }
        let (table, notes) = creatable(&sender, false, &nothing).unwrap();
        assert!(table.columns.iter().all(|column| column.default.is_none()));
        assert_eq!(notes, ["Table \"t\": the default of column \"n\" is an expression and is left out."]);
    }

    #[test]
    fn a_key_that_is_no_rowid_at_the_sender_is_none_here() {
        let (made, notes) = made(&table("t", "id:INTEGER", "id"));
        assert!(!made.rowid_alias && made.columns[0].nullable);
        assert_eq!((types(&made), notes.len()), (vec!["INT"], 1));
        let mut without_rowid = table("t", "id:INTEGER", "id");
        without_rowid.without_rowid = true;
        assert_eq!(creatable(&without_rowid, true, &nothing).unwrap(), (without_rowid, vec![]));
    }

    #[test]
    fn types_that_are_code_are_replaced_by_their_affinity() {
        let mut sender = table("t", "a: b: c: d:", "");
        let hostile = ["INT CHECK (1)", "ГОД", "VARCHAR(1) UNIQUE", "REAL\0"];
        sender.columns.iter_mut().zip(hostile).for_each(|(column, declared)| column.declared_type = declared.into());
        let (table, notes) = made(&sender);
        assert_eq!(types(&table), ["INT", "NUMERIC", "TEXT", "REAL"]);
        assert_eq!(notes.len(), 4);
    }

    #[test]
    fn strict_needs_strict_types() {
        let mut sender = table("t", "a:int b:ANY", "");
        sender.strict = true;
        assert_eq!(made(&sender), (sender.clone(), vec![]));
        sender.columns[0].declared_type = "VARCHAR".into();
        let (table, notes) = made(&sender);
        assert!(!table.strict);
        assert_eq!((types(&table), notes.len()), (vec!["VARCHAR", ""], 2));
    }

    #[test]
    fn what_cannot_be_taken_over_is_left_out_and_said() {
        let mut sender = table("t", "a:TEXT b:INT c:INT", "");
        sender.columns[0].collation = Some("german".into());
        sender.columns[1].default = Some("random()".into());
        sender.columns[2].generated = true;
        sender.columns[2].default = Some("1".into());
        sender.without_rowid = true;
        let unique = |columns: &str, kind| UniqueSet { columns: names(columns), kind, ..UniqueSet::default() };
        sender.unique = vec![
            unique("a", UniqueKind::Partial),
            unique("", UniqueKind::Expression),
            unique("nowhere", UniqueKind::Full),
            unique("a A", UniqueKind::Full),
        ];
        let index = |name: &str, column: &str| Index { name: name.into(), parts: vec![IndexPart::plain(column)] };
        sender.indexes =
            vec![index("sqlite_x", "a"), index("T", "a"), index("i", "nowhere"), index("ok", "a"), index("OK", "b")];
        let (table, notes) = made(&sender);
        assert_eq!(table.columns[0].collation, None);
        assert!(table.columns.iter().all(|column| column.default.is_none() && !column.generated));
        assert!(table.unique.is_empty() && !table.without_rowid);
        assert_eq!(table.indexes, [index("ok", "a")]);
        assert_eq!(notes.len(), 3 + 4 + 4, "{notes:#?}");
    }

    #[test]
    fn sets_and_indexes_are_made_as_they_are_listed() {
        let mut sender = table("t", "a:TEXT b:TEXT", "a");
        let part =
            |column: &str, by: Option<&str>| IndexPart { collation: by.map(String::from), ..IndexPart::plain(column) };
        let set = |index: Option<&str>, parts: Vec<IndexPart>, on_conflict| UniqueSet {
            index: index.map(String::from),
            parts,
            on_conflict,
            ..UniqueSet::default()
        };
        let (abort, ignore) = (OnConflict::Abort, OnConflict::Ignore);
        sender.unique = vec![
            set(None, vec![part("b", None), part("A", None), part("b", None)], ignore),
            set(None, vec![part("b", Some("nocase"))], ignore),
            // The same once more, but for what it does: SQLite would refuse it.
            set(None, vec![part("B", Some("NOCASE"))], OnConflict::Replace),
            set(Some("i"), vec![part("b", Some("rtrim"))], ignore),
            set(Some("I"), vec![part("b", None)], abort),
            set(None, vec![part("b", Some("german"))], abort),
            set(Some("j"), vec![part("c", None)], abort),
        ];
        sender.indexes = vec![
            Index { name: "k".into(), parts: vec![part("a", None), part("b", Some("NOCASE")), part("a", None)] },
            Index { name: "i".into(), parts: vec![part("a", None)] },
            Index { name: "l".into(), parts: vec![part("a", Some("german"))] },
        ];
        sender.other_indexes = vec!["m".into()];
        sender.is_unread = true;
        let (table, notes) = made(&sender);
        let sets: Vec<_> = table.unique.iter().map(|set| (set.columns.join(" "), set.kind, set.on_conflict)).collect();
        assert_eq!(
            sets,
            [
                ("b A".to_owned(), UniqueKind::Full, ignore),
                (String::new(), UniqueKind::Expression, ignore),
                (String::new(), UniqueKind::Expression, abort)
            ]
        );
        assert_eq!(table.indexes, sender.indexes[..1]);
        assert_eq!(notes.len(), 1 + 3 + 2 + 1, "{notes:#?}");
        assert!(
            notes[0].contains("(unread_statement)") && notes[1].contains("\"I\"") && notes[2].contains("german"),
            "{notes:#?}"
        );
    }

    #[test]
    fn foreign_keys_need_a_parent_with_a_unique_key() {
        let mut parent = table("parent", "id:INT code:TEXT part:TEXT", "id");
        parent.unique = vec![
            UniqueSet { columns: names("part code"), kind: UniqueKind::Full, ..UniqueSet::default() },
            UniqueSet { columns: names("code"), kind: UniqueKind::Partial, ..UniqueSet::default() },
        ];
        let others = |name: &str| {
            let is_it = name.eq_ignore_ascii_case("parent") || name == "sqlite_sequence";
            is_it.then_some(&parent)
        };
        let key = |columns: &str, parent: &str, parent_columns: &str| ForeignKey {
            columns: names(columns),
            parent: parent.into(),
            parent_columns: names(parent_columns),
            ..ForeignKey::default()
        };
        let mut sender = table("t", "a:INT b:INT", "");
        let good = [key("a", "PARENT", "ID"), key("a b", "parent", "code part")];
        let bad = [
            key("a", "nowhere", "id"),
            key("a", "sqlite_sequence", "id"),
            key("a", "parent", "code"),
            key("a b", "parent", "id"),
            key("", "parent", ""),
            key("x", "parent", "id"),
            key("a", "t", "a"),
        ];
        sender.foreign_keys = good.iter().chain(&bad).cloned().collect();
        let (table, notes) = creatable(&sender, true, &others).unwrap();
        assert_eq!(table.foreign_keys, good);
        assert_eq!(notes.len(), bad.len(), "{notes:#?}");
        // A reference without columns means the parent's primary key.
        sender.foreign_keys = vec![key("a", "parent", "")];
        let (table, _) = creatable(&sender, true, &others).unwrap();
        assert_eq!(table.foreign_keys, [key("a", "parent", "id")]);
    }

    /// As many parts as a peer's table may have: each set is compared once, not with each other.
    #[test]
    fn many_unique_sets_over_many_columns_are_made_once_each() {
        let columns: Vec<String> = (0..400).map(|number| format!("Column_number_{number}")).collect();
        let mut sender = table("t", &columns.iter().map(|name| format!("{name}:TEXT ")).collect::<String>(), "");
        let set = |from: usize, fold: bool| {
            let name = |at: usize| columns[(from + at) % 400].clone();
            let columns = (0..395).map(name).map(|name| if fold { name.to_uppercase() } else { name }).collect();
            UniqueSet { columns, kind: UniqueKind::Full, ..UniqueSet::default() }
        };
        sender.unique = (0..12).flat_map(|from| [set(from, false), set(from, true)]).collect();
        let parts: usize = sender.unique.iter().map(|set| set.columns.len()).sum();
        let most = Limits::default().wire.key_names;
        assert!(parts <= most && parts + 2 * 395 > most, "{parts}");
        let (made, notes) = made(&sender);
        assert_eq!((made.unique.len(), notes.len()), (12, 0));
        // Another collation, or another index, is another set.
        let indexed = UniqueSet { index: Some("i".into()), ..set(0, false) };
        let parts = set(0, false).columns.into_iter();
        let part = |column: String| IndexPart { collation: Some("NOCASE".into()), ..IndexPart::plain(&column) };
        let collated = UniqueSet { parts: parts.map(part).collect(), ..set(0, false) };
        sender.unique = vec![set(0, false), indexed, collated.clone(), collated];
        assert_eq!(creatable(&sender, true, &nothing).unwrap().0.unique.len(), 3);
    }

    #[test]
    fn what_is_left_out_by_the_thousand_is_counted() {
        let mut sender = table("t", "a:INT", "");
        let index = |number: usize| Index { name: format!("i{}", number / 2), parts: vec![IndexPart::plain("a")] };
        sender.indexes = (0..4_000).map(index).collect();
        sender.other_indexes = (0..500).map(|number| format!("o{number}")).collect();
        let key = |number: usize| ForeignKey {
            columns: vec!["a".into()],
            parent: format!("p{number}"),
            parent_columns: vec!["a".into()],
            ..ForeignKey::default()
        };
        sender.foreign_keys = (0..MOST_NAMED + 1).map(key).collect();
        let (made, notes) = made(&sender);
        assert_eq!((made.indexes.len(), notes.len()), (2_000, 2 * MOST_NAMED + 2));
        assert_eq!(notes[0], "Table \"t\": the index \"i0\" is left out, because its name cannot be used here.");
        assert_eq!(notes[MOST_NAMED], "Table \"t\": more indexes and unique sets are left out likewise: 2480.");
        assert_eq!(notes.last().unwrap(), "Table \"t\": more foreign keys are left out likewise: 1.");
    }

    #[test]
    fn what_cannot_be_a_table_is_refused() {
        let kind = |sender: TableSchema| creatable(&sender, true, &nothing).unwrap_err().kind();
        for name in ["sqlite_x", "SQLITE_", "rowferry_sessions"] {
            assert_eq!(kind(table(name, "a:INT", "")), ErrorKind::ReservedName, "{name}");
        }
        for name in ["pragma_table_info", "PRAGMA_X", "json_each", "Json_Tree", "dbstat", "generate_series"] {
            assert_eq!(kind(table(name, "a:INT", "")), ErrorKind::ReservedName, "{name}");
        }
        assert!(!is_built_in("pragma") && !is_built_in("json_each2") && !is_built_in("prägma_x") && !is_built_in(""));
        assert!(!is_reserved("sqlite") && !is_reserved("pg_class") && !is_reserved(""));
        assert_eq!(kind(table("t\0", "a:INT", "")), ErrorKind::SchemaMismatch);
        assert_eq!(kind(table("t", "a\0:INT", "")), ErrorKind::SchemaMismatch);
        assert_eq!(kind(table("t", "", "")), ErrorKind::SchemaMismatch);
        assert_eq!(kind(table("t", "a:INT A:INT", "")), ErrorKind::SchemaMismatch);
        assert_eq!(kind(table("t", "a:INT", "b")), ErrorKind::SchemaMismatch);
        assert_eq!(kind(table("t", "a:INT", "a a")), ErrorKind::SchemaMismatch);
        let many: Vec<_> = (0..=MOST_COLUMNS).map(|number| format!("c{number}:INT")).collect();
        assert_eq!(kind(table("t", &many.join(" "), "")), ErrorKind::TooLarge);
        assert!(creatable(&table("t", &many[1..].join(" "), ""), true, &nothing).is_ok());
        // SQLite allows these two, and the sender may have them.
        assert!(creatable(&table("", ":INT", ""), true, &nothing).is_ok());
    }
}
