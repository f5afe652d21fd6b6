//! What a peer is told of approvals, and how it asks for them before it pulls.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::approval::{self, Question, Standing};
use super::begin::Asked;
use super::grant::Grant;
use super::moments::later;
use super::{Answer, actor};
use crate::domain::access::{self, Denial, Use};
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::state::{self, connections};
use crate::wire::message::{Approval, ApprovalStatus};

/// What someone is told of an approval: how it stands, the transfer, and the reason.
type Told = (ApprovalStatus, Option<Uuid>, Option<String>);

impl Grant {
    /// How the pulls of these tables stand, each as it was asked for and what it is; asks for approval where nobody was asked yet,
    /// with the number of records that `count` gives. Asking again costs nothing; what is asked for newly is one call of the rate.
    pub(crate) fn approvals(
        &mut self,
        tables: &[(String, Asked)],
        mut count: impl FnMut(&str) -> Result<u64>,
    ) -> Answer<Vec<Approval>> {
        let Some(connection) = self.policy_of() else {
            let granted = |(asked, _): &(String, Asked)| Approval {
                reason: None,
                status: ApprovalStatus::Granted,
                table: asked.clone(),
                transfer_uuid: None,
            };
            return Ok(tables.iter().map(granted).collect());
        };
        let (now, uuid) = (self.site().now(), connection.uuid);
        // Each once, however often and in which spellings it was asked for.
        let own: BTreeMap<&str, &Asked> = tables.iter().map(|(_, own)| (own.table.as_str(), own)).collect();
        let standings = state::read(self.site().store_ref(), |sql| {
            let standing = |own: &&Asked| {
                let question = Question {
                    now,
                    connection,
                    names: self.site().names(),
                    terms: &own.terms(),
                    used_within: self.site().limits().retention.approval_time,
                };
                approval::standing(sql, &question, &own.table)
            };
            own.values().map(standing).collect::<Result<Vec<_>>>()
        })?;
        let (mut told, mut unasked) = (BTreeMap::new(), Vec::new());
        for (own, standing) in own.into_values().zip(standings) {
            let known: Told = match standing {
                Standing::NotNeeded => (ApprovalStatus::Granted, None, None),
                Standing::Approved(transfer) => (ApprovalStatus::Granted, Some(transfer), None),
                Standing::Pending(transfer) => (ApprovalStatus::Pending, Some(transfer), None),
                Standing::Denied(transfer, reason) => (ApprovalStatus::Denied, Some(transfer), reason),
                Standing::Unasked | Standing::Overdue(_) | Standing::Outdated(_) => {
                    unasked.push(Asked { count: Some(count(&own.table)?), ..own.clone() });
                    continue;
                }
            };
            told.insert(own.table.clone(), known);
        }
        if !unasked.is_empty() {
            let asked = self.ask(uuid, &unasked, now)?;
            told.extend(unasked.into_iter().map(|asked| asked.table).zip(asked));
        }
        let mut approvals = Vec::with_capacity(tables.len());
        for (asked, own) in tables {
            let Some((status, transfer_uuid, reason)) = told.get(&own.table).cloned() else { continue };
            match (status, transfer_uuid) {
                (ApprovalStatus::Pending, Some(transfer)) => self.waiting.insert(own.table.clone(), transfer),
                _ => self.waiting.remove(&own.table),
            };
            approvals.push(Approval { reason, status, table: asked.clone(), transfer_uuid });
        }
        Ok(approvals)
    }

    /// Asks the people here to approve the pulls of these tables: one call of the rate, and one transaction.
    fn ask(&self, uuid: Uuid, tables: &[Asked], now: OffsetDateTime) -> Answer<Vec<Told>> {
        let site = self.site();
        let request = |asked: &Asked| {
            let mut request = self.transfer(&asked.table, None, now);
            request.requires_approval = true;
            request.status = TransferStatus::PendingApproval;
            request.approval_expires_at = Some(later(now, site.limits().retention.approval_time));
            request
        };
        let requests: Vec<(Transfer, _)> = tables.iter().map(|asked| (request(asked), asked.terms())).collect();
        let decided = site.change(|sql| {
            // Read again: what was read before the transaction may have changed.
            let usable = self.read_again(sql)?.and_then(|connection| {
                let connection = connection.ok_or_else(|| Denial::new(ErrorKind::InvalidToken))?;
                access::usable(&connection, Use::New, now, self.caller.address).map(|()| connection)
            });
            let connection = match usable {
                Ok(connection) => connection,
                Err(denial) => return Ok(Err(denial)),
            };
            if let Err(wait) = connections::take_call(sql, uuid, now)? {
                return Ok(Err(Denial::wait(ErrorKind::RateLimited, wait)));
            }
            let (names, used_within) = (site.names(), site.limits().retention.approval_time);
            let actor = actor(&connection);
            let decided = requests.iter().map(|(request, terms)| {
                match access::table_visible(&connection.policy, &request.table_name, names) {
                    Ok(()) => {
                        let waiting = self.waiting.get(&request.table_name).copied();
                        let question = Question { now, connection: &connection, names, terms, used_within };
                        approval::decide(sql, &question, request, waiting, &actor)
                    }
                    Err(denial) => Ok(Err(denial)),
                }
            });
            decided.collect::<Result<Vec<_>>>().map(Ok)
        })?;
        let decided = decided.map_err(|denial| self.noted(denial))?;
        let told = decided.into_iter().map(|decided| match decided {
            Ok(approved) => (ApprovalStatus::Granted, approved, None),
            Err(denial) if denial.kind == ErrorKind::ApprovalRequired => (ApprovalStatus::Pending, denial.transfer, None),
            Err(denial) => (ApprovalStatus::Denied, denial.transfer, Some(denial.socket_text())),
        });
        Ok(told.collect())
    }
}
