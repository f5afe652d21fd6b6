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
    let found = find(&text, [&host, &port.to_string(), &database, &user]);
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
fn find(text: &str, wanted: [&str; 4]) -> Option<Zeroizing<String>> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (password, place) = fields.split_last()?;
        let fits = |(field, wanted): (&Zeroizing<String>, &str)| {
            // An asterisk that is escaped is none; `fields` leaves that mark alone.
            field.as_str() == "*" || field.as_str() == wanted
        };
        (place.len() == 4 && place.iter().zip(wanted).all(fits)).then(|| password.clone())
    })
}

/// The five fields of a line; what follows the fourth `:` is the password, but for its marks.
fn fields(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::new(String::new())];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let char = match char {
            ':' if fields.len() == 5 => break,
            ':' => {
                fields.push(Zeroizing::new(String::new()));
                continue;
            }
            '\\' => match chars.next() {
                Some(next) => next,
                None => break,
            },
            char => char,
        };
        if let Some(field) = fields.last_mut() {
            field.push(char);
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
        let password = |host, port, database, user| find(text, [host, port, database, user]).map(|found| found.to_string());
        assert_eq!(password("localhost", "5432", "shop", "ann").as_deref(), Some("first"));
        assert_eq!(password("localhost", "5432", "old", "ann").as_deref(), Some("s:e\\c"));
        assert_eq!(password("h", "5433", "old", "bob").as_deref(), Some("port"));
        assert_eq!(password("h", "5432", "old", "bob"), None);
    }
}
