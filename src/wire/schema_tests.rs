use proptest::prelude::*;

use super::*;
use crate::domain::names::NameRules;
use crate::domain::schema::{ForeignKey, ForeignKeyAction, Index, OnConflict, UniqueKind, UniqueSet};
use crate::domain::table::FileNumbers;

fn column(name: &str, logical: LogicalType) -> Column {
    Column { name: name.into(), logical, nullable: true, ..Column::default() }
}

#[test]
fn to_the_reference_in_its_own_form() {
    let mut id = column("id", LogicalType::Integer);
    id.declared_type = "INTEGER".into();
    let mut active = column("active", LogicalType::Boolean);
    active.default = Some("1".into());
    let mut code = column("code", LogicalType::Text);
    (code.max_length, code.default, code.nullable) = (Some(80), Some("'it''s'".into()), false);
    let table = TableSchema {
        name: "users".into(),
        columns: vec![id, active, code, column("key", LogicalType::Uuid)],
        primary_key: vec!["id".into()],
        ..TableSchema::default()
    };
    let expected = concat!(
        r#"{"columns":["#,
        r#"{"default":null,"max_length":null,"name":"id","nullable":false,"precision":64,"primary_key":true,"scale":0,"type":"bigint"},"#,
        r#"{"default":"true","max_length":null,"name":"active","nullable":true,"precision":null,"primary_key":false,"scale":null,"type":"boolean"},"#,
        r#"{"default":"'it''s'","max_length":null,"name":"code","nullable":false,"precision":null,"primary_key":false,"scale":null,"type":"text"},"#,
        r#"{"default":null,"max_length":null,"name":"key","nullable":true,"precision":null,"primary_key":false,"scale":null,"type":"text"}"#,
        r#"],"primary_key":["id"],"schema":"public","table":"users"}"#
    );
    assert_eq!(encode_schema(&table, Dialect::ReferenceSocket).get(), expected);
}

#[test]
fn only_defaults_that_are_no_code_go_out() {
    let portable =
        |logical, default: &str| portable_default(&Column { default: Some(default.into()), ..column("c", logical) });
    assert_eq!(portable(LogicalType::Integer, "-5"), Some("-5".into()));
    assert_eq!(portable(LogicalType::Timestamp, "current_timestamp"), Some("CURRENT_TIMESTAMP".into()));
    assert_eq!(portable(LogicalType::Text, "x'00'"), None);
    assert_eq!(portable(LogicalType::Json, "'{}'"), None);
    assert_eq!(portable(LogicalType::Integer, "(random())"), None);
    assert_eq!(portable(LogicalType::Boolean, "2"), None);
}

#[test]
fn from_the_reference() {
    let json = concat!(
        r#"{"columns":[{"default":"nextval('posts_id_seq'::regclass)","max_length":null,"name":"id","nullable":false,"#,
        r#""precision":64,"primary_key":true,"scale":0,"type":"bigint"},"#,
        r#"{"default":null,"max_length":80,"name":"title","nullable":false,"precision":null,"primary_key":false,"#,
        r#""scale":null,"type":"character varying"},"#,
        r#"{"default":null,"max_length":null,"name":"tags","nullable":true,"precision":null,"primary_key":false,"#,
        r#""scale":null,"type":"ARRAY"}],"primary_key":["id"],"schema":"public","table":"posts"}"#
    );
    let table = decode_schema(json, &Limits::default()).unwrap();
    assert_eq!((table.name.as_str(), table.primary_key.as_slice()), ("posts", ["id".to_owned()].as_slice()));
    let logical: Vec<_> = table.columns.iter().map(|column| column.logical.clone()).collect();
    assert_eq!(logical, [LogicalType::Integer, LogicalType::Text, LogicalType::Json]);
    assert_eq!(table.columns[1].declared_type, "character varying");
    assert_eq!(table.columns[1].max_length, Some(80));
    assert!(!table.columns[0].nullable && table.columns[2].nullable);
}

#[test]
fn hostile_structures_are_refused() {
    let limits = Limits::with(|limits| limits.wire.columns = 2);
    let decode = |columns: &str, rest: &str| {
        decode_schema(&format!(r#"{{"columns":[{columns}],"table":"t"{rest}}}"#), &limits).map_err(|error| error.kind())
    };
    let c = |name: &str| format!(r#"{{"name":"{name}","nullable":true,"type":"text"}}"#);
    assert!(decode(&c("a"), "").is_ok());
    assert_eq!(decode("", ""), Err(ErrorKind::Protocol));
    assert_eq!(decode(&[c("a"), c("b"), c("c")].join(","), ""), Err(ErrorKind::TooLarge));
    assert_eq!(decode(&[c("a"), c("A")].join(","), ""), Err(ErrorKind::Protocol));
    assert_eq!(decode(&c(&"x".repeat(1025)), ""), Err(ErrorKind::TooLarge));
    assert_eq!(decode(&c("a\\u0000"), ""), Err(ErrorKind::Protocol));
    assert_eq!(decode(&c("a"), r#","primary_key":["b"]"#), Err(ErrorKind::Protocol));
    assert_eq!(decode(&c("a"), r#","primary_key":["a","a"]"#), Err(ErrorKind::Protocol));
    assert_eq!(decode(&c("a"), r#","primary_key":5"#), Err(ErrorKind::Protocol));
    let key = r#""columns":["a"],"on_delete":"CASCADE","on_update":"NO ACTION","parent":"p""#;
    let extras =
        |parent: &str, more: &str| format!(r#","rowferry":{{"foreign_keys":[{{{key},"parent_columns":{parent}}}]{more}}}"#);
    assert!(decode(&c("a"), &extras(r#"["id"]"#, "")).is_ok());
    // SQLite takes a key that refers to another number of columns.
    assert!(decode(&c("a"), &extras("[]", "")).is_ok() && decode(&c("a"), &extras(r#"["x","y"]"#, "")).is_ok());
    let none = extras(r#"["id"]"#, "").replace(r#""columns":["a"]"#, r#""columns":[]"#);
    assert_eq!(decode(&c("a"), &none), Err(ErrorKind::Protocol));
    assert_eq!(
        decode(&c("a"), &extras(r#"["id"]"#, r#","unique":[{"columns":["z"],"kind":"full"}]"#)),
        Err(ErrorKind::Protocol)
    );
    assert_eq!(decode(&c("a"), &extras(r#"["id"]"#, r#","strict":"yes""#)), Err(ErrorKind::Protocol));
    let collations =
        |list: &str| decode(&c("a"), &format!(r#","primary_key":["a"],"rowferry":{{"key_collations":{list}}}"#));
    assert!(collations("[]").is_ok() && collations("[null]").is_ok() && collations(r#"["x"]"#).is_ok());
    assert_eq!(collations(r#"["x","y"]"#), Err(ErrorKind::Protocol));
    assert_eq!(collations(r#"["x\u0000"]"#), Err(ErrorKind::Protocol));
    assert_eq!(collations("5"), Err(ErrorKind::Protocol));
    for junk in ["null", "[]", "5", "\"x\"", "{}"] {
        assert!(decode_schema(junk, &limits).is_err(), "{junk}");
    }
    assert!(decode_schema(&"[".repeat(100_000), &limits).is_err());
}

fn logical() -> impl Strategy<Value = LogicalType> {
    let known = LOGICAL_NAMES.map(|(logical, _)| logical).to_vec();
    prop_oneof![proptest::sample::select(known), "[a-z ]{0,9}".prop_map(LogicalType::Other)]
}

fn columns() -> impl Strategy<Value = Vec<Column>> {
    let column = (
        ("[^\0]{0,8}", logical(), any::<bool>(), proptest::option::of(".{0,12}")),
        (any::<bool>(), proptest::option::of("[A-Z]{1,8}"), any::<(Option<u32>, Option<u32>, Option<u32>)>()),
    );
    proptest::collection::vec(column, 1..8).prop_map(|drawn| {
        let column =
            |(at, ((declared_type, logical, nullable, default), (generated, collation, (max_length, precision, scale))))| {
                Column {
                    // A number in front keeps names apart.
                    name: format!("{at}{declared_type}"),
                    declared_type,
                    logical,
                    nullable,
                    not_null_on_conflict: if nullable { OnConflict::Abort } else { OnConflict::Ignore },
                    default,
                    generated,
                    numbering: if nullable { None } else { Some(Numbering::Always) },
                    collation,
                    max_length,
                    precision,
                    scale,
                }
            };
        drawn.into_iter().enumerate().map(column).collect()
    })
}

/// One or none, whatever the name.
fn collation_for(name: &str) -> Option<String> {
    name.len().is_multiple_of(2).then(|| "NOCASE".to_owned())
}

fn tables() -> impl Strategy<Value = TableSchema> {
    let actions = [
        ForeignKeyAction::NoAction,
        ForeignKeyAction::Restrict,
        ForeignKeyAction::SetNull,
        ForeignKeyAction::SetDefault,
        ForeignKeyAction::Cascade,
    ];
    let action = proptest::sample::select(actions.to_vec());
    let kind = proptest::sample::select(vec![UniqueKind::Full, UniqueKind::Partial, UniqueKind::Expression]);
    columns().prop_flat_map(move |columns| {
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let some = proptest::sample::subsequence(names.clone(), 0..=names.len());
        let one = proptest::sample::subsequence(names.clone(), 1..=names.len());
        let part = (proptest::sample::select(names.clone()), any::<bool>(), any::<bool>()).prop_map(
            |(column, collated, descending)| {
                let collation = if collated { collation_for(&column) } else { None };
                IndexPart { column, collation, descending }
            },
        );
        let parts = proptest::collection::vec(part, 0..4);
        let conflict = proptest::sample::select(vec![OnConflict::Abort, OnConflict::Fail, OnConflict::Replace]);
        let unique = (some.clone(), kind.clone(), proptest::option::of("[a-z]{1,3}"), parts.clone(), conflict.clone())
            .prop_map(|(columns, kind, index, parts, on_conflict)| UniqueSet {
                nulls_not_distinct: columns.len() == 1,
                columns,
                kind,
                index,
                parts,
                on_conflict,
            });
        let foreign = (one.clone(), "[a-z]{1,5}", action.clone(), action.clone(), any::<bool>()).prop_map(
            |(columns, parent, on_delete, on_update, deferred)| ForeignKey {
                parent_columns: columns.clone(),
                columns,
                parent,
                on_delete,
                on_update,
                deferred,
            },
        );
        let index = ("[a-z]{1,5}", parts).prop_map(|(name, parts)| Index { name, parts });
        let several = 0..3usize;
        let lists = (
            proptest::collection::vec(unique, several.clone()),
            proptest::collection::vec(foreign, several.clone()),
            proptest::collection::vec(index, several),
        );
        ("[^\0]{0,9}", Just(columns), some, lists, any::<[bool; 6]>(), conflict, any::<Option<i64>>()).prop_map(
            |(name, columns, primary_key, (unique, foreign_keys, indexes), flags, key_on_conflict, sequence)| TableSchema {
                name,
                origin: if flags[5] { Origin::Postgres } else { Origin::Sqlite },
                columns,
                key_collations: primary_key.iter().filter(|_| flags[4]).map(|name| collation_for(name)).collect(),
                primary_key,
                unique,
                foreign_keys,
                // Those that compare otherwise than their columns are told after the others.
                indexes: {
                    let is_collated = |index: &Index| index.parts.iter().any(|part| part.collation.is_some());
                    let (collated, plain): (Vec<_>, Vec<_>) = indexes.into_iter().partition(is_collated);
                    plain.into_iter().chain(collated).collect()
                },
                other_indexes: if flags[5] { vec!["x".into()] } else { Vec::new() },
                key_on_conflict,
                sequence,
                file: FileNumbers { user_version: i32::from(flags[0]), application_id: -i32::from(flags[1]) },
                is_unread: flags[5],
                has_triggers: false,
                strict: flags[0],
                without_rowid: flags[1],
                autoincrement: flags[2],
                rowid_alias: flags[3],
                names: if flags[5] { NameRules::Exact } else { NameRules::default() },
                // A matter of each store: it is not told.
                deferred: false,
            },
        )
    })
}

/// A peer of an earlier version takes what is declared for SQLite's.
#[test]
fn a_table_of_postgres_is_told_as_one_that_sqlite_can_keep() {
    let mut price = column("price", LogicalType::Numeric);
    price.declared_type = "numeric(10,2)".into();
    let mut id = column("ID", LogicalType::Integer);
    (id.declared_type, id.numbering) = ("bigint".into(), Some(Numbering::ByDefault));
    let table = TableSchema {
        name: "t".into(),
        origin: Origin::Postgres,
        columns: vec![id, column("id", LogicalType::Text), price],
        primary_key: vec!["ID".into()],
        names: NameRules::Exact,
        ..TableSchema::default()
    };
    let json = encode_schema(&table, Dialect::Rowferry);
    let told: serde_json::Value = serde_json::from_str(json.get()).unwrap();
    assert_eq!(told["columns"][2]["declared_type"], "NUMERIC TEXT");
    assert_eq!(decode_schema(json.get(), &Limits::default()).unwrap(), table);
    // A later version may know another database.
    let other = json.get().replace("\"postgres\"", "\"duckdb\"").replace("\"ID\"", "\"key\"");
    let other = decode_schema(&other, &Limits::default()).unwrap();
    assert_eq!((other.origin, other.columns[2].declared_type.as_str()), (Origin::Other, "NUMERIC TEXT"));
    // PhoenixKit is told nothing of it.
    assert!(!encode_schema(&table, Dialect::ReferenceSocket).get().contains("numbering"));
}

/// Version 0.1.0 refuses a table in which a list names a column twice, and makes an index of what it finds among the indexes.
#[test]
fn version_0_1_0_is_told_nothing_that_it_would_take_for_something_else() {
    let part = |column: &str, by: Option<&str>| IndexPart { collation: by.map(String::from), ..IndexPart::plain(column) };
    let index = |name: &str, parts: Vec<IndexPart>| Index { name: name.into(), parts };
    let table = TableSchema {
        name: "t".into(),
        columns: vec![column("a", LogicalType::Text), column("b", LogicalType::Text)],
        indexes: vec![
            index("twice", vec![part("a", None), part("b", None), part("a", None)]),
            index("collated", vec![part("a", Some("NOCASE"))]),
        ],
        ..TableSchema::default()
    };
    let json = encode_schema(&table, Dialect::Rowferry);
    let told: serde_json::Value = serde_json::from_str(json.get()).unwrap();
    let indexes = &told["rowferry"]["indexes"];
    assert_eq!(indexes.as_array().unwrap().len(), 1);
    let columns: Vec<_> = indexes[0]["columns"].as_array().unwrap().iter().map(|column| column["name"].clone()).collect();
    assert_eq!(columns, ["a", "b"]);
    assert_eq!(decode_schema(json.get(), &Limits::default()).unwrap(), table);
    // What is as it was is told as it was.
    let plain = TableSchema { indexes: vec![index("plain", vec![part("b", None)])], ..table };
    let told: serde_json::Value = serde_json::from_str(encode_schema(&plain, Dialect::Rowferry).get()).unwrap();
    let fields: Vec<_> = told["rowferry"].as_object().unwrap().keys().cloned().collect();
    let known = ["autoincrement", "foreign_keys", "indexes", "rowid_alias", "strict", "unique", "without_rowid"];
    assert_eq!(fields, known);
}

#[test]
fn what_an_index_or_a_constraint_claims_is_bounded() {
    let table = |rowferry: &str| {
        let json = format!(
            r#"{{"table":"t","columns":[{{"name":"a","type":"t","nullable":true}}],"primary_key":[],"rowferry":{rowferry}}}"#
        );
        decode_schema(&json, &Limits::with(|limits| limits.wire.columns = 3)).map_err(|error| error.kind())
    };
    let part = r#"{"name":"a"}"#;
    let parts = |count: usize| vec![part; count].join(",");
    let index = |parts: &str| format!(r#"{{"indexes":[{{"name":"i","columns":[{part}],"parts":[{parts}]}}]}}"#);
    assert_eq!(table(&index(&parts(3))).unwrap().indexes[0].parts.len(), 3);
    assert_eq!(table(&index(&parts(4))), Err(ErrorKind::TooLarge));
    assert_eq!(table(&index(r#"{"name":"nowhere"}"#)), Err(ErrorKind::Protocol));
    let long = format!(r#"{{"name":"a","collation":"{}"}}"#, "x".repeat(2000));
    assert_eq!(table(&index(&long)), Err(ErrorKind::TooLarge));
    for (bad, kind) in [
        (r#"{"key_on_conflict":"DROP TABLE"}"#.to_owned(), ErrorKind::Protocol),
        (r#"{"unique":[{"columns":["a"],"kind":"full","on_conflict":"x"}]}"#.to_owned(), ErrorKind::Protocol),
        (format!(r#"{{"unique":[{{"columns":["a"],"kind":"full","parts":[{}]}}]}}"#, parts(4)), ErrorKind::TooLarge),
        (r#"{"unique":[{"columns":["a"],"kind":"full","index":"\u0000"}]}"#.to_owned(), ErrorKind::Protocol),
        (r#"{"other_indexes":["a","b","c","d"]}"#.to_owned(), ErrorKind::TooLarge),
        (r#"{"user_version":99999999999}"#.to_owned(), ErrorKind::Protocol),
        (r#"{"sequence":1.5}"#.to_owned(), ErrorKind::Protocol),
    ] {
        assert_eq!(table(&bad), Err(kind), "{bad}");
    }
    let twice = r#"{"foreign_keys":[{"columns":["a","a"],"parent":"p","parent_columns":["x","y"],"on_delete":"CASCADE","on_update":"CASCADE"}]}"#;
    assert_eq!(table(twice).unwrap().foreign_keys[0].columns, ["a", "a"]);
}

#[test]
fn what_all_keys_and_indexes_claim_together_is_bounded() {
    let columns: Vec<Column> = (0..100).map(|number| column(&format!("c{number}"), LogicalType::Text)).collect();
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let parts: Vec<IndexPart> = names.iter().map(|name| IndexPart::plain(name.as_str())).collect();
    let unique = UniqueSet { columns: names.clone(), kind: UniqueKind::Full, ..UniqueSet::default() };
    let index = Index { name: "i".into(), parts };
    let key =
        ForeignKey { columns: names.clone(), parent: "p".into(), parent_columns: names.clone(), ..ForeignKey::default() };
    let most = TableSchema {
        name: "t".into(),
        columns,
        unique: vec![unique; 50],
        indexes: vec![index; 25],
        foreign_keys: vec![key; 25],
        ..TableSchema::default()
    };
    let read = |table: &TableSchema| decode_schema(&table.to_json(), &Limits::default()).map_err(|error| error.kind());
    assert_eq!(read(&most).unwrap(), most);
    for more in 0..3 {
        let mut table = most.clone();
        match more {
            0 => table.unique.extend(most.unique.first().cloned()),
            1 => table.indexes.extend(most.indexes.first().cloned()),
            _ => table.foreign_keys.extend(most.foreign_keys.first().cloned()),
        }
        assert_eq!(read(&table), Err(ErrorKind::TooLarge), "{more}");
    }
}

/// Each index of a WITHOUT ROWID table has the columns of the key, too: SQLite looks each of them up among the index's own.
#[test]
fn the_key_of_a_table_without_rowid_counts_with_each_index() {
    let columns: Vec<Column> = (0..200).map(|number| column(&format!("c{number}"), LogicalType::Text)).collect();
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let set = |number: usize| UniqueSet { columns: vec![names[number].clone()], ..UniqueSet::default() };
    let mut table = TableSchema {
        name: "t".into(),
        columns,
        unique: (0..40).map(set).collect(),
        primary_key: names.clone(),
        ..TableSchema::default()
    };
    let limits = Limits::with(|limits| limits.wire.key_names = 8_240);
    let read = |table: &TableSchema| decode_schema(&table.to_json(), &limits).map_err(|error| error.kind());
    assert!(read(&table).is_ok());
    table.without_rowid = true;
    assert_eq!((table.key_names(), read(&table)), (8_240, Ok(table.clone())));
    table.unique.push(set(40));
    assert_eq!(read(&table), Err(ErrorKind::TooLarge));
}

#[test]
fn a_description_is_bounded_before_it_is_read() {
    let table = TableSchema { name: "t".into(), columns: vec![column("a", LogicalType::Text)], ..TableSchema::default() };
    let json = table.to_json();
    let with = |schema_bytes: usize| decode_schema(&json, &Limits::with(|limits| limits.wire.schema_bytes = schema_bytes));
    assert!(with(json.len()).is_ok());
    let error = with(json.len() - 1).unwrap_err();
    assert!(error.kind() == ErrorKind::TooLarge && error.hint().is_some(), "{error}");
}

#[test]
fn columns_are_named_everywhere_as_they_are() {
    let column = |name: &str| format!(r#"{{"name":"{name}","nullable":true,"type":"text"}}"#);
    let action = r#""on_delete":"CASCADE","on_update":"CASCADE""#;
    let json = format!(
        r#"{{"table":"T","columns":[{},{}],"primary_key":["ID"],"rowferry":{{
            "unique":[{{"columns":["VALUE","iD"],"kind":"full","parts":[{{"name":"VALUE"}},{{"name":"iD"}}]}}],
            "indexes":[{{"name":"I","columns":[{{"name":"valuE"}}]}}],
            "foreign_keys":[{{"columns":["VALUE"],"parent":"t","parent_columns":["ID"],{action}}},
                {{"columns":["VALUE"],"parent":"other","parent_columns":["ID"],{action}}}]}}}}"#,
        column("id"),
        column("Value"),
    );
    let table = decode_schema(&json, &Limits::default()).unwrap();
    assert_eq!(
        (&table.primary_key[..], &table.unique[0].columns[..]),
        (&["id".to_owned()][..], &["Value".into(), "id".into()][..])
    );
    assert_eq!((&*table.unique[0].parts[0].column, &*table.indexes[0].parts[0].column), ("Value", "Value"));
    let keys: Vec<_> = table.foreign_keys.iter().map(|key| (&*key.columns[0], &*key.parent_columns[0])).collect();
    assert_eq!(keys, [("Value", "id"), ("Value", "ID")]);
}

proptest! {
    #[test]
    fn between_rowferry_sites_nothing_is_lost(table in tables()) {
        let json = encode_schema(&table, Dialect::Rowferry);
        prop_assert_eq!(decode_schema(json.get(), &Limits::default()).unwrap(), table);
    }

    #[test]
    fn what_the_reference_is_told_can_be_read_again(table in tables()) {
        let json = encode_schema(&table, Dialect::ReferenceSocket);
        let read = decode_schema(json.get(), &Limits::default()).unwrap();
        prop_assert_eq!(read.columns.len(), table.columns.len());
        prop_assert_eq!(read.primary_key, table.primary_key);
        prop_assert!(read.unique.is_empty() && read.foreign_keys.is_empty());
    }
}
