//! `rowferry demo`: all of it at work on two databases that it makes, with every row checked.

mod check;
mod data;
mod pair;
mod report;
pub mod scratch;
mod trouble;

use std::path::{Path, PathBuf};
use std::time::Instant;

use rowferry::{Auth, Client};
use rowferry::{CancelToken, ConnectOptions, Direction, Error, ErrorKind, PullOptions, Report, Result, Site, Strategy};
use rowferry::{Server, ServerHandle};

use self::check::{AFTER, Check, Counts, SHOP};
use self::data::TABLES;
use self::report::Step;
use self::scratch::Scratch;
use crate::args::site::DemoArgs;
use crate::commands::cancelled_by_signals;
use crate::failure::{Done, Failure};
use crate::output::Out;
use crate::progress::Bar;

pub fn run(args: &DemoArgs, out: &mut Out) -> Result<Done, Failure> {
    let began = Instant::now();
    // Before there is something to clean up.
    let cancel = cancelled_by_signals()?;
    let scratch = Scratch::new()?;
    if args.keep {
        scratch.keep();
    }
    report::intro(args, scratch.folder(), out)?;
    let demo = Demo::start(&scratch, args.rows, cancel)?;
    let backup = scratch.path("backup.db");
    let first = demo.first_pull(&backup)?;
    report::first(&first, out)?;

    data::change_shop(&demo.shop_path)?;
    data::change_backup(&backup)?;
    report::changes(out)?;
    let mut steps = vec![first];
    for strategy in Strategy::ALL.iter().copied() {
        let step = demo.pull_again(&backup, &scratch.path(&format!("{strategy}.db")), strategy)?;
        report::again(&step, strategy, out)?;
        steps.push(step);
    }
    let mut lines = trouble::run(&demo, &scratch.path("refused.db"), &scratch.path("resumed.db"))?;
    report::trouble(&lines, out)?;
    let paired = pair::run(&demo, &scratch.path("paired.db"))?;
    report::paired(&paired, out)?;
    lines.extend(paired);
    demo.server.stop();
    let mut differences: Vec<String> = steps.iter().flat_map(Step::differences).collect();
    differences.extend(lines.iter().filter(|line| !line.is_right()).map(report::difference));
    report::outcome(&steps, &differences, began.elapsed(), args.keep.then(|| scratch.folder()), out)?;
    match differences.len() {
        0 => Ok(Done::Whole),
        count => {
            let message = format!("{count} things are not as they should be: see the report");
            Err(Error::new(ErrorKind::Incomplete, message).into())
        }
    }
}

/// The shop, being served.
struct Demo {
    shop_path: PathBuf,
    shop: Site,
    server: ServerHandle,
    cancel: CancelToken,
}

impl Demo {
    fn start(scratch: &Scratch, rows: u32, cancel: CancelToken) -> Result<Self> {
        let shop_path = scratch.path("shop.db");
        data::make_shop(&shop_path, rows, &cancel)?;
        let shop = Site::open(&shop_path)?;
        let server = Server::bind(&shop, "127.0.0.1:0")?.spawn()?;
        Ok(Demo { shop_path, shop, server, cancel })
    }

    /// Pulls all tables over the socket, with a code made for it.
    fn pull(&self, target: &Site, options: PullOptions<'_>) -> Result<Report> {
        let session = self.shop.sessions().create(Direction::Send)?;
        let connect = ConnectOptions::default().cancel_token(self.cancel.clone());
        let client = Client::connect(self.server.url(), Auth::code(session.code()), connect)?;
        let bar = Bar::new(false);
        let options = options.cancel(self.cancel.clone()).on_progress(|progress| bar.show(progress));
        let report = client.pull(target, options)?;
        self.cancel.check("pulling")?;
        Ok(report)
    }

    /// Pulls into a database that does not exist yet.
    fn first_pull(&self, backup: &Path) -> Result<Step> {
        let site = Site::open(backup)?;
        let report = self.pull(&site, PullOptions::new())?;
        let check = Check::open(&self.shop_path, backup, backup)?;
        let mut step = Step::new("the first pull", &report, check.references_hold()?);
        for table in &TABLES {
            self.cancel.check("checking")?;
            let counts = Counts { created: check.rows(SHOP, table)?, ..Counts::default() };
            let digests = self.shop.table_checksum(table.name)? == site.table_checksum(table.name)?;
            step.table(table.name, &report, counts, digests && check.same(table, SHOP, AFTER)?);
        }
        Ok(step)
    }

    /// Pulls into a copy of the backup.
    fn pull_again(&self, backup: &Path, copy: &Path, strategy: Strategy) -> Result<Step> {
        data::open(backup)?.execute("VACUUM INTO ?1", [&*copy.to_string_lossy()]).map_err(failed)?;
        let site = Site::open(copy)?;
        let mut options = PullOptions::new().strategy(strategy);
        if strategy == Strategy::Append {
            // Its key cannot be replaced: what is in a warehouse already stays as it is.
            options = options.table_strategy("stock", Strategy::Skip);
        }
        let report = self.pull(&site, options)?;
        let check = Check::open(&self.shop_path, backup, copy)?;
        let mut step = Step::new(strategy.as_str(), &report, check.references_hold()?);
        for table in &TABLES {
            self.cancel.check("checking")?;
            let (counts, equal) = check.pulled(table, strategy)?;
            step.table(table.name, &report, counts, equal);
        }
        Ok(step)
    }
}

/// What the demo's own SQL runs into.
fn failed(error: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Database, format!("the demo's own SQL failed: {error}")).with_source(error)
}
