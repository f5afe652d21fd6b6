//! What a pull does before the first row is asked for: which tables, what they look like, what is made of them here.

use std::collections::{HashMap, HashSet};

use super::order::groups;
use super::pull::{Job, Pull};
use super::resume::Earlier;
use super::wait::Allowance;
use super::{TableReport, TableStatus};
use crate::domain::names::is_reserved;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::import::{Checkpoint, Transaction};
use crate::plan::follow::link;
use crate::plan::meet::keys_may_meet;
use crate::plan::order::needs_stage;
use crate::plan::table::plan_table;
use crate::plan::{AppendRules, Identity, TablePlan};
use crate::store::{NewTable, Writer};

/// The reference system's own state: its server offers these tables, hashes of secrets included. They are pulled only when
/// they are named.
const REFERENCE_STATE: [&str; 2] = ["phoenix_kit_sync_connections", "phoenix_kit_sync_transfers"];

/// Tables that are pulled together.
pub(super) struct Group {
    /// Their positions among the jobs.
    pub(super) jobs: Vec<usize>,
    /// Whether they refer to each other or to themselves, so that references can be checked only when all rows are there.
    pub(super) deferred: bool,
    /// Whether their rows wait in stages until all are there.
    pub(super) staged: bool,
}

impl Pull<'_, '_> {
    /// Finds out which tables to pull and what they look like. Those that cannot be pulled are told apart.
    pub(super) fn inspect(&mut self) -> Result<()> {
        let offered = self.ask(|source, patience| source.tables(patience))?;
        let mut failed: Vec<(String, TableReport)> = Vec::new();
        let wanted: Vec<String> = match &self.options.tables {
            Some(names) => names.clone(),
            None => {
                let own_state = |name: &str| REFERENCE_STATE.contains(&name) && !self.source.is_rowferry();
                offered.iter().map(|table| table.name.clone()).filter(|name| !own_state(name)).collect()
            }
        };
        let counts: HashMap<&str, u64> = offered.iter().map(|table| (table.name.as_str(), table.row_count)).collect();
        if let Some(name) = self.options.table_strategies.keys().find(|name| !wanted.contains(name)) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a strategy is given for {name:?}, which is not pulled"),
            )
            .with_hint("Strategies per table go by the sender's names of the tables that are pulled."));
        }
        // Names as they are written, and as they are compared here.
        let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
        for name in wanted {
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(announced) = counts.get(name.as_str()).copied() else {
                let error = Error::new(ErrorKind::TableNotFound, format!("the other site offers no table {name:?}"))
                    .with_hint("Names are compared exactly: see the list of tables.");
                failed.push((name, TableReport::failed(error)));
                continue;
            };
            if is_reserved(&name) {
                let error = Error::new(ErrorKind::ReservedName, format!("a table named {name:?} is not pulled"))
                    .with_hint("Names that begin with sqlite_, rowferry_ or pg_ are reserved.");
                failed.push((name, TableReport::failed(error)));
                continue;
            }
            if !taken.insert(self.names.fold(&name).into_owned()) {
                let message = format!("the other site has two tables named like {name:?}, which are one name here");
                let error = Error::new(ErrorKind::SchemaMismatch, message)
                    .with_hint("Names are compared without case here: pull only one of them, or rename one there.");
                failed.push((name, TableReport::failed(error)));
                continue;
            }
            self.allowance = Allowance::new(self.limits.rate_wait_time);
            match self.ask(|source, patience| source.schema(&name, patience)) {
                Ok(sender) => self.jobs.push(Job {
                    name,
                    sender,
                    announced,
                    allowance: std::mem::take(&mut self.allowance),
                    plan: None,
                    create: None,
                    follows: false,
                    stage: None,
                    mark: Checkpoint::new("", Strategy::default(), String::new(), announced),
                    earlier: Earlier::default(),
                    received: 0,
                    bytes: 0,
                    report: TableReport::default(),
                }),
                Err(error) => failed.push((name, TableReport::failed(error))),
            }
        }
        self.not_inspected = failed;
        Ok(())
    }

    /// Makes missing tables and plans each one. Gives the groups in the order in which they are pulled.
    pub(super) fn prepare(&mut self) -> Vec<Group> {
        let senders: Vec<TableSchema> = self.jobs.iter().map(|job| job.sender.clone()).collect();
        self.plan_tables(&senders).unwrap_or_else(|error| {
            // The database cannot be read or written: it fails for all of them.
            for job in &mut self.jobs {
                job.plan = None;
                job.report = TableReport::failed(error.copy());
            }
            self.groups()
        })
    }

    fn groups(&self) -> Vec<Group> {
        let references = self.references();
        let groups = groups(&references, self.names, self.source.is_rowferry());
        let needs_all = |at: &usize| self.jobs[*at].plan.as_ref().is_some_and(|plan| plan.identity == Identity::WholeRow);
        let group = |jobs: Vec<usize>| {
            let deferred = needs_stage(&jobs, &references, self.names);
            let staged = deferred || self.options.dry_run || jobs.iter().any(needs_all);
            Group { deferred, staged, jobs }
        };
        groups.into_iter().map(group).collect()
    }

    /// The tables with what decides their order: the sender's columns, and the foreign keys of both sides. Those that are
    /// enforced here say what must be there first; those of the sender say who follows whose new keys. All names are compared as
    /// they are compared here.
    fn references(&self) -> Vec<TableSchema> {
        let table = |job: &Job| {
            let mut table = job.sender.clone();
            table.deferred = job.plan.as_ref().is_some_and(|plan| plan.table.deferred);
            table.foreign_keys.extend(job.plan.iter().flat_map(|plan| plan.table.foreign_keys.iter().cloned()));
            table
        };
        self.jobs.iter().map(table).collect()
    }

    fn plan_tables(&mut self, senders: &[TableSchema]) -> Result<Vec<Group>> {
        let mut writer = self.import.open()?;
        for at in 0..self.jobs.len() {
            if self.jobs[at].report.status == TableStatus::Failed {
                continue;
            }
            let (sender, name) = (&senders[at], self.jobs[at].name.clone());
            let local = match writer.schema(&name)? {
                Some(local) => Ok(local),
                None => self.create(&mut *writer, at, sender, senders)?,
            };
            let plan = local
                .and_then(|local| plan_table(sender, &local, self.options.strategy_of(&name), self.options.extra_columns));
            match plan {
                Ok(mut plan) => {
                    // Nothing came to a table that is made only now.
                    let again = self.options.append_again || self.jobs[at].create.is_some();
                    plan.append = AppendRules { again, on_taken_key: self.options.on_taken_key };
                    // A reference sender does not tell its keys over HTTP.
                    let tells_key = self.source.is_rowferry() || !sender.primary_key.is_empty();
                    plan.keys_may_meet = tells_key && keys_may_meet(sender, &plan);
                    self.jobs[at].plan = Some(plan);
                }
                Err(error) => self.jobs[at].report = TableReport::failed(error),
            }
        }
        let (jobs, mut plans): (Vec<usize>, Vec<TablePlan>) =
            self.jobs.iter_mut().enumerate().filter_map(|(at, job)| Some((at, job.plan.take()?))).unzip();
        let planned: Vec<TableSchema> = jobs.iter().map(|at| senders[*at].clone()).collect();
        let parents = planned.iter().chain(plans.iter().map(|plan| &plan.table)).flat_map(|table| &table.foreign_keys);
        let named = parents.map(|key| key.parent.as_str()).chain(plans.iter().map(|plan| plan.table.name.as_str()));
        let known = self.import.known_rows(&mut *writer, named)?;
        link(&mut plans, &planned, &known);
        for (at, plan) in jobs.into_iter().zip(plans) {
            self.jobs[at].plan = Some(plan);
        }
        // A dry run makes the tables again, inside of the transaction that it does not commit.
        if self.options.dry_run {
            drop(writer);
            writer = self.import.open()?;
        }
        let groups = self.groups();
        let (sender, wanted) = (self.sender.clone(), self.wanted());
        let found = self.import.begin(&mut *writer, sender.as_deref(), &wanted)?;
        self.settle(&mut *writer, &groups, found)?;
        writer.commit()?;
        Ok(groups)
    }

    /// Makes a missing table. The outer error is the database's, the inner one this table's.
    fn create(
        &mut self,
        writer: &mut dyn Writer,
        at: usize,
        sender: &TableSchema,
        senders: &[TableSchema],
    ) -> Result<Result<TableSchema>> {
        if self.options.keep_missing_tables {
            let error = Error::new(ErrorKind::TableNotFound, format!("there is no table {:?} here", sender.name));
            return Ok(Err(error.with_hint("Make it first, or let missing tables be created.")));
        }
        writer.savepoint()?;
        let made = self.make(writer, sender, senders).and_then(|notes| Ok((notes, writer.schema(&sender.name)?)));
        let (notes, made) = match made {
            Ok((notes, Some(made))) => {
                writer.release()?;
                (notes, made)
            }
            failed => {
                writer.rollback_to()?;
                let missing =
                    || Error::new(ErrorKind::Database, format!("the table {:?} was made and is not there", sender.name));
                return Ok(Err(failed.err().unwrap_or_else(missing)));
            }
        };
        let report = &mut self.jobs[at].report;
        report.created_table = true;
        report.notes = notes;
        self.jobs[at].create = Some(made.clone());
        Ok(Ok(made))
    }

    /// Makes a table like the sender's; gives what was left out.
    fn make(&self, writer: &mut dyn Writer, sender: &TableSchema, senders: &[TableSchema]) -> Result<Vec<String>> {
        let names = self.names;
        let parents = |name: &str| senders.iter().find(|sender| names.same(&sender.name, name)).cloned();
        writer.create_table(&NewTable { schema: sender, exact: self.source.is_rowferry(), parents: &parents })
    }

    /// The same in a dry run, which makes its tables again.
    pub(super) fn create_again(&self, tx: &mut Transaction, sender: &TableSchema, senders: &[TableSchema]) -> Result<()> {
        self.make(tx.writer(), sender, senders).map(|_| ())
    }
}
