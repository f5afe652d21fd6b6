//! Two sites that pair permanently: one of them says what the other may pull, approves it, and ends it.

use std::path::Path;

use rowferry::Server;
use rowferry::{
    ApprovalMode, ConnectOptions, ConnectionStatus, DeliveryOutcome, Error, ErrorKind, NewConnection, Policy, PullOptions,
    RegisterOutcome, Report, Result, Site, TableReport,
};

use super::Demo;

/// What the other site may pull, and of these what it must ask for.
const FREE: &str = "countries";
const ASKED_FOR: &str = "customers";

/// A step of the two sites, and what came of it.
pub struct Line {
    pub doing: &'static str,
    pub outcome: String,
    /// What should have come of it.
    pub expected: String,
}

impl Line {
    pub fn is_right(&self) -> bool {
        self.outcome == self.expected
    }
}

/// Lets the shop and a site in a new database at this path go through it all.
pub fn run(demo: &Demo, path: &Path) -> Result<Vec<Line>> {
    let (shop, paired) = (&demo.shop, Site::open(path)?);
    let server = Server::bind(&paired, "127.0.0.1:0")?.spawn()?;
    for (site, url) in [(shop, demo.server.url()), (&paired, server.url())] {
        site.settings().set_site_url(url)?;
        // Both are on this machine: stored URLs lead to such addresses only where that is allowed.
        site.settings().set_allow_internal_urls(true)?;
    }
    let mut lines = Vec::new();
    let mut line = |doing, outcome: String, expected: &str| {
        lines.push(Line { doing, outcome, expected: expected.to_owned() });
    };
    let connect = || ConnectOptions::default().cancel_token(demo.cancel.clone());
    let notifier = shop.notifier(connect()).by("the shop");
    let (shops, theirs) = (shop.connections().by("the shop"), paired.connections().by("the backup"));

    let mut policy = Policy::default();
    policy.approval_mode = ApprovalMode::PerTable;
    policy.allowed_tables = vec![FREE.to_owned(), ASKED_FOR.to_owned()];
    policy.auto_approve_tables = vec![FREE.to_owned()];
    let made = shops.create(NewConnection::sender("Backup", server.url()).policy(policy))?;
    let registered = notifier.register(made.connection.uuid, &made.token, None)?;
    line("the shop connects the backup", registered.outcome.to_string(), RegisterOutcome::Pending.as_str());

    let uuid = registered.remote_uuid.ok_or_else(|| Error::new(ErrorKind::Incomplete, registered.message))?;
    line("the backup approves it", theirs.approve(uuid)?.status.to_string(), ConnectionStatus::Active.as_str());

    let pull = || paired.pull(uuid, connect(), PullOptions::new().initiated_by("the backup").cancel(demo.cancel.clone()));
    let first = pull()?;
    let table = |report: &Report, name: &str| report.table(name).map_or("not there".to_owned(), outcome);
    line("a pull of what is free", table(&first, FREE), "completed");
    line("... and of what is not", table(&first, ASKED_FOR), ErrorKind::ApprovalRequired.code());
    // The table may be there: only its rows wait.
    let rows = if paired.table_exists(ASKED_FOR)? { paired.get_count(ASKED_FOR)? } else { 0 };
    line("... brings no row of that", format!("{rows} rows"), "0 rows");

    let waiting = first.table(ASKED_FOR).and_then(|table| table.approval);
    let waiting = waiting.ok_or_else(|| Error::new(ErrorKind::Incomplete, "no transfer waits for approval"))?;
    shop.transfers().by("the shop").approve(waiting)?;
    let second = pull()?;
    line("the shop approves, and it is pulled", table(&second, ASKED_FOR), "completed");
    let equal = shop.table_checksum(ASKED_FOR)? == paired.table_checksum(ASKED_FOR)?;
    line("... row for row", if equal { "equal" } else { "different" }.to_owned(), "equal");

    shops.suspend(made.connection.uuid, Some("the demo is over"))?;
    let told = notifier.deliver_to(made.connection.uuid)?;
    let told = told.messages.first().map_or("nothing was sent".to_owned(), |message| message.outcome.to_string());
    line("the shop suspends it, and says so", told, DeliveryOutcome::Sent.as_str());
    line("... which the backup heard", theirs.get(uuid)?.status.to_string(), ConnectionStatus::Suspended.as_str());
    let refused = pull().map_or_else(|error| error.code(), |_| "pulled all the same");
    line("... and pulls no more", refused.to_owned(), ErrorKind::ConnectionNotActive.code());
    server.stop();
    Ok(lines)
}

fn outcome(table: &TableReport) -> String {
    table.error.as_ref().map_or_else(|| table.status.as_str(), Error::code).to_owned()
}
