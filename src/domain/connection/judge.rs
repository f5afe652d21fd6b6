//! Whether a connection works at a moment, and for an address.

use std::net::IpAddr;

use time::OffsetDateTime;

use super::{Connection, ConnectionStatus};
use crate::error::{Error, ErrorKind, Result};

impl Connection {
    /// Whether the connection may be used now, from this address. The first of these that is so is the answer.
    ///
    /// # Errors
    /// [`ConnectionNotActive`](ErrorKind::ConnectionNotActive), [`ConnectionExpired`](ErrorKind::ConnectionExpired),
    /// [`DownloadLimit`](ErrorKind::DownloadLimit), [`RecordLimit`](ErrorKind::RecordLimit),
    /// [`AddressNotAllowed`](ErrorKind::AddressNotAllowed), [`OutsideAllowedHours`](ErrorKind::OutsideAllowedHours).
    pub fn judge(&self, now: OffsetDateTime, address: Option<IpAddr>) -> Result<()> {
        self.judge_as(now, address, Self::within_limits)
    }

    /// The same for a pull that runs: what the limits left was taken when it began.
    #[cfg(feature = "server")]
    pub(crate) fn judge_running(&self, now: OffsetDateTime, address: Option<IpAddr>) -> Result<()> {
        self.judge_as(now, address, Self::within_date)
    }

    fn judge_as(
        &self,
        now: OffsetDateTime,
        address: Option<IpAddr>,
        within: fn(&Self, OffsetDateTime) -> Result<()>,
    ) -> Result<()> {
        if self.status != ConnectionStatus::Active {
            let message = format!("the connection is {}", self.status);
            return Err(Error::new(ErrorKind::ConnectionNotActive, message));
        }
        within(self, now)?;
        if !self.policy.address_allowed(address) {
            let message = match address {
                Some(address) => format!("the connection may not be used from {}", address.to_canonical()),
                None => "the connection may only be used from certain addresses, and this one is not known".to_owned(),
            };
            return Err(Error::new(ErrorKind::AddressNotAllowed, message));
        }
        match self.policy.allowed_hours {
            Some(hours) if !hours.contains(now) => {
                let (start, end) = (hours.start(), hours.end());
                let message = format!("the connection may only be used from {start:02}:00 to {end:02}:59 UTC");
                Err(Error::new(ErrorKind::OutsideAllowedHours, message))
            }
            _ => Ok(()),
        }
    }

    /// Whether its date and its limits leave anything to be done.
    ///
    /// # Errors
    /// [`ConnectionExpired`](ErrorKind::ConnectionExpired), [`DownloadLimit`](ErrorKind::DownloadLimit),
    /// [`RecordLimit`](ErrorKind::RecordLimit), in this order.
    pub fn within_limits(&self, now: OffsetDateTime) -> Result<()> {
        let refused = |kind, message: String| Err(Error::new(kind, message));
        self.within_date(now)?;
        if self.remaining_downloads() == Some(0) {
            let most = self.policy.max_downloads.unwrap_or_default();
            return refused(ErrorKind::DownloadLimit, format!("all pulls that the connection allows were made ({most})"));
        }
        if self.remaining_records() == Some(0) {
            let most = self.policy.max_records_total.unwrap_or_default();
            return refused(ErrorKind::RecordLimit, format!("all records that the connection allows were pulled ({most})"));
        }
        Ok(())
    }

    fn within_date(&self, now: OffsetDateTime) -> Result<()> {
        match self.is_past(now) {
            true => Err(Error::new(ErrorKind::ConnectionExpired, "the date of the connection has passed")),
            false => Ok(()),
        }
    }
}
