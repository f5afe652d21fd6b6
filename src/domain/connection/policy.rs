//! What a connection allows.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Serialize;
use time::OffsetDateTime;

use crate::domain::names::NameRules;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};

string_enum! {
    /// Whether a pull must be approved by a person first.
    #[non_exhaustive]
    pub enum ApprovalMode("approval mode") {
        /// No pull needs approval.
        AutoApprove = "auto_approve",
        /// Every pull of a table needs approval.
        RequireApproval = "require_approval",
        /// Pulls of other tables than those in [`Policy::auto_approve_tables`] need approval.
        PerTable = "per_table",
    }
}

/// What a connection allows, as its owner set it. Take [`Policy::default`] and change what you must.
///
/// Each end of a connection has its own. What a sender's end says holds for the other site's pulls; what a receiver's end says, for this
/// site's own pulls through it: tables, expiry, records, hours. A receiver's end takes nothing that only a sender can enforce.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// Whether pulls need approval. Defaults to [`ApprovalMode::AutoApprove`]. A sender's only.
    pub approval_mode: ApprovalMode,
    /// The only tables that may be pulled; empty for all. Names are compared as the store of the tables compares them.
    pub allowed_tables: Vec<String>,
    /// Tables that may not be pulled, and are not shown. They win over the allowed ones.
    pub excluded_tables: Vec<String>,
    /// Under [`ApprovalMode::PerTable`]: tables whose pulls need no approval. A sender's only.
    pub auto_approve_tables: Vec<String>,
    /// From when on it no longer works.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// How many pulls of a table there may be in all. A sender's only.
    pub max_downloads: Option<u64>,
    /// How many records may be pulled in all. Pages are taken whole at a receiver.
    pub max_records_total: Option<u64>,
    /// Most records in one answer, at least 1. Defaults to 10,000.
    pub max_records_per_request: u64,
    /// How many HTTP calls and pulls there may be per minute in the long run, at least 1; for a moment, five times as many. The pages of
    /// a running pull are not counted, and a named pull of a rowferry site is one call. Defaults to 60. A sender's only.
    pub rate_limit_requests_per_minute: u32,
    /// The only addresses that may use it; empty for all. A sender's only.
    pub ip_whitelist: Vec<AddressRange>,
    /// The only hours of the day in which it may be used.
    pub allowed_hours: Option<AllowedHours>,
    /// The strategy of pulls that name none. Defaults to [`Strategy::Skip`].
    pub default_conflict_strategy: Strategy,
    /// Whether tables are to be pulled regularly. Kept for a later version: nothing pulls by itself yet.
    pub auto_sync_enabled: bool,
    /// The tables that are to be pulled regularly.
    pub auto_sync_tables: Vec<String>,
    /// Every how many minutes, at least 1. Defaults to 60.
    pub auto_sync_interval_minutes: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            approval_mode: ApprovalMode::AutoApprove,
            allowed_tables: Vec::new(),
            excluded_tables: Vec::new(),
            auto_approve_tables: Vec::new(),
            expires_at: None,
            max_downloads: None,
            max_records_total: None,
            max_records_per_request: 10_000,
            rate_limit_requests_per_minute: 60,
            ip_whitelist: Vec::new(),
            allowed_hours: None,
            default_conflict_strategy: Strategy::Skip,
            auto_sync_enabled: false,
            auto_sync_tables: Vec::new(),
            auto_sync_interval_minutes: 60,
        }
    }
}

impl Policy {
    /// Whether a table may be pulled: it is among the allowed ones, if there are any, and not excluded. `names` says how the store
    /// of the tables compares names.
    pub fn table_allowed(&self, table: &str, names: NameRules) -> bool {
        (self.allowed_tables.is_empty() || self.table_listed(table, names)) && !self.table_excluded(table, names)
    }

    /// Whether a table is among the allowed ones by its name.
    pub(crate) fn table_listed(&self, table: &str, names: NameRules) -> bool {
        names.is_among(table, &self.allowed_tables)
    }

    /// Whether a table is excluded: to the other site it does not exist.
    pub fn table_excluded(&self, table: &str, names: NameRules) -> bool {
        names.is_among(table, &self.excluded_tables)
    }

    /// Whether a pull of a table needs approval.
    pub fn requires_approval(&self, table: &str, names: NameRules) -> bool {
        match self.approval_mode {
            ApprovalMode::AutoApprove => false,
            ApprovalMode::RequireApproval => true,
            ApprovalMode::PerTable => !names.is_among(table, &self.auto_approve_tables),
        }
    }

    /// Whether an address may use the connection. An IPv4 address that is written as IPv6 counts as IPv4. Where addresses are
    /// listed, an unknown one may not.
    pub fn address_allowed(&self, address: Option<IpAddr>) -> bool {
        let listed = |address| self.ip_whitelist.iter().any(|range| range.contains(address));
        self.ip_whitelist.is_empty() || address.is_some_and(listed)
    }
}

/// An address or a range of addresses: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange(IpNet);

impl AddressRange {
    /// Whether the range has the address. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for AddressRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let single = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
        // ::ffff:192.0.2.0/120 is the IPv4 range 192.0.2.0/24.
        let range = || {
            let net = text.parse::<IpNet>().ok()?;
            match (net, net.addr().to_canonical()) {
                (IpNet::V6(v6), canonical @ IpAddr::V4(_)) => IpNet::new(canonical, v6.prefix_len().checked_sub(96)?).ok(),
                (net, _) => Some(net),
            }
        };
        single().or_else(range).map(|net| AddressRange(net.trunc())).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("{text:?} is neither an address nor a range of addresses"))
                .with_hint("Write it like 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32.")
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => fmt::Display::fmt(&self.0.addr(), f),
            false => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl Serialize for AddressRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Hours of the day in UTC, both included: 22 to 5 is from 22:00 to 05:59, over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AllowedHours {
    start: u8,
    end: u8,
}

impl AllowedHours {
    /// From the beginning of the hour `start` to the end of the hour `end`, each from 0 to 23.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an hour after 23.
    pub fn new(start: u8, end: u8) -> Result<Self> {
        if start > 23 || end > 23 {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{start} to {end} are not hours of a day"))
                .with_hint("Hours are from 0 to 23, in UTC."));
        }
        Ok(AllowedHours { start, end })
    }

    /// The first hour.
    pub fn start(self) -> u8 {
        self.start
    }

    /// The last hour, which belongs to them.
    pub fn end(self) -> u8 {
        self.end
    }

    /// Whether a moment is within them.
    pub fn contains(self, moment: OffsetDateTime) -> bool {
        let hour = moment.to_offset(time::UtcOffset::UTC).hour();
        match self.start <= self.end {
            true => (self.start..=self.end).contains(&hour),
            false => hour >= self.start || hour <= self.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn tables_are_allowed_and_approved_by_name() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (folded, exact) = (NameRules::IgnoreAsciiCase, NameRules::Exact);
        let allowed = |policy: &Policy, table: &str| policy.table_allowed(table, folded);
        let mut policy = Policy::default();
        assert!(allowed(&policy, "users") && !policy.requires_approval("users", folded));
        policy.excluded_tables = names(&["Secret"]);
        assert!(allowed(&policy, "users") && !allowed(&policy, "secret") && policy.table_excluded("SECRET", folded));
        assert!(!policy.table_excluded("SECRET", exact) && policy.table_excluded("Secret", exact));
        policy.allowed_tables = names(&["users", "secret"]);
        assert!(allowed(&policy, "USERS") && !allowed(&policy, "posts"));
        assert!(!allowed(&policy, "secret"), "excluded wins");
        assert!(policy.table_allowed("secret", exact) && !policy.table_allowed("USERS", exact));
        policy.approval_mode = ApprovalMode::RequireApproval;
        policy.auto_approve_tables = names(&["users"]);
        assert!(policy.requires_approval("users", folded));
        policy.approval_mode = ApprovalMode::PerTable;
        assert!(!policy.requires_approval("Users", folded) && policy.requires_approval("posts", folded));
        assert!(policy.requires_approval("Users", exact));
    }

    #[test]
    fn addresses_are_allowed_by_range() {
        let mut policy = Policy::default();
        let allowed = |policy: &Policy, text: &str| policy.address_allowed(Some(text.parse().unwrap()));
        assert!(policy.address_allowed(None) && allowed(&policy, "192.0.2.1"));
        let ranges = ["192.0.2.0/24", "::ffff:198.51.100.0/120", "2001:db8::/32", "203.0.113.7"];
        policy.ip_whitelist = ranges.iter().map(|range| range.parse().unwrap()).collect();
        for inside in ["192.0.2.255", "::ffff:192.0.2.1", "198.51.100.9", "2001:db8:1::", "203.0.113.7"] {
            assert!(allowed(&policy, inside), "{inside}");
        }
        for outside in ["192.0.3.1", "::ffff:192.0.3.1", "198.51.101.9", "2001:db9::", "203.0.113.8", "::192.0.2.1"] {
            assert!(!allowed(&policy, outside), "{outside}");
        }
        assert!(!policy.address_allowed(None), "an unknown one is not listed");
        let shown: Vec<_> = policy.ip_whitelist.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32", "203.0.113.7"]);
        for bad in ["", "x", "192.0.2.0/33", "192.0.2", "192.0.2.1/24/1", "::ffff:192.0.2.0/64", "2001:db8::/129"] {
            assert_eq!(bad.parse::<AddressRange>().unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn hours_include_both_ends_and_may_span_midnight() {
        let at = |hour: u8, minute: u8| {
            datetime!(2026-01-02 00:00 UTC).replace_hour(hour).unwrap().replace_minute(minute).unwrap()
        };
        let day = AllowedHours::new(9, 17).unwrap();
        assert!(day.contains(at(9, 0)) && day.contains(at(17, 59)) && !day.contains(at(8, 59)) && !day.contains(at(18, 0)));
        let night = AllowedHours::new(22, 5).unwrap();
        assert!(night.contains(at(22, 0)) && night.contains(at(0, 0)) && night.contains(at(5, 59)));
        assert!(!night.contains(at(6, 0)) && !night.contains(at(21, 59)));
        let one = AllowedHours::new(3, 3).unwrap();
        assert!(one.contains(at(3, 30)) && !one.contains(at(4, 0)));
        assert!(night.contains(datetime!(2026-01-02 01:00 +3)), "in UTC it is 22:00");
        assert_eq!(AllowedHours::new(0, 24).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
