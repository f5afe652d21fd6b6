//! Whether the rows here are those of another site: each table is compared by sums, and what differs is found by a sketch. Nothing is
//! changed.

mod compare;
#[cfg(all(test, feature = "sqlite"))]
mod hostile_tests;
mod keys;
mod local;
mod options;
mod report;
mod report_json;
mod run;
mod table;

pub use options::VerifyOptions;
pub use report::{DifferingKeys, TableVerification, VerifyReason, VerifyReport, VerifyStatus};

use uuid::Uuid;

use crate::client::{Api, Auth, Client, ConnectOptions};
use crate::error::Result;
use crate::pull::{HttpSource, refuse_itself};
use crate::site::Site;

impl Client {
    /// Compares tables of a site with those of the other site, all that the other site offers unless the options name some. Nothing is
    /// changed at either end, and no download is taken. Both ends read their tables once; what goes over the wire grows with what differs.
    ///
    /// Each end is compared as it was at one moment, and writes meanwhile go on at both: what the other site changed after the last pull is
    /// a difference. Columns and keys are matched as a [pull](Client::pull) matches them. What cannot be compared says why in the report.
    ///
    /// # Errors
    /// Why nothing could be compared at all: the other site's list of tables could not be had, or it serves this very database
    /// ([`SelfConnection`](crate::ErrorKind::SelfConnection)).
    pub fn verify(&self, site: &Site, options: VerifyOptions<'_>) -> Result<VerifyReport> {
        refuse_itself(self, site)?;
        run::verify(self, Some(self), site, options)
    }
}

impl Site {
    /// Compares tables with those of the other site of a stored receiver connection, as [`Client::verify`] does. What this side's connection
    /// says of tables and hours holds, as for [`Site::pull`]. A site of PhoenixKit cannot compare: its tables are
    /// [inconclusive](VerifyStatus::Inconclusive).
    ///
    /// # Errors
    /// Those of [`Site::pull`] for the connection and the way to the other site, and those of [`Client::verify`].
    pub fn verify(&self, connection: Uuid, connect: ConnectOptions, mut options: VerifyOptions<'_>) -> Result<VerifyReport> {
        let way = self.way_through(connection, connect, &mut options.how)?;
        self.verify_by(&way.url, &way.auth, &way.connect, options)
    }

    /// Compares tables with those of the site at this URL, as [`Client::verify`] does. A code is spent by this, as by a pull. One that is
    /// kept for a pull which did not complete works again, and stays good for that pull.
    ///
    /// # Errors
    /// Those of [`Client::connect`] and [`Client::verify`].
    pub fn verify_from(
        &self,
        url: &str,
        auth: Auth,
        connect: ConnectOptions,
        mut options: VerifyOptions<'_>,
    ) -> Result<VerifyReport> {
        let Some(code) = auth.as_code() else { return self.verify_by(url, &auth, &connect, options) };
        let (client, own) = self.enter_by_code(url, code, &auth, connect, &mut options.how)?;
        let report = client.verify(self, options)?;
        if report.status() != VerifyStatus::Inconclusive {
            self.give_ticket_back(&client, &own, code);
        }
        Ok(report)
    }

    fn verify_by(
        &self,
        url: &str,
        auth: &Auth,
        connect: &ConnectOptions,
        mut options: VerifyOptions<'_>,
    ) -> Result<VerifyReport> {
        match self.enter(url, auth, connect, &mut options.how)? {
            Some(client) => client.verify(self, options),
            None => {
                let api = Api::with_auth(url, auth, connect)?;
                let source = HttpSource::new(&api, &options.how);
                run::verify(&source, None, self, options)
            }
        }
    }
}
