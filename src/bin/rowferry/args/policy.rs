//! What a connection allows, as it is typed.

use clap::Args;
use rowferry::{AddressRange, AllowedHours, ApprovalMode, Policy, Strategy};
use time::OffsetDateTime;

use crate::values::{Change, count, date, hours_of_day, list, or_none, word};

/// A flag for every field of a policy. What is not given stays as it is.
#[derive(Debug, Args)]
#[group(skip)]
#[command(next_help_heading = "What it allows (`none` takes a limit or a list away)")]
pub struct PolicyArgs {
    /// Whether someone must approve each pull [at first: auto_approve]
    ///
    /// Of no table, of every table, or of all but the --auto-approve-tables.
    #[arg(long, value_parser = word(ApprovalMode::ALL, ApprovalMode::as_str), hide_possible_values = true,
        value_name = "auto_approve|require_approval|per_table")]
    pub approval_mode: Option<ApprovalMode>,

    /// The only tables that may be pulled
    ///
    /// A name with a comma in it goes into "double quotes".
    #[arg(long, value_name = "TABLE,..", value_parser = or_none(list::<String>))]
    pub allowed_tables: Option<Change<Vec<String>>>,

    /// Tables that may not be pulled and are not shown
    #[arg(long, value_name = "TABLE,..", value_parser = or_none(list::<String>))]
    pub excluded_tables: Option<Change<Vec<String>>>,

    /// Tables whose pulls need no approval
    ///
    /// With --approval-mode per_table, for a sender.
    #[arg(long, value_name = "TABLE,..", value_parser = or_none(list::<String>))]
    pub auto_approve_tables: Option<Change<Vec<String>>>,

    /// From when on it no longer works
    ///
    /// A date (its beginning, UTC), or a moment like 2030-01-31T18:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = or_none(date))]
    pub expires_at: Option<Change<OffsetDateTime>>,

    /// How many pulls of a table there may be in all (of a sender)
    #[arg(long, value_name = "N", value_parser = or_none(count))]
    pub max_downloads: Option<Change<u64>>,

    /// How many records may be pulled in all
    #[arg(long, value_name = "N", value_parser = or_none(count))]
    pub max_records_total: Option<Change<u64>>,

    /// Most records in one answer [at first: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_records_per_request: Option<u64>,

    /// Most calls per minute [at first: 60]
    ///
    /// Calls, and pulls of a table. For a sender.
    #[arg(
        long,
        visible_alias = "rate-limit-requests-per-minute",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub rate_limit: Option<u32>,

    /// The only addresses that may use it, like 10.0.0.0/8 (of a sender)
    #[arg(long, value_name = "CIDR,..", value_parser = or_none(list::<AddressRange>))]
    pub ip_whitelist: Option<Change<Vec<AddressRange>>>,

    /// The only hours of the day: 22-5 is from 22:00 to 05:59, UTC
    #[arg(long, value_name = "FROM-TO", value_parser = or_none(hours_of_day))]
    pub allowed_hours: Option<Change<AllowedHours>>,

    /// The first of those hours, instead of --allowed-hours
    #[arg(long, value_name = "HOUR", requires = "allowed_hours_end", conflicts_with = "allowed_hours",
        value_parser = clap::value_parser!(u8).range(..=23))]
    pub allowed_hours_start: Option<u8>,

    /// The last of those hours, which belongs to them
    #[arg(long, value_name = "HOUR", requires = "allowed_hours_start", conflicts_with = "allowed_hours",
        value_parser = clap::value_parser!(u8).range(..=23))]
    pub allowed_hours_end: Option<u8>,

    /// The strategy of pulls that name none [at first: skip]
    #[arg(long, value_parser = word(Strategy::ALL, Strategy::as_str), hide_possible_values = true,
        value_name = "skip|overwrite|merge|append")]
    pub default_conflict_strategy: Option<Strategy>,

    /// Whether tables are to be pulled regularly
    ///
    /// Kept for a later version: nothing pulls by itself yet.
    #[arg(
        long,
        visible_alias = "auto-sync-enabled",
        value_name = "true|false",
        hide_possible_values = true,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub auto_sync: Option<bool>,

    /// The tables that are to be pulled regularly
    #[arg(long, value_name = "TABLE,..", value_parser = or_none(list::<String>))]
    pub auto_sync_tables: Option<Change<Vec<String>>>,

    /// Every how many minutes [at first: 60]
    #[arg(
        long,
        visible_alias = "auto-sync-interval-minutes",
        value_name = "MINUTES",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub auto_sync_interval: Option<u32>,
}

impl PolicyArgs {
    /// The hours that were typed, in either way.
    pub fn hours(&self) -> rowferry::Result<Option<Change<AllowedHours>>> {
        match (self.allowed_hours_start, self.allowed_hours_end) {
            (Some(start), Some(end)) => Ok(Some(Change::To(AllowedHours::new(start, end)?))),
            // clap takes both or none.
            _ => Ok(self.allowed_hours.clone()),
        }
    }

    /// Puts what was typed into a policy, with the [hours](PolicyArgs::hours).
    pub fn apply(&self, policy: &mut Policy, hours: &Option<Change<AllowedHours>>) {
        fn set<T: Clone>(field: &mut T, given: &Option<T>) {
            if let Some(value) = given {
                field.clone_from(value);
            }
        }
        fn limit<T: Copy>(field: &mut Option<T>, given: &Option<Change<T>>) {
            if let Some(change) = given {
                *field = change.value().copied();
            }
        }
        fn names<T: Clone>(field: &mut Vec<T>, given: &Option<Change<Vec<T>>>) {
            if let Some(change) = given {
                *field = change.value().cloned().unwrap_or_default();
            }
        }
        set(&mut policy.approval_mode, &self.approval_mode);
        names(&mut policy.allowed_tables, &self.allowed_tables);
        names(&mut policy.excluded_tables, &self.excluded_tables);
        names(&mut policy.auto_approve_tables, &self.auto_approve_tables);
        limit(&mut policy.expires_at, &self.expires_at);
        limit(&mut policy.max_downloads, &self.max_downloads);
        limit(&mut policy.max_records_total, &self.max_records_total);
        set(&mut policy.max_records_per_request, &self.max_records_per_request);
        set(&mut policy.rate_limit_requests_per_minute, &self.rate_limit);
        names(&mut policy.ip_whitelist, &self.ip_whitelist);
        limit(&mut policy.allowed_hours, hours);
        set(&mut policy.default_conflict_strategy, &self.default_conflict_strategy);
        set(&mut policy.auto_sync_enabled, &self.auto_sync);
        names(&mut policy.auto_sync_tables, &self.auto_sync_tables);
        set(&mut policy.auto_sync_interval_minutes, &self.auto_sync_interval);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use time::macros::datetime;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn typed(words: &[&str], policy: &mut Policy) {
        let typed = Typed::try_parse_from(["rowferry"].iter().chain(words)).unwrap().policy;
        typed.apply(policy, &typed.hours().unwrap());
    }

    #[test]
    fn every_field_is_set_and_what_can_be_taken_away_is() {
        let mut policy = Policy::default();
        typed(&[], &mut policy);
        assert_eq!(policy, Policy::default());
        let all = "--approval-mode per_table --allowed-tables a,b --excluded-tables c --auto-approve-tables a \
                   --expires-at 2030-01-31 --max-downloads 3 --max-records-total 4 --max-records-per-request 5 --rate-limit 6 \
                   --ip-whitelist 10.0.0.0/8,::1 --allowed-hours 22-5 --default-conflict-strategy merge --auto-sync \
                   --auto-sync-tables a --auto-sync-interval 7";
        typed(&all.split_whitespace().collect::<Vec<_>>(), &mut policy);
        let mut expected = Policy::default();
        expected.approval_mode = ApprovalMode::PerTable;
        expected.allowed_tables = vec!["a".into(), "b".into()];
        expected.excluded_tables = vec!["c".into()];
        expected.auto_approve_tables = vec!["a".into()];
        expected.expires_at = Some(datetime!(2030-01-31 00:00 UTC));
        expected.max_downloads = Some(3);
        expected.max_records_total = Some(4);
        expected.max_records_per_request = 5;
        expected.rate_limit_requests_per_minute = 6;
        expected.ip_whitelist = vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        expected.allowed_hours = Some(AllowedHours::new(22, 5).unwrap());
        expected.default_conflict_strategy = Strategy::Merge;
        expected.auto_sync_enabled = true;
        expected.auto_sync_tables = vec!["a".into()];
        expected.auto_sync_interval_minutes = 7;
        assert_eq!(policy, expected);

        let cleared = "--allowed-tables none --excluded-tables none --auto-approve-tables none --expires-at none \
                       --max-downloads none --max-records-total none --ip-whitelist none --allowed-hours none \
                       --auto-sync false --auto-sync-tables none --approval-mode auto_approve --max-records-per-request 10000 \
                       --rate-limit 60 --default-conflict-strategy skip --auto-sync-interval 60";
        typed(&cleared.split_whitespace().collect::<Vec<_>>(), &mut policy);
        assert_eq!(policy, Policy::default());
    }
    #[test]
    fn the_names_of_the_fields_are_taken_too() {
        let mut policy = Policy::default();
        let all = "--rate-limit-requests-per-minute 6 --allowed-hours-start 22 --allowed-hours-end 5 --auto-sync-enabled \
                   --auto-sync-interval-minutes 7";
        typed(&all.split_whitespace().collect::<Vec<_>>(), &mut policy);
        assert_eq!((policy.rate_limit_requests_per_minute, policy.auto_sync_interval_minutes), (6, 7));
        assert_eq!((policy.allowed_hours, policy.auto_sync_enabled), (Some(AllowedHours::new(22, 5).unwrap()), true));
        for bad in [
            "--allowed-hours-start 22",
            "--allowed-hours-end 5",
            "--allowed-hours-start 22 --allowed-hours-end 24",
            "--allowed-hours-start 22 --allowed-hours-end 5 --allowed-hours none",
        ] {
            assert!(Typed::try_parse_from(["rowferry"].into_iter().chain(bad.split(' '))).is_err(), "{bad}");
        }
    }
}
