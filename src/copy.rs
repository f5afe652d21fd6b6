//! Moves a site into another database, of the same kind or of another: its tables, and rowferry's own state.

use uuid::Uuid;

use crate::client::{Auth, Client, ConnectOptions};
use crate::domain::session::Direction;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::whole;
use crate::pull::{PullOptions, Report, TableReport, TableStatus};
use crate::site::Site;
use crate::state::settings;

/// The setting of a target that holds the id of the site that is being copied into it.
const COPYING: &str = "copying";

/// What [`Site::copy_to`] did.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "tables and records may have failed: see `is_complete`"]
pub struct CopiedSite {
    /// The pull of its tables.
    pub report: Report,
    /// rowferry's own rows that were copied: the kind of rows, such as `connections`, and their number. Empty where the copy is not
    /// [complete](CopiedSite::is_complete).
    pub state: Vec<(String, u64)>,
    /// The site's id, which both databases have now; `None` where the copy is not complete.
    pub site: Option<Uuid>,
    /// What was not copied of rowferry's own state. Whole sentences.
    pub notes: Vec<String>,
}

impl CopiedSite {
    /// Whether all tables came with all their records, and with them the state. Where a table or a record failed, the state is not copied:
    /// see the report, and call it again when the reason is gone.
    pub fn is_complete(&self) -> bool {
        self.site.is_some()
    }
}

impl Site {
    /// Copies this site into another database: its tables by a [pull](Client::pull) within the process, and then rowferry's own state in
    /// one transaction: the site's id, settings, sessions, connections with their tokens, the history and its events, messages that
    /// were not sent, finished appends, and the key maps. The target is this site afterwards.
    ///
    /// Nothing else may use either of the two meanwhile, and this one not afterwards: two sites of one id confuse their peers. The target
    /// must have no state of rowferry's, or that of an earlier copy of this site that was interrupted, which resumes. Its key must be this
    /// site's. Where the target [names a file](crate::SiteBuilder::key_file) that is not there, the key is written to it.
    ///
    /// Not copied are what interrupted pulls keep (they begin again), and what no pull copies
    /// ([`Report::not_copied`](crate::Report::not_copied)). Tables that this site hides are not offered, and stay.
    ///
    /// Tables that the target has already are kept as they are, and take the rows as any pull into them does: by their keys and with the
    /// strategy of `options`. Rows that only the target has stay. A record that fails keeps the copy from being
    /// [complete](CopiedSite::is_complete): mend the record, or choose [`OnLossy::Replace`](crate::OnLossy::Replace), and call it again.
    ///
    /// `options` are those of the pull. Every table is pulled unless they name some.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the target has state; [`SiteKey`](ErrorKind::SiteKey) if it has another key;
    /// [`Disabled`](ErrorKind::Disabled) if this site is switched off; those of [`Client::pull`], and what the stores say.
    pub fn copy_to(&self, target: &Site, options: PullOptions<'_>) -> Result<CopiedSite> {
        let id = self.uuid()?;
        if target.is(id, Some(self.incarnation()?))? {
            return Err(Error::new(ErrorKind::InvalidInput, "the site would be copied into itself")
                .with_hint("Name another database."));
        }
        begin(target, &id.to_string())?;
        // What was sealed for this site is opened by the target.
        target.adopt_key(&self.key()?)?;
        let session = self.sessions().create(Direction::Send)?;
        let pulled = Client::link(self, Auth::code(session.code()), ConnectOptions::default())
            .and_then(|client| client.pull(target, options));
        // It has done its work; the code of another run is another one.
        self.sessions().delete(session.uuid())?;
        let report = pulled?;
        // With its state the target is the site, and nobody would look for what is missing.
        let failed = |table: &TableReport| table.status != TableStatus::Completed || table.outcome.failed > 0;
        if report.error.is_some() || report.cancelled || report.tables.iter().any(failed) {
            return Ok(CopiedSite { report, state: Vec::new(), site: None, notes: Vec::new() });
        }
        let moved = target.write(|sql| whole::fill(sql, self.store_ref(), &Site::OF_THE_STORE))?;
        target.forget_uuid();
        let mut notes = Vec::new();
        if moved.interrupted > 0 {
            notes.push(format!("Interrupted pulls that begin again: {} (interrupted_pulls).", moved.interrupted));
        }
        if moved.digests > 0 {
            notes.push(format!("Long keys of key maps that are not found any more: {} (long_keys).", moved.digests));
        }
        let state = moved.tables.into_iter().map(|(table, rows)| (table.to_owned(), rows)).collect();
        Ok(CopiedSite { report, state, site: Some(id), notes })
    }
}

/// Makes sure that nothing is lost in the target, and notes what it is about to become.
fn begin(target: &Site, id: &str) -> Result<()> {
    target.write(|sql| {
        let copying = settings::get(sql, COPYING)?;
        if copying.as_deref() == Some(id) {
            return Ok(());
        }
        let found = match copying {
            Some(_) => Some("the beginning of another site's copy".to_owned()),
            None => {
                let set = settings::keys(sql)?.into_iter().find(|key| !Site::OF_ITSELF.contains(&key.as_str()));
                let set = set.map(|key| format!("the setting {key}"));
                set.or(whole::used(sql)?.map(|table| format!("rows in rowferry_{table}")))
            }
        };
        match found {
            None => settings::set(sql, COPYING, id),
            Some(found) => {
                let name = target.store_ref().name();
                Err(Error::new(ErrorKind::InvalidInput, format!("{name} has a site already: it has {found}"))
                    .with_hint("Copy into a database without one, or remove its state first: `SiteBuilder::remove_state`."))
            }
        }
    })
}
