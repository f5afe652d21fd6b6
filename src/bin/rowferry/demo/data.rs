//! The demo's shop: what its tables are, what is in them, and what changes on either side.
//!
//! Everything is the same each time: the numbers come from a small generator with a fixed seed.

use std::path::Path;

use rowferry::{CancelToken, Result};
use rusqlite::{Connection, params};

use super::failed;

/// A table of the shop.
pub struct Table {
    pub name: &'static str,
    /// The columns that tell its rows apart; none for a table without a key.
    pub key: &'static [&'static str],
    /// A query for its rows without keys that a pull may change: what belongs to a row is named by e-mail address, article
    /// number and the like. `$` stands for the database.
    pub natural: &'static str,
    /// How many of that query's first columns the table has a unique set of, so that a row with the same ones is the same
    /// thing; 0 where two such rows are two things.
    pub unique: usize,
}

/// The name of the table that is hard to write in SQL.
pub const AWKWARD: &str = "order by \"group\" -- it's";

/// All tables: with references to others and to themselves (customers, categories, employees), two that refer to each other
/// (departments, employees), unique sets, blobs, names of people from everywhere, keys of one and of two columns and none.
pub const TABLES: [Table; 11] = [
    Table { name: "countries", key: &["code"], natural: "SELECT name, code, flag FROM $.countries", unique: 1 },
    Table {
        name: "customers",
        key: &["id"],
        natural: "SELECT c.email, c.name, c.country, r.email, c.credit, c.photo, c.newsletter, c.joined_at
                  FROM $.customers c LEFT JOIN $.customers r ON r.id = c.referred_by",
        unique: 1,
    },
    Table {
        name: "categories",
        key: &["id"],
        natural: "SELECT c.name, p.name FROM $.categories c LEFT JOIN $.categories p ON p.id = c.parent_id",
        unique: 1,
    },
    Table {
        name: "products",
        key: &["id"],
        natural: "SELECT p.sku, p.name, c.name, p.cents, p.weight, p.thumbnail, p.price
                  FROM $.products p JOIN $.categories c ON c.id = p.category_id",
        unique: 1,
    },
    Table {
        name: "departments",
        key: &["id"],
        natural: "SELECT d.name, e.badge FROM $.departments d LEFT JOIN $.employees e ON e.id = d.head_id",
        unique: 1,
    },
    Table {
        name: "employees",
        key: &["id"],
        natural: "SELECT e.badge, e.name, d.name, m.badge FROM $.employees e
                  JOIN $.departments d ON d.id = e.department_id LEFT JOIN $.employees m ON m.id = e.manager_id",
        unique: 1,
    },
    Table {
        name: "orders",
        key: &["id"],
        natural: "SELECT c.email, e.badge, o.placed_at, o.status, o.note FROM $.orders o
                  JOIN $.customers c ON c.id = o.customer_id LEFT JOIN $.employees e ON e.id = o.sold_by",
        unique: 0,
    },
    Table {
        name: "order_lines",
        key: &["order_id", "line"],
        natural: "SELECT c.email, o.placed_at, o.note, l.line, p.sku, l.quantity, l.cents FROM $.order_lines l
                  JOIN $.orders o ON o.id = l.order_id JOIN $.customers c ON c.id = o.customer_id
                  JOIN $.products p ON p.id = l.product_id",
        unique: 0,
    },
    Table {
        name: "stock",
        key: &["warehouse", "product_id"],
        natural: "SELECT s.warehouse, p.sku, s.quantity, s.counted_on
                  FROM $.stock s JOIN $.products p ON p.id = s.product_id",
        unique: 2,
    },
    Table {
        name: "page_views",
        key: &[],
        natural: "SELECT v.path, c.email, v.seen_at, v.milliseconds
                  FROM $.page_views v LEFT JOIN $.customers c ON c.id = v.customer_id",
        unique: 0,
    },
    Table {
        name: AWKWARD,
        key: &["select"],
        natural: r#"SELECT a."from ""where""", c.email, a."Größe [м²]" FROM $."order by ""group"" -- it's" a
                   LEFT JOIN $.customers c ON c.id = a."it's""#,
        unique: 0,
    },
];

const STRUCTURE: &str = r#"
CREATE TABLE countries (code TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, flag TEXT) WITHOUT ROWID;
CREATE TABLE customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    country TEXT REFERENCES countries(code), referred_by INTEGER REFERENCES customers(id),
    credit REAL, photo BLOB, newsletter BOOLEAN NOT NULL DEFAULT 0, joined_at TIMESTAMP NOT NULL);
CREATE TABLE categories (
    id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES categories(id), name TEXT NOT NULL UNIQUE);
CREATE TABLE products (
    id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    category_id INTEGER NOT NULL REFERENCES categories(id), cents INTEGER NOT NULL CHECK (cents >= 0),
    weight REAL, thumbnail BLOB, price TEXT GENERATED ALWAYS AS (format('%.2f EUR', cents / 100.0)) VIRTUAL);
CREATE TABLE departments (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, head_id INTEGER REFERENCES employees(id));
CREATE TABLE employees (
    id INTEGER PRIMARY KEY, badge TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    department_id INTEGER NOT NULL REFERENCES departments(id), manager_id INTEGER REFERENCES employees(id));
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers(id),
    sold_by INTEGER REFERENCES employees(id), placed_at TIMESTAMP NOT NULL, status TEXT NOT NULL DEFAULT 'open', note TEXT);
CREATE INDEX orders_of_a_customer ON orders(customer_id);
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders(id), line INTEGER NOT NULL,
    product_id INTEGER NOT NULL REFERENCES products(id), quantity INTEGER NOT NULL CHECK (quantity > 0),
    cents INTEGER NOT NULL, PRIMARY KEY (order_id, line));
CREATE TABLE stock (
    warehouse TEXT NOT NULL, product_id INTEGER NOT NULL REFERENCES products(id), quantity INTEGER NOT NULL,
    counted_on DATE, PRIMARY KEY (warehouse, product_id)) WITHOUT ROWID;
CREATE TABLE page_views (path TEXT NOT NULL, customer_id INTEGER REFERENCES customers(id), seen_at TIMESTAMP, milliseconds REAL);
CREATE TABLE "order by ""group"" -- it's" (
    "select" INTEGER PRIMARY KEY, "from ""where""" TEXT, "it's" INTEGER REFERENCES customers(id), "Größe [м²]" REAL);
"#;

const COUNTRIES: [(&str, &str, &str); 10] = [
    ("AT", "Österreich", "🇦🇹"),
    ("BR", "Brasil", "🇧🇷"),
    ("CN", "中国", "🇨🇳"),
    ("EG", "مصر", "🇪🇬"),
    ("FR", "Côte d'Azur, France", "🇫🇷"),
    ("GR", "Ελλάδα", "🇬🇷"),
    ("IL", "ישראל", "🇮🇱"),
    ("IN", "भारत", "🇮🇳"),
    ("JP", "日本", "🇯🇵"),
    ("UA", "Україна", "🇺🇦"),
];
const GIVEN: [&str; 12] =
    ["Zoë", "Łukasz", "Мария", "小龙", "أمينة", "Jürgen", "さくら", "Séan", "अनन्या", "Ελένη", "O'Neil", "Ana \"Nita\""];
const FAMILY: [&str; 10] =
    ["Ångström", "李", "Шевченко", "García-Núñez", "Müller", "山田", "Nguyễn", "D'Arcy", "Öztürk", "Smith"];
const DEPARTMENTS: [&str; 6] = ["Sales", "Warehouse", "Support", "Finance", "Workshop", "Management"];
const WAREHOUSES: [&str; 3] = ["Zürich", "Łódź", "東京"];
const PATHS: [&str; 5] = ["/", "/search?q=100%25", "/basket", "/produkte/größe", "/検索"];

/// SplitMix64: small, and good enough for made-up data.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `below - 1`.
    fn below(&mut self, below: u32) -> u32 {
        (self.next() % u64::from(below)) as u32
    }

    /// One of the rows with the ids from 1 to `count`.
    fn id(&mut self, count: u32) -> i64 {
        i64::from(self.below(count)) + 1
    }

    /// One of `in_how_many` times something, otherwise nothing.
    fn sometimes<T>(&mut self, in_how_many: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(in_how_many) == 0).then(|| make(self))
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len() as u32) as usize]
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        let length = self.below(most) as usize;
        std::iter::repeat_with(|| self.next() as u8).take(length).collect()
    }

    fn name(&mut self) -> String {
        format!("{} {}", self.pick(&GIVEN), self.pick(&FAMILY))
    }
}

/// A connection that checks foreign keys, so that a mistake here is found here.
pub fn open(path: &Path) -> Result<Connection> {
    let sqlite = Connection::open(path).map_err(failed)?;
    sqlite.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
    sqlite.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(sqlite)
}

/// Makes the shop, with about this many rows.
pub fn make_shop(path: &Path, rows: u32, cancel: &CancelToken) -> Result<()> {
    let mut sqlite = open(path)?;
    let transaction = sqlite.transaction().map_err(failed)?;
    transaction.execute_batch(STRUCTURE).and_then(|()| fill(&transaction, rows, cancel)).map_err(failed)?;
    cancel.check("making the shop")?;
    transaction.commit().map_err(failed)
}

/// Fills the shop; if it is cancelled, with less.
fn fill(sqlite: &Connection, rows: u32, cancel: &CancelToken) -> rusqlite::Result<()> {
    let numbers = &mut Numbers(20_250_101);
    let customers = (rows / 12).max(20);
    let (products, orders, employees) = ((rows / 40).max(10), (rows / 6).max(10), (rows / 300).max(12));
    let mut insert = sqlite.prepare("INSERT INTO countries VALUES (?1, ?2, ?3)")?;
    COUNTRIES.iter().try_for_each(|country| insert.execute(*country).map(drop))?;

    let joined = "datetime(1600000000 + ?7, 'unixepoch')";
    let mut insert = sqlite.prepare(&format!(
        "INSERT INTO customers (email, name, country, referred_by, credit, photo, newsletter, joined_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7 % 2, {joined})"
    ))?;
    for id in 1..=customers {
        if cancel.is_cancelled() {
            return Ok(());
        }
        insert.execute(params![
            format!("kunde{id}@shop.example"),
            numbers.name(),
            numbers.pick(&COUNTRIES).0,
            numbers.sometimes(3, |n| n.id(customers)).filter(|other| *other < i64::from(id)),
            numbers.sometimes(2, |n| f64::from(n.below(100_000)) / 7.0),
            numbers.sometimes(4, |n| n.bytes(300)),
            id * 977,
        ])?;
    }
    // Some references point forward, to rows that come later.
    sqlite.execute("UPDATE customers SET referred_by = id + 1 WHERE id % 17 = 0 AND id < ?1", [customers])?;

    let mut insert = sqlite.prepare("INSERT INTO categories VALUES (?1, ?2, ?3)")?;
    for id in 1..=30_u32 {
        insert.execute(params![id, (id > 5).then_some(id / 5), format!("Category {id} · {}", numbers.pick(&FAMILY))])?;
    }
    let mut insert = sqlite.prepare(
        "INSERT INTO products (id, sku, name, category_id, cents, weight, thumbnail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for id in 1..=products {
        let name = format!("{} № {id}", numbers.pick(&GIVEN));
        let (cents, weight) = (numbers.below(50_000), numbers.sometimes(2, |n| f64::from(n.below(9_000)) / 1000.0));
        let thumbnail = numbers.sometimes(2, |n| n.bytes(600));
        insert.execute(params![id, format!("SKU-{id:06}"), name, numbers.id(30), cents, weight, thumbnail])?;
    }

    let mut insert = sqlite.prepare("INSERT INTO departments (id, name) VALUES (?1, ?2)")?;
    for (name, id) in DEPARTMENTS.iter().zip(1..) {
        insert.execute(params![id, name])?;
    }
    let mut insert = sqlite.prepare("INSERT INTO employees VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for id in 1..=employees {
        let manager = (id > 6).then(|| numbers.id(6));
        insert.execute(params![id, format!("B{id:05}"), numbers.name(), (id - 1) % 6 + 1, manager])?;
    }
    // The first six lead the six departments: now the two tables refer to each other.
    sqlite.execute("UPDATE departments SET head_id = id", [])?;

    let mut insert = sqlite.prepare(
        "INSERT INTO orders (id, customer_id, sold_by, placed_at, status, note)
         VALUES (?1, ?2, ?3, datetime(1700000000 + ?1 * 61, 'unixepoch'), ?4, ?5)",
    )?;
    let mut line = sqlite.prepare("INSERT INTO order_lines VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for id in 1..=orders {
        if cancel.is_cancelled() {
            break;
        }
        let status = *numbers.pick(&["open", "paid", "shipped"]);
        let note = numbers.sometimes(5, |n| format!("für {}\n2025-02-30", n.name()));
        let seller = numbers.sometimes(2, |n| n.id(employees));
        insert.execute(params![id, numbers.id(customers), seller, status, note])?;
        for number in 1..=1 + numbers.below(4) {
            line.execute(params![id, number, numbers.id(products), numbers.id(9), numbers.below(50_000)])?;
        }
    }

    let mut insert = sqlite.prepare("INSERT INTO stock VALUES (?1, ?2, ?3, date(1700000000 + ?2 * 86400, 'unixepoch'))")?;
    for id in 1..=products {
        WAREHOUSES.iter().try_for_each(|warehouse| insert.execute(params![warehouse, id, numbers.below(500)]).map(drop))?;
    }
    let mut insert = sqlite.prepare("INSERT INTO page_views VALUES (?1, ?2, datetime(1710000000 + ?3, 'unixepoch'), ?4)")?;
    for second in 0..(rows / 5).max(50) {
        if cancel.is_cancelled() {
            break;
        }
        let customer = numbers.sometimes(2, |n| n.id(customers));
        let view = params![numbers.pick(&PATHS), customer, second, f64::from(numbers.below(4_000)) / 3.0];
        insert.execute(view)?;
        if second % 10 == 0 {
            // The very same row once more: without a key, only their number tells.
            insert.execute(view)?;
        }
    }
    let mut insert = sqlite.prepare(r#"INSERT INTO "order by ""group"" -- it's" VALUES (?1, ?2, ?3, ?4)"#)?;
    for id in 1..=(rows / 40).max(10) {
        let text = numbers.sometimes(2, |n| format!("'; DROP TABLE customers; -- {}", n.below(9)));
        insert.execute(params![id, text, numbers.id(customers), f64::from(id) / 3.0])?;
    }
    Ok(())
}

/// What happens in the shop between two pulls.
pub fn change_shop(path: &Path) -> Result<()> {
    change(path, SHOP_CHANGES)
}

/// What somebody does to the backup meanwhile.
pub fn change_backup(path: &Path) -> Result<()> {
    change(path, BACKUP_CHANGES)
}

fn change(path: &Path, sql: &str) -> Result<()> {
    let mut sqlite = open(path)?;
    let transaction = sqlite.transaction().map_err(failed)?;
    transaction.execute_batch(sql).map_err(failed)?;
    transaction.commit().map_err(failed)
}

const SHOP_CHANGES: &str = r#"
-- Changed rows, some of them with nulls where there was something.
UPDATE customers SET name = name || ' ✎', credit = NULL, photo = NULL WHERE id % 20 IN (3, 11);
UPDATE customers SET newsletter = 1 - newsletter WHERE id % 20 = 9;
UPDATE products SET cents = cents + 100, weight = NULL WHERE id % 10 = 1;
UPDATE orders SET status = 'shipped', note = NULL WHERE id % 25 IN (1, 2);
UPDATE order_lines SET quantity = quantity + 1 WHERE order_id % 30 = 4;
UPDATE stock SET quantity = quantity + 1000, counted_on = NULL WHERE product_id % 7 = 3;
UPDATE "order by ""group"" -- it's" SET "from ""where""" = 'SELECT', "Größe [м²]" = NULL WHERE "select" % 6 = 1;
-- Two departments swap their heads.
UPDATE departments SET head_id = 3 - id WHERE id IN (1, 2);
-- New rows, with references among them.
INSERT INTO countries VALUES ('NZ', 'Aotearoa', '🇳🇿');
INSERT INTO customers (email, name, country, referred_by, joined_at)
    SELECT 'neu' || id || '@shop.example', 'Neu ' || name, 'NZ', id, '2025-03-01 08:00:00' FROM customers WHERE id % 25 = 0 OR id = 1;
UPDATE customers SET referred_by = (SELECT max(id) FROM customers) WHERE email = 'neu1@shop.example';
INSERT INTO departments (name) VALUES ('Research ∞');
INSERT INTO employees (badge, name, department_id, manager_id)
    SELECT 'R' || e.id, 'Research ' || e.name, d.id, e.id FROM employees e, departments d WHERE e.id <= 3 AND d.name = 'Research ∞';
UPDATE departments SET head_id = (SELECT id FROM employees WHERE badge = 'R2') WHERE name = 'Research ∞';
INSERT INTO categories (parent_id, name) VALUES (2, 'Nouveautés');
INSERT INTO products (sku, name, category_id, cents, thumbnail)
    SELECT 'NEW-' || id, name || ' II', (SELECT id FROM categories WHERE name = 'Nouveautés'), cents * 2, x'00ff'
    FROM products WHERE id % 20 = 0 OR id = 1;
INSERT INTO stock SELECT 'Zürich', id, 5, '2025-03-02' FROM products WHERE sku LIKE 'NEW-%';
INSERT INTO orders (customer_id, sold_by, placed_at, note)
    SELECT id, (SELECT id FROM employees WHERE badge = 'R1'), '2025-03-03 0' || id % 10 || ':00:00', 'first order of ' || email
    FROM customers WHERE email LIKE 'neu%';
INSERT INTO order_lines
    SELECT id, 1, (SELECT max(id) FROM products), 2, 999 FROM orders WHERE note LIKE 'first order of %';
INSERT INTO page_views SELECT * FROM page_views WHERE rowid % 40 = 0;
INSERT INTO page_views VALUES ('/neu', NULL, '2025-03-04 00:00:00', 1.5), ('/neu', NULL, '2025-03-04 00:00:00', 1.5);
INSERT INTO "order by ""group"" -- it's" ("from ""where""", "it's") SELECT 'ORDER BY ' || id, id FROM customers WHERE id % 50 = 1;
-- Gone rows: a pull leaves what was pulled before where it is.
DELETE FROM order_lines WHERE order_id % 97 = 5;
DELETE FROM orders WHERE id % 97 = 5;
DELETE FROM page_views WHERE rowid % 101 = 7;
"#;

const BACKUP_CHANGES: &str = r#"
UPDATE customers SET name = 'seen here: ' || name WHERE id % 20 IN (3, 12);
UPDATE customers SET credit = NULL, photo = NULL, country = NULL WHERE id % 20 = 14;
UPDATE products SET cents = 1, price = '0.01 EUR', weight = 7.5 WHERE id % 10 IN (1, 2);
UPDATE orders SET note = 'checked here' WHERE id % 25 IN (2, 3);
UPDATE stock SET quantity = 0 WHERE product_id % 7 IN (3, 4);
UPDATE categories SET parent_id = NULL WHERE id % 9 = 0;
UPDATE "order by ""group"" -- it's" SET "it's" = NULL WHERE "select" % 6 IN (1, 2);
-- Rows of its own, some under the keys that the shop gives to new rows.
INSERT INTO countries VALUES ('IS', 'Ísland', '🇮🇸');
INSERT INTO customers (email, name, country, joined_at)
    SELECT 'local' || id || '@here.example', 'Local ' || id, 'IS', '2025-02-01 00:00:00' FROM customers WHERE id <= 3;
INSERT INTO products (sku, name, category_id, cents, price) VALUES ('HERE-1', 'Made here', 1, 5, '0.05 EUR');
INSERT INTO orders (customer_id, placed_at, note) SELECT max(id), '2025-02-02 00:00:00', 'ordered here' FROM customers;
INSERT INTO order_lines SELECT id, 1, 1, 1, 1 FROM orders WHERE note = 'ordered here';
INSERT INTO page_views VALUES ('/here', NULL, NULL, NULL), ('/here', NULL, NULL, NULL);
-- Gone rows: a pull brings them back.
DELETE FROM order_lines WHERE order_id % 90 = 7;
DELETE FROM orders WHERE id % 90 = 7;
DELETE FROM stock WHERE product_id % 15 = 2;
DELETE FROM page_views WHERE rowid % 50 = 3;
"#;
