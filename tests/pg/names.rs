//! Names that need quotes, further schemas, and tables as PhoenixKit's programs have them.

use rowferry::{PostgresOptions, Site, SiteKey, Strategy};

use crate::common::{KEY, Lite, Pg, clean, link, options, same};
use crate::postgres::server;

#[test]
fn names_that_need_quotes() {
    let sql = r#"CREATE TABLE "Order by ""x"""("select" INTEGER PRIMARY KEY, "a b" TEXT, "ü;--" TEXT UNIQUE);
        INSERT INTO "Order by ""x""" VALUES (1, 'a', 'b''c'), (2, NULL, NULL);
        CREATE TABLE "table"("Key" TEXT PRIMARY KEY, "order" INTEGER REFERENCES "Order by ""x"""("select"));
        INSERT INTO "table" VALUES ('k"', 1), ('\', 2);"#;
    let tables = ["Order by \"x\"", "table"];
    let from = Lite::new(sql);
    let (between, to) = (Pg::new(""), Lite::new(""));
    clean(&link(&from.site, &between.site, options(Strategy::Overwrite)));
    clean(&link(&between.site, &to.site, options(Strategy::Overwrite)));
    same(&from.site, &between.site, &tables);
    same(&from.site, &to.site, &tables);
    clean(&link(&Lite::new(sql).site, &between.site, options(Strategy::Overwrite)));
}

#[test]
fn names_that_differ_by_case_are_two() {
    let from = Pg::new(
        "CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE \"T\"(id int PRIMARY KEY); INSERT INTO t VALUES (1); INSERT INTO \"T\" VALUES (2)",
    );
    let to = Pg::new("");
    clean(&link(&from.site, &to.site, options(Strategy::Overwrite)));
    assert_eq!(to.run("SELECT * FROM t; SELECT * FROM \"T\""), "1\n2");
}

#[test]
fn tables_of_further_schemas_have_its_name() {
    let url = server().database();
    server().run(
        &url,
        "CREATE SCHEMA shop; CREATE SCHEMA old; CREATE SCHEMA other; CREATE TABLE shop.a(id int PRIMARY KEY); CREATE TABLE old.a(id int PRIMARY KEY);
         CREATE TABLE other.b(id int); CREATE TABLE public.c(id int); INSERT INTO shop.a VALUES (1); INSERT INTO old.a VALUES (2)",
    );
    let options_of = PostgresOptions::parse(&url).unwrap().schemas(["shop", "old"]).unwrap();
    let site = Site::builder().key(SiteKey::from_bytes(KEY)).open_postgres(options_of).unwrap();
    let names: Vec<String> = site.list_tables().unwrap().into_iter().map(|table| table.name).collect();
    assert_eq!(names, ["a", "old.a"]);
    let own = "SELECT count(*) > 0 FROM pg_tables WHERE schemaname = 'shop' AND tablename ~ '^rowferry'";
    assert_eq!(server().run(&url, own), "t");
    let to = Lite::new("");
    clean(&link(&site, &to.site, options(Strategy::Overwrite)));
    assert_eq!(to.cell("SELECT (SELECT id FROM a) || (SELECT id FROM \"old.a\")"), "12");
}

/// What Ecto makes of a schema of PhoenixKit's.
const PHOENIXKIT: &str = "
    CREATE EXTENSION IF NOT EXISTS citext;
    CREATE TYPE status AS ENUM ('draft', 'live');
    CREATE TABLE phoenix_kit_users (id uuid PRIMARY KEY, email citext NOT NULL UNIQUE, hashed_password varchar(255) NOT NULL, custom_fields jsonb DEFAULT '{}',
        tags varchar(255)[] DEFAULT ARRAY[]::varchar[], balance numeric(12, 4), avatar bytea, is_active boolean NOT NULL DEFAULT true, state status NOT NULL DEFAULT 'draft',
        confirmed_at timestamp(0), inserted_at timestamp(0) NOT NULL, seen_at timestamp with time zone);
    CREATE TABLE phoenix_kit_tokens (id bigserial PRIMARY KEY, user_id uuid NOT NULL REFERENCES phoenix_kit_users(id) ON DELETE CASCADE, token bytea NOT NULL,
        context varchar(255) NOT NULL, ip inet, inserted_at timestamp without time zone NOT NULL);
    CREATE INDEX ON phoenix_kit_tokens (user_id); CREATE UNIQUE INDEX ON phoenix_kit_tokens (context, token);
    INSERT INTO phoenix_kit_users SELECT gen_random_uuid(), 'User' || i || '@Example.com', 'hash', jsonb_build_object('n', i, 'text', 'Zoë \"x\"', 'deep', '[1, 2.50, null]'::jsonb),
        ARRAY['a,b', 'c\"d', NULL, ''], i * 1.2500, decode(md5(i::text), 'hex'), i % 2 = 0, CASE i % 3 WHEN 0 THEN 'live' ELSE 'draft' END::status,
        NULL, '2024-02-29 12:00:00', '2024-06-01 12:34:56.123456+02' FROM generate_series(1, 50) i;
    INSERT INTO phoenix_kit_tokens (user_id, token, context, ip, inserted_at)
        SELECT id, decode(md5(id::text), 'hex'), 'session', '10.0.0.1/24', '2024-01-01 00:00:00.000001' FROM phoenix_kit_users;";

const ALL: &str = "SELECT md5(string_agg(u::text, chr(10) ORDER BY u::text)) FROM phoenix_kit_users u;
    SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM phoenix_kit_tokens t";

#[test]
fn phoenixkits_tables_arrive_exactly() {
    let from = Pg::new(PHOENIXKIT);
    let to = Pg::new("CREATE EXTENSION citext; CREATE TYPE status AS ENUM ('draft', 'live')");
    clean(&link(&from.site, &to.site, options(Strategy::Overwrite)));
    assert_eq!(to.run(ALL), from.run(ALL));
    // By way of SQLite, into tables that are there.
    let between = Lite::new("");
    clean(&link(&from.site, &between.site, options(Strategy::Overwrite)));
    let back = Pg::new(&format!("{PHOENIXKIT} TRUNCATE phoenix_kit_users CASCADE"));
    clean(&link(&between.site, &back.site, options(Strategy::Overwrite)));
    assert_eq!(back.run(ALL), from.run(ALL));
    assert_eq!(
        between.cell("SELECT typeof(avatar) || typeof(is_active) || seen_at FROM phoenix_kit_users LIMIT 1"),
        "blobinteger2024-06-01 10:34:56.123456+00"
    );
}
