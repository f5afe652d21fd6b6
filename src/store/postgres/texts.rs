//! What the types of columns make of texts: the server reads them, and says how it writes them.
//!
//! One text that a type does not read fails a whole statement. It is found by halves, each under a savepoint.

use std::borrow::Cow;
use std::ops::Range;

use super::casts::Cast;
use super::faults;
use super::transaction::Transaction;
use crate::domain::record::Reason;
use crate::error::Result;

/// What a type makes of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read {
    /// Nothing was asked.
    Nothing,
    /// It is stored, and written out as this.
    Stored(String),
    /// It is read, but stored shorter, rounded or without its zone.
    Cut,
    /// It is not read, for this reason; what the server says of it.
    Refused(Reason, String),
}

/// A column, and the texts that are to be read for it.
pub(super) struct Texts<'t, 'v> {
    pub(super) cast: &'t Cast,
    pub(super) texts: &'t [Option<Cow<'v, str>>],
}

/// How each text is stored by its column.
pub(super) fn stored(transaction: &mut Transaction, columns: &[Texts<'_, '_>]) -> Result<Vec<Vec<Read>>> {
    evaluated(transaction, columns, &|cast, value| cast.text(value))
}

/// What each text has in common with all that its column calls equal.
pub(super) fn common(transaction: &mut Transaction, columns: &[Texts<'_, '_>]) -> Result<Vec<Vec<Read>>> {
    evaluated(transaction, columns, &|cast, value| cast.common(value))
}

type Expression<'e> = &'e dyn Fn(&Cast, &str) -> String;

fn evaluated(
    transaction: &mut Transaction,
    columns: &[Texts<'_, '_>],
    expression: Expression<'_>,
) -> Result<Vec<Vec<Read>>> {
    if columns.iter().all(|column| column.texts.iter().all(Option::is_none)) {
        return Ok(columns.iter().map(|column| vec![Read::Nothing; column.texts.len()]).collect());
    }
    let all = |transaction: &mut Transaction| {
        columns.iter().map(|column| column.read(transaction, 0..column.texts.len(), expression)).collect::<Result<Vec<_>>>()
    };
    if let Ok(read) = transaction.attempt(all)? {
        return Ok(read);
    }
    let mut found = Vec::with_capacity(columns.len());
    for column in columns {
        let mut read = Vec::with_capacity(column.texts.len());
        column.bisect(transaction, 0..column.texts.len(), expression, &mut read)?;
        found.push(read);
    }
    Ok(found)
}

impl Texts<'_, '_> {
    fn read(&self, transaction: &mut Transaction, range: Range<usize>, expression: Expression<'_>) -> Result<Vec<Read>> {
        let texts = &self.texts[range];
        let typed = self.cast.typed("s.c0");
        // What a length or digits change is not equal to what it was.
        let is_cut = self.cast.is_cut("s.c0");
        let sql = format!(
            "SELECT {}, {is_cut} FROM unnest($1::text[]) WITH ORDINALITY AS s(c0, n) ORDER BY s.n",
            expression(self.cast, &typed)
        );
        let rows = transaction.connection.rows(&sql, &[&texts])?;
        let read = |row: &postgres::Row| match (row.get::<_, Option<String>>(0), row.get::<_, Option<bool>>(1)) {
            (None, _) => Read::Nothing,
            (Some(_), Some(true)) => Read::Cut,
            (Some(text), _) => Read::Stored(text),
        };
        Ok(rows.iter().map(read).collect())
    }

    fn bisect(
        &self,
        transaction: &mut Transaction,
        range: Range<usize>,
        expression: Expression<'_>,
        found: &mut Vec<Read>,
    ) -> Result<()> {
        if self.texts[range.clone()].iter().all(Option::is_none) {
            found.extend(range.map(|_| Read::Nothing));
            return Ok(());
        }
        match transaction.attempt(|transaction| self.read(transaction, range.clone(), expression))? {
            Ok(read) => found.extend(read),
            Err(error) if range.len() == 1 => {
                let code = faults::told_by(&error).map_or("", |told| told.code().code());
                let reason = match code {
                    "22003" | "22008" | "22015" | "22P05" => Reason::ValueOutOfRange,
                    _ => Reason::WrongType,
                };
                found.push(Read::Refused(reason, error.message().to_owned()));
            }
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.bisect(transaction, range.start..middle, expression, found)?;
                self.bisect(transaction, middle..range.end, expression, found)?;
            }
        }
        Ok(())
    }
}
