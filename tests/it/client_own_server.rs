//! The client against rowferry's own server, with a token: over the channel and over HTTP.

use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{
    Api, Auth, Client, ConnectOptions, ErrorKind, NewConnection, Policy, PullOptions, RecordsQuery, Server, Strategy, Token,
};

const ROWS: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, photo BLOB, uid UUID);
    INSERT INTO users VALUES (1, 'a', x'fffe', '9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e'), (2, NULL, x'', NULL);
    CREATE TABLE many(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO many SELECT i, 'row ' || i FROM n;
    CREATE TABLE hidden(id INTEGER PRIMARY KEY);";

fn options() -> ConnectOptions {
    let time = Duration::from_secs(20);
    ConnectOptions::default().connect_timeout(time).join_timeout(time).request_timeout(time)
}

#[test]
fn a_token_pulls_over_both_ways() {
    let shop = Fixture::new(ROWS);
    let mut policy = Policy::default();
    policy.excluded_tables = vec!["hidden".into()];
    let made = NewConnection::sender("backup", "https://backup.example").policy(policy);
    let made = shop.site.connections().create(made).unwrap();
    let server = Server::bind(&shop.site, "127.0.0.1:0").unwrap().spawn().unwrap();

    let backup = Fixture::new("");
    let client = Client::connect(server.url(), Auth::token(made.token.as_str()), options()).unwrap();
    let report = client.pull(&backup.site, PullOptions::new()).unwrap();
    assert!(report.is_clean() && report.tables.len() == 2, "{report:?}");
    for table in ["users", "many"] {
        assert_eq!(shop.site.table_checksum(table).unwrap(), backup.site.table_checksum(table).unwrap());
    }

    let api = Api::new(server.url(), &options()).unwrap();
    assert!(api.status().unwrap().enabled);
    let api = api.token(&made.token);
    let names: Vec<(String, u64)> =
        api.list_tables().unwrap().into_iter().map(|table| (table.name, table.row_count)).collect();
    assert_eq!(names, [("many".to_owned(), 2_500), ("users".to_owned(), 2)]);
    let users = api.table_schema("users").unwrap();
    let some = api.table_records(&users, &RecordsQuery::default().ids([2.into()])).unwrap();
    assert_eq!((some.rows.len(), some.failures.len()), (1, 0));
    assert_eq!(api.pull_data(&users).unwrap().rows.len(), 2);
    assert_eq!(api.table_schema("hidden").unwrap_err().kind(), ErrorKind::TableNotFound);

    let copy = Fixture::new("CREATE TABLE many(id INTEGER PRIMARY KEY, v TEXT)");
    let report = api.pull(&copy.site, PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(copy.rows("SELECT * FROM users ORDER BY id"), shop.rows("SELECT * FROM users ORDER BY id"));
    assert_eq!(copy.rows("SELECT count(*), max(v) FROM many"), shop.rows("SELECT count(*), max(v) FROM many"));

    let wrong = Api::new(server.url(), &options()).unwrap().token(&Token::parse("wrong").unwrap());
    assert_eq!(wrong.list_tables().unwrap_err().kind(), ErrorKind::InvalidToken);
    let error = Client::connect(server.url(), Auth::token("wrong"), options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidToken);
    // How it stands, and why, is told in each of the ways.
    let uuid = made.connection.uuid;
    let connect = || Client::connect(server.url(), Auth::token(made.token.as_str()), options()).unwrap_err();
    shop.site.connections().suspend(uuid, Some("stocktaking – until noon")).unwrap();
    for error in [api.list_tables().unwrap_err(), client.list_tables().unwrap_err(), connect()] {
        let (kind, hint) = (error.kind(), error.hint().unwrap());
        assert_eq!(
            (kind, hint),
            (ErrorKind::ConnectionNotActive, "Ask the other site's people to reactivate the connection.")
        );
        let why = "the connection is suspended by the other site: stocktaking – until noon";
        assert!(error.message().ends_with(why), "{error}");
    }
    shop.site.connections().revoke(uuid, None).unwrap();
    for error in [api.list_tables().unwrap_err(), client.list_tables().unwrap_err(), connect()] {
        assert_eq!(error.kind(), ErrorKind::ConnectionNotActive);
        assert!(error.message().ends_with("the connection is revoked by the other site"), "{error}");
    }
}
