//! Looks at a few records by `table-records`, which people take on the other site before they pull. A look is no download and uses no
//! approval up, but it counts its records and is a call of the rate. It is in the history, and so are the looks before it: there are no
//! more of a table within an hour than the limit lets through, because looks must not be a way round the limits on downloads. Who pages
//! continues the look, so that it is one transfer and begins each page where the last one ended.

use time::OffsetDateTime;
use uuid::Uuid;

use super::account::{Account, Allowed, Begun};
use super::approval::{self, Question, Standing};
use super::begin::{Asked, start};
use super::course::Repeats;
use super::grant::Grant;
use super::moments::{earlier, later};
use super::{Answer, actor};
use crate::domain::access::{self, Denial, Use};
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::state::connections;
use crate::state::transfers::{self, looks};
use crate::store::Sql;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// What came of deciding: nothing, where it has to be a download.
type Decided = std::result::Result<Option<Decision>, Denial>;

#[derive(Debug)]
enum Decision {
    Begun(Box<Begun>),
    Continued,
}

impl Grant {
    /// Begins a look at so many records of a table, or continues the one that was `paused`. `None` where it has to be a download like any
    /// other: as many were looked at within the hour as may be, approval is needed that nobody has given, or it came by a code.
    pub(crate) fn begin_look(&self, asked: &Asked, wanted: u64, paused: &mut Option<Account>) -> Answer<Option<Account>> {
        let now = self.site().now();
        let before = paused.as_ref().map(|look| (look.transfer(), look.records()));
        match self.site().change(|sql| self.decide_look(sql, now, asked, (wanted, before)))? {
            Ok(None) => Ok(None),
            Ok(Some(Decision::Begun(begun))) => Ok(Some(Account::new(self.site(), *begun, self.access.paused()))),
            Ok(Some(Decision::Continued)) => {
                let mut look = paused.take();
                look.iter_mut().for_each(Account::is_reopened);
                Ok(look)
            }
            Err(denial) => Err(self.noted(denial.of_table(&asked.table))),
        }
    }

    fn decide_look(
        &self,
        sql: &mut dyn Sql,
        now: OffsetDateTime,
        asked: &Asked,
        (wanted, before): (u64, Option<(Uuid, u64)>),
    ) -> Result<Decided> {
        let (site, table) = (self.site(), asked.table.as_str());
        let connection = match self.read_again(sql)? {
            Ok(Some(connection)) => connection,
            Ok(None) => return Ok(Ok(None)),
            Err(denial) => return Ok(Err(denial)),
        };
        let usable = access::usable(&connection, Use::New, now, self.caller.address)
            .and_then(|()| access::table_visible(&connection.policy, table, site.names()));
        if let Err(denial) = usable {
            return Ok(Err(denial));
        }
        let (names, used_within) = (site.names(), site.limits().retention.approval_time);
        let question = Question { now, connection: &connection, names, terms: &asked.terms(), used_within };
        let standing = approval::standing(sql, &question, table)?;
        let uuid = connection.uuid;
        let looked = looks::records(sql, uuid, table, earlier(now, HOUR))?;
        let is_free = looked.saturating_add(wanted) <= site.limits().server.look_records_per_hour;
        if !is_free || !matches!(standing, Standing::NotNeeded | Standing::Approved(_)) {
            return Ok(Ok(None));
        }
        if let Some((transfer, records)) = before
            && let Some(known) = transfers::by_uuid(sql, transfer)?
            && known.status == TransferStatus::Completed
        {
            let known = Transfer { records_requested: Some(records.saturating_add(wanted)), ..known };
            transfers::reopen(sql, now, &known, &known.counters)?;
            return Ok(Ok(Some(Decision::Continued)));
        }
        if let Err(wait) = connections::take_call(sql, uuid, now)? {
            return Ok(Err(Denial::wait(ErrorKind::RateLimited, wait)));
        }
        let mut request = self.transfer(table, None, now);
        request.records_requested = Some(wanted);
        looks::mark(&mut request);
        let actor = actor(&connection);
        Ok(Ok(Some(Decision::Begun(Box::new(Begun {
            transfer: start(sql, now, &actor, request)?,
            table: table.to_owned(),
            connection: Some(uuid),
            owner: uuid,
            actor,
            allowed: Allowed::by(&connection),
            approved: None,
            until: later(now, site.limits().retention.pull_time),
            repeats: Repeats::FREE,
            named: None,
            is_look: true,
        })))))
    }
}
