//! What could go wrong with a site on a PostgreSQL database, look by look: see [`Examination`](super::Examination).

use super::catalogue;
use super::connection::Connection;
use super::faults::failed;
use super::{beside, page, relations};
use crate::clock::{Clock, SystemClock};
use crate::domain::finding::Finding;
use crate::error::Result;

/// How many findings of one kind are told one by one.
const MOST: usize = 20;

/// How far the server's clock may be from the program's, in seconds.
const APART: f64 = 60.0;

/// The cells of the first row of an answer as texts.
fn texts<const N: usize>(connection: &mut Connection, sql: &str) -> Result<[String; N]> {
    let rows = connection.rows(sql, &[])?;
    let mut texts = std::array::from_fn(|_| String::new());
    if let Some(row) = rows.first() {
        for (at, text) in texts.iter_mut().enumerate() {
            *text = row.try_get::<_, Option<String>>(at).map_err(failed)?.unwrap_or_default();
        }
    }
    Ok(texts)
}

/// Whether a transaction that was committed survives a power failure, and whether the data do.
pub(super) fn durability(connection: &mut Connection) -> Result<Vec<Finding>> {
    const CODE: &str = "durability";
    const NAMES: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];
    let settings: [String; 3] = texts(
        connection,
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')",
    )?;
    let off = |at: usize| settings[at] == "off";
    let what = format!(
        "{} off: a power failure ",
        NAMES.into_iter().enumerate().filter(|(at, _)| off(*at)).map(|(_, name)| name).collect::<Vec<_>>().join(" and ")
    );
    Ok(vec![if off(0) || off(1) {
        Finding::problem(
            CODE,
            format!("{what}may damage the database"),
            "Switch it on in postgresql.conf, unless the data may be lost.",
        )
    } else if off(2) {
        let hint = "Switch it on for this role or database, unless that is wanted.";
        Finding::warning(CODE, format!("{what}loses what was committed last"), hint)
    } else {
        Finding::ok(CODE, "what is committed survives a power failure")
    }])
}

/// Which tables are not offered to others, or not as a whole.
pub(super) fn tables(connection: &mut Connection, is_hidden: &dyn Fn(&str) -> bool) -> Result<Vec<Finding>> {
    const CODE: &str = "tables";
    let mut found = Vec::new();
    let mut all = catalogue::read_all(connection)?;
    let hidden: Vec<String> = all.iter().map(|table| table.schema.name.clone()).filter(|name| is_hidden(name)).collect();
    all.retain(|table| !is_hidden(&table.schema.name));
    if !hidden.is_empty() {
        found.push(Finding::ok(CODE, format!("hidden by the program: {}", hidden.join(", "))));
    }
    let beside = beside::not_copied(connection)?;
    let without_columns = relations::without_columns(connection)?;
    let (bare, unreadable): (Vec<String>, Vec<String>) =
        beside.not_readable.iter().cloned().partition(|name| without_columns.contains(name));
    if !bare.is_empty() {
        found.push(Finding::ok(CODE, format!("tables without columns, which are not offered: {}", some(&bare))));
    }
    if !unreadable.is_empty() {
        let what = format!("tables that the role cannot read, which are not offered: {}", some(&unreadable));
        found.push(Finding::warning(CODE, what, "GRANT SELECT on them, if they are to be offered."));
    }
    let secured = all.iter().filter_map(|table| page::check_readable(table).err().map(|_| table.schema.name.clone()));
    let secured: Vec<String> = secured.collect();
    if !secured.is_empty() {
        let what =
            format!("tables of which row level security hides rows from the role, which cannot be read: {}", some(&secured));
        found.push(Finding::problem(CODE, what, "Use a role with BYPASSRLS, or hide these tables from others."));
    }
    let keyless = all.iter().filter(|table| table.order.is_empty()).map(|table| table.schema.name.clone());
    let keyless: Vec<String> = keyless.collect();
    if !keyless.is_empty() {
        let what = format!("tables without a key, whose rows are compared as a whole: {}", some(&keyless));
        found.push(Finding::warning(
            CODE,
            what,
            "Give them primary keys: pulls of them are slow, and take nothing up in their middle.",
        ));
    }
    if !beside.is_empty() {
        found.push(Finding::ok(CODE, format!("not copied by a pull: {beside}")));
    }
    if found.is_empty() {
        found.push(Finding::ok(CODE, format!("all tables are offered: {}", all.len())));
    }
    Ok(found)
}

/// Foreign keys that rows may break, because they were added NOT VALID.
pub(super) fn foreign_keys(connection: &mut Connection) -> Result<Vec<Finding>> {
    const CODE: &str = "foreign_keys";
    let mut found = Vec::new();
    for table in catalogue::read_all(connection)? {
        for key in table.references.iter().filter(|key| !key.is_valid) {
            let what = format!("{:?}: rows may break the foreign key {:?}, which is NOT VALID", table.schema.name, key.name);
            found.push(Finding::problem(CODE, what, "Mend the rows, and ALTER TABLE .. VALIDATE CONSTRAINT."));
        }
    }
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(Finding::problem(CODE, format!("{more} more such foreign keys"), "Mend them, too."));
    }
    if found.is_empty() {
        found.push(Finding::ok(CODE, "all foreign keys hold"));
    }
    Ok(found)
}

/// Whether the server's clock and the program's agree: defaults of columns take the one, rowferry's state the other.
pub(super) fn clock(connection: &mut Connection) -> Result<Vec<Finding>> {
    const CODE: &str = "clock";
    let [server] = texts(connection, "SELECT extract(epoch FROM clock_timestamp())::text")?;
    let here = SystemClock.now().unix_timestamp() as f64;
    let apart = server.parse::<f64>().map_or(0.0, |server| server - here);
    if apart.abs() <= APART {
        return Ok(vec![Finding::ok(CODE, "the server's clock and this one agree")]);
    }
    let way = if apart > 0.0 { "ahead of" } else { "behind" };
    let what = format!("the server's clock is {:.0} s {way} this one", apart.abs());
    Ok(vec![Finding::warning(CODE, what, "Set the clocks of both machines.")])
}

/// Whether others on the way to the server can read along.
pub(super) fn tls(connection: &mut Connection, is_local: bool) -> Result<Finding> {
    const CODE: &str = "tls";
    // What the server says of its end, where something may stand between.
    let [version] = texts(connection, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")?;
    Ok(match (version.as_str(), is_local) {
        ("", true) => Finding::ok(CODE, "the connection stays on this machine, and has no TLS"),
        ("", false) => Finding::warning(
            CODE,
            "the connection has no TLS: others on the way can read and change what is sent",
            "Leave sslmode out of the URL, unless the way is encrypted otherwise.",
        ),
        (version, _) => Finding::ok(CODE, format!("the connection has {version}")),
    })
}

/// Whether something between hands the server's sessions out transaction by transaction: two connections that are open at once have one
/// session then. `other` is the second one.
pub(super) fn pooler(connection: &mut Connection, other: &mut Connection) -> Result<Finding> {
    const CODE: &str = "pooler";
    let session = "SELECT pg_backend_pid()::text";
    let ([one], [another]) = (texts(connection, session)?, texts(other, session)?);
    Ok(if one == another {
        let what = "a pooler hands out the server's sessions for one transaction each: settings, temporary tables and prepared statements \
                    are lost";
        Finding::problem(CODE, what, "Connect to the server itself, or set the pooler to pool_mode = session.")
    } else {
        Finding::ok(CODE, "each connection has a session of its own")
    })
}

fn some(names: &[String]) -> String {
    match names.get(..MOST) {
        Some(first) if names.len() > MOST => format!("{}, and {} more", first.join(", "), names.len() - MOST),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::FindingLevel;
    use crate::store::postgres::testing::test;

    fn told(found: Vec<Finding>) -> Vec<(FindingLevel, String)> {
        found.into_iter().map(|finding| (finding.level, finding.message)).collect()
    }

    #[test]
    fn what_is_wrong_with_tables_is_told() {
        let mut connection = test(
            "CREATE TABLE p(id int PRIMARY KEY); CREATE TABLE log(x int, p int); CREATE TABLE bare(); CREATE TABLE secret(x int);
             ALTER TABLE log ADD CONSTRAINT later FOREIGN KEY (p) REFERENCES p NOT VALID; CREATE VIEW v AS SELECT 1",
        );
        let found = told(tables(&mut connection, &|name| name == "secret").unwrap());
        assert!(!found.iter().any(|(_, text)| text.contains("cannot read")), "{found:?}");
        let has = |level, part: &str| found.iter().any(|(found, text)| *found == level && text.contains(part));
        assert!(has(FindingLevel::Ok, "hidden by the program: secret"), "{found:?}");
        assert!(
            has(FindingLevel::Ok, "without columns, which are not offered: bare")
                && has(FindingLevel::Warning, "as a whole: log"),
            "{found:?}"
        );
        assert!(has(FindingLevel::Ok, "1 view"), "{found:?}");
        let found = told(foreign_keys(&mut connection).unwrap());
        assert!(matches!(&found[..], [(FindingLevel::Problem, text)] if text.contains("\"later\"")), "{found:?}");
    }

    #[test]
    fn the_server_is_looked_at() {
        let mut connection = test("");
        // The tests' own server is as fast as can be.
        assert_eq!(durability(&mut connection).unwrap()[0].level, FindingLevel::Problem);
        assert_eq!(clock(&mut connection).unwrap()[0].level, FindingLevel::Ok);
        assert_eq!(pooler(&mut connection, &mut test("")).unwrap().level, FindingLevel::Ok);
        assert_eq!(tls(&mut connection, true).unwrap().level, FindingLevel::Ok);
        assert_eq!(tls(&mut connection, false).unwrap().level, FindingLevel::Warning);
        assert_eq!(foreign_keys(&mut connection).unwrap()[0].level, FindingLevel::Ok);
    }
}
