//! What no pragma tells of a table, read from the statement that SQLite keeps of it: CHECK constraints, ON CONFLICT clauses and
//! deferred foreign keys.
//!
//! SQLite has accepted these texts, so that only its grammar of `CREATE TABLE` needs to be followed as far as it tells constraints
//! apart (<https://www.sqlite.org/lang_createtable.html>, and `parse.y`). Expressions are skipped by their parentheses. A text that
//! does not follow it (it can be written with `PRAGMA writable_schema`) is not made sense of, and [`read`] says so.

use super::tokens::{Token, tokens};
use crate::domain::schema::OnConflict;

/// What the text of a table says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CreateText {
    /// The columns in their order, generated ones included.
    pub(super) columns: Vec<ColumnText>,
    /// How many CHECK constraints there are, of columns and of the table.
    pub(super) checks: usize,
    /// The PRIMARY KEY and UNIQUE constraints in their order, those of columns included.
    pub(super) keys: Vec<KeyText>,
    /// The foreign keys in their order, those of columns included.
    pub(super) foreign_keys: Vec<ForeignKeyText>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ColumnText {
    pub(super) name: String,
    /// What its NOT NULL does with a row that breaks it.
    pub(super) not_null: OnConflict,
}

/// A PRIMARY KEY or UNIQUE constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyText {
    pub(super) is_primary: bool,
    pub(super) parts: Vec<KeyPart>,
    pub(super) on_conflict: OnConflict,
    pub(super) autoincrement: bool,
}

/// A column of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPart {
    pub(super) column: String,
    /// The collation that the key names; `None` for the column's own.
    pub(super) collation: Option<String>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKeyText {
    pub(super) columns: Vec<String>,
    pub(super) parent: String,
    /// Whether it is DEFERRABLE INITIALLY DEFERRED: SQLite treats every other one as checked at once.
    pub(super) deferred: bool,
}

/// Reads the text that SQLite keeps of a table; `None` where that makes no sense.
pub(super) fn read(text: &str) -> Option<CreateText> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0, found: CreateText::default() };
    reader.table()?;
    Some(reader.found)
}

struct Reader<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
    found: CreateText,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// Takes the next token if it is this sign.
    fn sign(&mut self, sign: char) -> bool {
        let is_it = self.peek() == Some(Token::Sign(sign));
        self.at += usize::from(is_it);
        is_it
    }

    /// Takes the next tokens if they are these keywords.
    fn words(&mut self, keywords: &[&str]) -> bool {
        let next = self.tokens[self.at..].iter().take(keywords.len());
        let are_they = next.clone().count() == keywords.len() && next.zip(keywords).all(|(token, word)| token.is(word));
        self.at += if are_they { keywords.len() } else { 0 };
        are_they
    }

    fn name(&mut self) -> Option<String> {
        self.next()?.name()
    }

    /// Skips what stands in parentheses, which must come next.
    fn skip_parentheses(&mut self) -> Option<()> {
        self.sign('(').then_some(())?;
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    fn table(&mut self) -> Option<()> {
        // SQLite leaves out what else may stand before the name.
        self.words(&["CREATE", "TABLE"]).then_some(())?;
        self.name()?;
        self.sign('(').then_some(())?;
        while !self.is_table_constraint() {
            self.column()?;
            if !self.sign(',') {
                break;
            }
        }
        while self.peek() != Some(Token::Sign(')')) {
            self.table_constraint()?;
            // SQLite does not insist on commas between them.
            self.sign(',');
        }
        self.next()?;
        loop {
            if !(self.words(&["WITHOUT", "ROWID"]) || self.words(&["STRICT"])) {
                break;
            }
            self.sign(',');
        }
        (self.peek().is_none() && !self.found.columns.is_empty()).then_some(())
    }

    fn is_table_constraint(&self) -> bool {
        self.peek()
            .is_some_and(|next| ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].iter().any(|word| next.is(word)))
    }

    fn column(&mut self) -> Option<()> {
        let name = self.name()?;
        self.found.columns.push(ColumnText { name: name.clone(), ..ColumnText::default() });
        self.skip_type()?;
        while !matches!(self.peek()?, Token::Sign(',' | ')')) {
            self.column_constraint(&name)?;
        }
        Some(())
    }

    /// Skips a column's type: names until a word that begins a constraint, and numbers in parentheses.
    fn skip_type(&mut self) -> Option<()> {
        const ENDS: [&str; 10] =
            ["CONSTRAINT", "DEFAULT", "NOT", "NULL", "PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "COLLATE", "AS"];
        let is_part = |token: Token<'_>| match token {
            Token::Word(_) => !token.is("DEFERRABLE") && !ENDS.iter().any(|word| token.is(word)),
            Token::Quoted(_) => true,
            _ => false,
        };
        let begin = self.at;
        while self.peek().is_some_and(is_part) {
            self.at += 1;
        }
        match self.at > begin && self.peek() == Some(Token::Sign('(')) {
            true => self.skip_parentheses(),
            false => Some(()),
        }
    }

    fn column_constraint(&mut self, column: &str) -> Option<()> {
        let part = || vec![KeyPart { column: column.to_owned(), collation: None }];
        if self.words(&["CONSTRAINT"]) || self.words(&["COLLATE"]) {
            self.name()?;
        } else if self.words(&["DEFAULT"]) {
            self.skip_default()?;
        } else if self.words(&["NOT", "NULL"]) {
            let on_conflict = self.on_conflict()?;
            self.found.columns.last_mut()?.not_null = on_conflict;
        } else if self.words(&["NULL"]) {
            self.on_conflict()?;
        } else if self.words(&["PRIMARY", "KEY"]) {
            let _ = self.words(&["ASC"]) || self.words(&["DESC"]);
            let on_conflict = self.on_conflict()?;
            let autoincrement = self.words(&["AUTOINCREMENT"]);
            self.found.keys.push(KeyText { is_primary: true, parts: part(), on_conflict, autoincrement });
        } else if self.words(&["UNIQUE"]) {
            let on_conflict = self.on_conflict()?;
            self.found.keys.push(KeyText { is_primary: false, parts: part(), on_conflict, autoincrement: false });
        } else if self.words(&["CHECK"]) {
            self.check()?;
        } else if self.words(&["REFERENCES"]) {
            self.references(vec![column.to_owned()])?;
        } else if let Some(deferred) = self.deferred()? {
            // It is about the foreign key that was named last, whichever column has it.
            if let Some(key) = self.found.foreign_keys.last_mut() {
                key.deferred = deferred;
            }
        } else {
            let _ = self.words(&["GENERATED", "ALWAYS"]);
            self.words(&["AS"]).then_some(())?;
            self.skip_parentheses()?;
            let _ = self.words(&["STORED"]) || self.words(&["VIRTUAL"]);
        }
        Some(())
    }

    fn table_constraint(&mut self) -> Option<()> {
        if self.words(&["CONSTRAINT"]) {
            self.name()?;
        } else if self.words(&["CHECK"]) {
            self.check()?;
        } else if self.words(&["FOREIGN", "KEY"]) {
            let columns = self.names()?;
            self.words(&["REFERENCES"]).then_some(())?;
            self.references(columns)?;
            let deferred = self.deferred()?.unwrap_or(false);
            self.found.foreign_keys.last_mut()?.deferred = deferred;
        } else {
            let is_primary = self.words(&["PRIMARY", "KEY"]);
            (is_primary || self.words(&["UNIQUE"])).then_some(())?;
            let (parts, autoincrement) = self.key_parts()?;
            let on_conflict = self.on_conflict()?;
            self.found.keys.push(KeyText { is_primary, parts, on_conflict, autoincrement });
        }
        Some(())
    }

    fn check(&mut self) -> Option<()> {
        self.skip_parentheses()?;
        self.found.checks += 1;
        // SQLite takes this of a table's, and ignores it.
        self.on_conflict().map(|_| ())
    }

    fn skip_default(&mut self) -> Option<()> {
        if self.peek()? == Token::Sign('(') {
            return self.skip_parentheses();
        }
        let _ = self.sign('-') || self.sign('+');
        match self.next()? {
            Token::Sign(_) => None,
            _ => Some(()),
        }
    }

    fn on_conflict(&mut self) -> Option<OnConflict> {
        if !self.words(&["ON", "CONFLICT"]) {
            return Some(OnConflict::Abort);
        }
        match self.next()? {
            Token::Word(word) => OnConflict::from_sql(word),
            _ => None,
        }
    }

    /// What follows REFERENCES.
    fn references(&mut self, columns: Vec<String>) -> Option<()> {
        let parent = self.name()?;
        if self.peek() == Some(Token::Sign('(')) {
            self.names()?;
        }
        loop {
            if self.words(&["MATCH"]) {
                self.name()?;
            } else if self.words(&["ON", "DELETE"]) || self.words(&["ON", "UPDATE"]) || self.words(&["ON", "INSERT"]) {
                let actions: [&[&str]; 5] =
                    [&["SET", "NULL"], &["SET", "DEFAULT"], &["CASCADE"], &["RESTRICT"], &["NO", "ACTION"]];
                actions.iter().any(|action| self.words(action)).then_some(())?;
            } else {
                break;
            }
        }
        self.found.foreign_keys.push(ForeignKeyText { columns, parent, deferred: false });
        Some(())
    }

    /// Whether a foreign key is checked late; the inner `None` if nothing is said of it here.
    fn deferred(&mut self) -> Option<Option<bool>> {
        let is_not = self.words(&["NOT", "DEFERRABLE"]);
        if !is_not && !self.words(&["DEFERRABLE"]) {
            return Some(None);
        }
        let is_late = self.words(&["INITIALLY", "DEFERRED"]);
        if !is_late && !self.words(&["INITIALLY", "IMMEDIATE"]) {
            (!self.peek().is_some_and(|next| next.is("INITIALLY"))).then_some(())?;
        }
        Some(Some(is_late && !is_not))
    }

    /// A list of names in parentheses. SQLite once took collations and orders there, and means nothing by them.
    fn names(&mut self) -> Option<Vec<String>> {
        Some(self.key_parts()?.0.into_iter().map(|part| part.column).collect())
    }

    /// The columns of a key in parentheses, and whether AUTOINCREMENT stands behind them.
    fn key_parts(&mut self) -> Option<(Vec<KeyPart>, bool)> {
        self.sign('(').then_some(())?;
        let mut parts = Vec::new();
        loop {
            parts.push(self.key_part()?);
            if !self.sign(',') {
                break;
            }
        }
        let autoincrement = self.words(&["AUTOINCREMENT"]);
        self.sign(')').then_some(())?;
        Some((parts, autoincrement))
    }

    fn key_part(&mut self) -> Option<KeyPart> {
        // It is an expression to SQLite's grammar, so that parentheses may stand around the column, with the collation or without.
        let (mut open, mut collation) = (0_usize, None);
        while self.sign('(') {
            open += 1;
        }
        let column = self.name()?;
        loop {
            if self.words(&["COLLATE"]) {
                collation = Some(self.name()?);
            } else if open > 0 && self.sign(')') {
                open -= 1;
            } else {
                break;
            }
        }
        (open == 0).then_some(())?;
        let _ = self.words(&["ASC"]) || self.words(&["DESC"]);
        let _ = self.words(&["NULLS", "FIRST"]) || self.words(&["NULLS", "LAST"]);
        Some(KeyPart { column, collation })
    }
}

/// Whether the statement of a trigger says that it runs after the row is written. Before it is what it does otherwise.
pub(super) fn runs_after(statement: &str) -> bool {
    let Some(tokens) = tokens(statement) else { return false };
    let mut words = tokens.iter().skip_while(|token| !token.is("TRIGGER")).skip(1).peekable();
    if words.peek().is_some_and(|token| token.is("IF")) && words.nth(2).is_none() {
        return false;
    }
    // The name, which may be AFTER itself.
    let mut words = words.skip(1).peekable();
    if words.peek() == Some(&&Token::Sign('.')) {
        words.nth(1);
    }
    words.next().is_some_and(|token| token.is("AFTER"))
}

#[cfg(test)]
#[path = "create_text_tests.rs"]
mod tests;
