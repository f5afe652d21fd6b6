//! Virtual tables, and which tables lie behind them. Of a module that is registered SQLite knows that itself. Of another one it
//! knows nothing: its tables look like ordinary ones, and who writes to them damages what they hold.

use std::collections::HashSet;

use rusqlite::Connection;

/// A virtual table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Virtual {
    /// Its name as it was made.
    pub(super) name: String,
    /// The module that it is of, where its statement says one.
    pub(super) module: String,
    /// Whether the module is registered here.
    pub(super) is_known: bool,
}

impl Virtual {
    /// Whether a table of this name may lie behind it although SQLite does not say so.
    pub(super) fn may_own(&self, table: &str) -> bool {
        let own = self.name.len();
        !self.is_known
            && table.as_bytes().get(own) == Some(&b'_')
            && table.as_bytes().get(..own).is_some_and(|start| start.eq_ignore_ascii_case(self.name.as_bytes()))
    }
}

/// The virtual tables of these names and statements.
pub(super) fn all(sqlite: &Connection, found: Vec<(String, Vec<u8>)>) -> rusqlite::Result<Vec<Virtual>> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = sqlite.prepare_cached("SELECT lower(name) FROM temp.pragma_module_list")?;
    let modules = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<HashSet<String>>>()?;
    let known = |(name, sql): (String, Vec<u8>)| {
        let module = module_of(&sql).unwrap_or_default();
        let is_known = modules.contains(&module.to_ascii_lowercase());
        Virtual { name, module, is_known }
    };
    Ok(found.into_iter().map(known).collect())
}

/// Whether a module of this name is registered: as a rule it can be read from by its name alone, as `json_each` can.
pub(super) fn is_module(sqlite: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM temp.pragma_module_list WHERE name = ?1 COLLATE NOCASE)";
    sqlite.prepare_cached(sql)?.query_row([name], |row| row.get(0))
}

/// The module that a `CREATE VIRTUAL TABLE` names; `None` where the text makes no sense.
fn module_of(sql: &[u8]) -> Option<String> {
    let mut words = Words(sql).peekable();
    for expected in ["CREATE", "VIRTUAL", "TABLE"] {
        words.next().filter(|word| word.is(expected))?;
    }
    let mut name = words.next()?;
    if name.is("IF") && words.peek().is_some_and(|word| word.is("NOT")) {
        words.next();
        words.next();
        name = words.next()?;
    }
    name.text()?;
    let mut word = words.next()?;
    if word.bytes == b"." {
        words.next()?.text()?;
        word = words.next()?;
    }
    if !word.is("USING") {
        return None;
    }
    words.next()?.text()
}

/// A word, a quoted name or a sign of a statement.
struct Word<'s> {
    bytes: &'s [u8],
    /// The quote that ends it, if it is quoted.
    quote: Option<u8>,
}

impl Word<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.quote.is_none() && self.bytes.eq_ignore_ascii_case(keyword.as_bytes())
    }

    /// What it names.
    fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes);
        match self.quote {
            Some(b']') => Some(text.into_owned()),
            Some(quote) => {
                let quote = char::from(quote);
                Some(text.replace(&format!("{quote}{quote}"), &quote.to_string()))
            }
            None => self.bytes.first().is_some_and(|byte| is_of_word(*byte)).then(|| text.into_owned()),
        }
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The words of a statement, without blanks and comments.
struct Words<'s>(&'s [u8]);

impl<'s> Words<'s> {
    /// Takes so many bytes away from the front.
    fn take(&mut self, bytes: usize) -> &'s [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn take_through(&mut self, end: &[u8]) {
        let at = self.0.windows(end.len()).position(|window| window == end);
        self.take(at.map_or(self.0.len(), |at| at + end.len()));
    }

    fn quoted(&mut self, end: u8) -> Word<'s> {
        self.take(1);
        let text = self.0;
        let mut length = 0;
        while let Some(byte) = text.get(length) {
            if *byte != end {
                length += 1;
            } else if end != b']' && text.get(length + 1) == Some(&end) {
                length += 2;
            } else {
                break;
            }
        }
        let bytes = self.take(length);
        self.take(1);
        Word { bytes, quote: Some(end) }
    }
}

impl<'s> Iterator for Words<'s> {
    type Item = Word<'s>;

    fn next(&mut self) -> Option<Word<'s>> {
        loop {
            let first = *self.0.first()?;
            if first.is_ascii_whitespace() {
                self.take(1);
            } else if self.0.starts_with(b"--") {
                self.take_through(b"\n");
            } else if self.0.starts_with(b"/*") {
                self.take(2);
                self.take_through(b"*/");
            } else {
                return Some(match first {
                    b'"' | b'`' | b'\'' => self.quoted(first),
                    b'[' => self.quoted(b']'),
                    _ => {
                        let word = self.0.iter().take_while(|byte| is_of_word(**byte)).count();
                        Word { bytes: self.take(word.max(1)), quote: None }
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_module_is_found_however_it_is_written() {
        for sql in [
            "CREATE VIRTUAL TABLE t USING vec0(a)",
            "create virtual table if not exists main.t using vec0",
            "CREATE VIRTUAL TABLE \"using\"\"x\"USING/* using y */vec0(",
            "CREATE VIRTUAL TABLE [a b] -- using y\n USING \"vec0\"(x)",
            "CREATE VIRTUAL TABLE if USING `vec0`",
            "CREATE VIRTUAL TABLE 'it''s'.using USING [vec0]",
        ] {
            assert_eq!(module_of(sql.as_bytes()).as_deref(), Some("vec0"), "{sql}");
        }
        for sql in [
            "",
            "CREATE TABLE t(using vec0)",
            "CREATE VIRTUAL TABLE t",
            "CREATE VIRTUAL TABLE t USING",
            "CREATE VIRTUAL TABLE USING (x)",
        ] {
            assert_eq!(module_of(sql.as_bytes()), None, "{sql}");
        }
    }

    #[test]
    fn what_may_lie_behind_a_virtual_table_begins_with_its_name() {
        let docs = Virtual { name: "Döcs".into(), module: "vec0".into(), is_known: false };
        let own = ["döcs", "döcs_", "DöCS_chunks", "döcsx", "döc", "", "dÖcs_x"].map(|name| docs.may_own(name));
        assert_eq!(own, [false, true, true, false, false, false, false]);
        assert!(!Virtual { is_known: true, ..docs }.may_own("Döcs_chunks"));
    }

    proptest! {
        #[test]
        fn no_statement_is_too_strange(sql in proptest::collection::vec(any::<u8>(), 0..60)) {
            module_of(&sql);
            module_of(&[b"CREATE VIRTUAL TABLE ", &sql[..]].concat());
        }

        /// SQLite keeps the text of the statement, and says itself which module it looked for.
        #[test]
        fn the_module_is_the_one_that_sqlite_looks_for(
            name in "[a-z\"'\\[\\]` .é]{1,6}", module in "[a-z\"' .é]{1,6}", gap in "( |/\\*x\\*/|\n|--y\n){1,3}", quote in 0..3usize,
        ) {
            let quoted = |text: &str| match quote {
                0 => format!("\"{}\"", text.replace('"', "\"\"")),
                1 => format!("`{}`", text.replace('`', "``")),
                _ => format!("'{}'", text.replace('\'', "''")),
            };
            let sql = format!("CREATE VIRTUAL TABLE{gap}{}{gap}USING{gap}{}(a)", quoted(&name), quoted(&module));
            let error = Connection::open_in_memory().unwrap().execute_batch(&sql).unwrap_err().to_string();
            prop_assert_eq!(format!("no such module: {}", module_of(sql.as_bytes()).unwrap()), error);
        }
    }
}
