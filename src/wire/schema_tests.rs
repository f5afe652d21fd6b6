use proptest::prelude::*;

use super::*;
use crate::domain::names::NameRules;

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
    let limits = Limits { columns: 2, ..Limits::default() };
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
    assert_eq!(decode(&c("a"), &extras("[]", "")), Err(ErrorKind::Protocol));
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
                    default,
                    generated,
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
        let unique = (some.clone(), kind.clone()).prop_map(|(columns, kind)| UniqueSet { columns, kind });
        let foreign = (one.clone(), "[a-z]{1,5}", action.clone(), action.clone()).prop_map(
            |(columns, parent, on_delete, on_update)| ForeignKey {
                parent_columns: columns.clone(),
                columns,
                parent,
                on_delete,
                on_update,
            },
        );
        let index = (one, "[a-z]{1,5}", any::<bool>()).prop_map(|(columns, name, descending)| Index {
            name,
            columns: columns.into_iter().map(|column| (column, descending)).collect(),
        });
        let several = 0..3usize;
        let lists = (
            proptest::collection::vec(unique, several.clone()),
            proptest::collection::vec(foreign, several.clone()),
            proptest::collection::vec(index, several),
        );
        ("[^\0]{0,9}", Just(columns), some, lists, any::<[bool; 5]>()).prop_map(
            |(name, columns, primary_key, (unique, foreign_keys, indexes), flags)| TableSchema {
                name,
                columns,
                key_collations: primary_key.iter().filter(|_| flags[4]).map(|name| collation_for(name)).collect(),
                primary_key,
                unique,
                foreign_keys,
                indexes,
                has_triggers: false,
                strict: flags[0],
                without_rowid: flags[1],
                autoincrement: flags[2],
                rowid_alias: flags[3],
                // Matters of each store: they are not told.
                names: NameRules::default(),
                deferred: false,
            },
        )
    })
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
