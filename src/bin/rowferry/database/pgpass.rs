//! The password of a PostgreSQL database where the URL has none: `PGPASSWORD`, else the file that `PGPASSFILE` names, else
//! `~/.pgpass`, as psql has it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rowferry::{Error, ErrorKind, PostgresOptions};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output::complain;

/// Most bytes of a password file that are read.
const LONGEST: u64 = 1 << 20;

/// The options with the password that the environment has for them, unless they have one.
pub fn with_password(options: PostgresOptions) -> Result<PostgresOptions, Failure> {
    if options.has_password() {
        return Ok(options);
    }
    if let Some(password) = variable("PGPASSWORD").map(|text| text.into_string().map(Zeroizing::new)) {
        let password = password.map_err(|_| Error::new(ErrorKind::InvalidInput, "PGPASSWORD is not UTF-8"))?;
        return Ok(options.password(&password));
    }
    let file = match (variable("PGPASSFILE"), variable("HOME")) {
        (Some(named), _) => PathBuf::from(named),
        (None, Some(home)) => Path::new(&home).join(".pgpass"),
        (None, None) => return Ok(options),
    };
    let Some(text) = read(&file)? else { return Ok(options) };
    let (host, port, database) = options.place();
    let user = options.user().unwrap_or_default().to_owned();
    // psql calls only the folder that it was built with localhost. Which one that is nobody knows here.
    let folder = options.socket().map(|folder| folder.display().to_string());
    let hosts: Vec<&str> = folder.as_deref().into_iter().chain([host.as_str()]).collect();
    let found = find(&text, &hosts, [&port.to_string(), &database, &user]);
    Ok(match found {
        Some(password) => options.password(&password),
        None => options,
    })
}

/// A variable of the environment that is not empty.
#[expect(clippy::disallowed_methods, reason = "the command reads what psql reads; the library reads none")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The text of a password file. One that others may read is not used, as psql does not: that is said.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    let Ok(about) = fs::metadata(path) else { return Ok(None) };
    if !about.is_file() {
        complain(format!("warning: the password file {} is no file, and not used", path.display()));
        return Ok(None);
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&about) & 0o077 != 0 {
        let path = path.display();
        complain(format!("warning: the password file {path} is not used: others may read it. chmod 600 {path}"));
        return Ok(None);
    }
    if about.len() > LONGEST {
        let message = format!("the password file {} has more than {LONGEST} bytes", path.display());
        return Err(Error::new(ErrorKind::TooLarge, message).with_hint("Check the path.").into());
    }
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the password file {}: {error}", path.display());
        Error::new(ErrorKind::File, message).with_hint("Check the file.").with_source(error)
    })?;
    Ok(Some(Zeroizing::new(text)))
}

/// The password of the first line that fits: `host:port:database:user:password`, `*` for any, and `\` before a `:` or `\` of a field.
/// The host may be any of these.
fn find(text: &str, hosts: &[&str], [port, database, user]: [&str; 3]) -> Option<Zeroizing<String>> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [host_field, port_field, database_field, user_field, password] = &fields[..] else { return None };
        let fits = |field: &Field, wanted: &str| field.is_any || field.text.as_str() == wanted;
        let is_place = hosts.iter().any(|host| fits(host_field, host)) && fits(port_field, port);
        (is_place && fits(database_field, database) && fits(user_field, user)).then(|| password.text.clone())
    })
}

/// A field of a line.
#[derive(Default)]
struct Field {
    text: Zeroizing<String>,
    /// Whether it is `*`, which no `\` stands before.
    is_any: bool,
}

/// The five fields of a line; what follows the fourth `:` is the password, but for its marks.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let is_marked = char == '\\';
        let char = match char {
            ':' if fields.len() == 5 => break,
            ':' => {
                fields.push(Field::default());
                continue;
            }
            '\\' => match chars.next() {
                Some(next) => next,
                None => break,
            },
            char => char,
        };
        if let Some(field) = fields.last_mut() {
            field.is_any = field.text.is_empty() && char == '*' && !is_marked;
            field.text.push(char);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# a comment\nother:*:*:*:no\nlocalhost:5432:shop:ann:first\n*:*:*:ann:s\\:e\\\\c\n*:5433:*:*:port:rest\nshort:line\n";
        let password =
            |host, port, database, user| find(text, &[host], [port, database, user]).map(|found| found.to_string());
        assert_eq!(password("localhost", "5432", "shop", "ann").as_deref(), Some("first"));
        assert_eq!(password("localhost", "5432", "old", "ann").as_deref(), Some("s:e\\c"));
        assert_eq!(password("h", "5433", "old", "bob").as_deref(), Some("port"));
        assert_eq!(password("h", "5432", "old", "bob"), None);
    }

    #[test]
    fn an_asterisk_that_is_marked_is_one() {
        let found = |text: &str, user| find(text, &["h"], ["1", "d", user]).map(|found| found.to_string());
        assert_eq!(found("h:1:d:\\*:p", "ann"), None);
        assert_eq!(found("h:1:d:\\*:p", "*").as_deref(), Some("p"));
        assert_eq!(found("h:1:d:**:p", "ann"), None);
        assert_eq!(found("*:*:*:*:*", "ann").as_deref(), Some("*"));
    }

    #[test]
    fn a_socket_is_its_folder_or_localhost() {
        let found = |host: &str| find(&format!("{host}:1:d:u:p"), &["/run/pg", "localhost"], ["1", "d", "u"]).is_some();
        assert!(found("/run/pg") && found("localhost") && found("*") && !found("/run"));
    }
}
