//! What the demo tells a person.

use std::path::Path;
use std::time::Duration;

use rowferry::{Report, Strategy, TableStatus};

use super::check::Counts;
use super::data::{AWKWARD, TABLES};
use super::pair::Line;
use crate::args::site::DemoArgs;
use crate::commands::size;
use crate::failure::Failure;
use crate::output::{Out, Table, grouped};

/// One pull, and what was found out about it.
pub struct Step {
    name: String,
    tables: Vec<TableLine>,
    /// What is not as it should be with the pull as a whole.
    wrong: Vec<String>,
    records: u64,
    bytes: u64,
    time: Duration,
}

struct TableLine {
    table: &'static str,
    counts: Counts,
    right: bool,
    equal: bool,
    wrong: Vec<String>,
}

impl Step {
    pub fn new(name: &str, report: &Report, references_hold: bool) -> Self {
        let mut wrong = Vec::new();
        if report.tables.len() != TABLES.len() {
            wrong.push(format!("{} tables were pulled instead of {}", report.tables.len(), TABLES.len()));
        }
        if !report.one_state {
            wrong.push("the rows are not of one state of the shop, though nobody changed it meanwhile".to_owned());
        }
        if !references_hold {
            wrong.push("there are references to rows that do not exist".to_owned());
        }
        let (records, bytes, time) = (report.records, report.bytes, report.duration);
        Step { name: name.to_owned(), tables: Vec::new(), wrong, records, bytes, time }
    }

    /// Adds a table: what the report says became of its records is held against what should have.
    pub fn table(&mut self, table: &'static str, report: &Report, expected: Counts, equal: bool) {
        let mut wrong = Vec::new();
        let mut counts = Counts::default();
        match report.table(table) {
            None => wrong.push("it was not pulled".to_owned()),
            Some(pulled) => {
                let outcome = &pulled.outcome;
                counts = Counts {
                    created: outcome.created,
                    updated: outcome.updated,
                    unchanged: outcome.unchanged,
                    skipped: outcome.skipped,
                };
                if let Some(error) = &pulled.error {
                    wrong.push(format!("it is {}: {error}", pulled.status.as_str()));
                } else if pulled.status != TableStatus::Completed {
                    wrong.push(format!("it is {}", pulled.status.as_str()));
                }
                if let Some(failure) = outcome.failures.first() {
                    wrong.push(format!("{} records failed, the first one because {}", outcome.failed, failure.message));
                }
            }
        }
        let right = counts == expected;
        if !right {
            wrong.push(format!("{} instead of {}", text(&counts), text(&expected)));
        }
        if !equal {
            wrong.push("its content is not what it should be".to_owned());
        }
        self.tables.push(TableLine { table, counts, right, equal, wrong });
    }

    /// All that is not as it should be, as sentences.
    pub fn differences(&self) -> Vec<String> {
        let whole = self.wrong.iter().map(|what| format!("{}: {what}", self.name));
        let tables = self
            .tables
            .iter()
            .flat_map(|line| line.wrong.iter().map(|what| format!("{}, table {:?}: {what}", self.name, line.table)));
        whole.chain(tables).collect()
    }

    fn print(&self, out: &mut Out) -> Result<(), Failure> {
        let mut table = Table::new(["table", ">created", ">updated", ">unchanged", ">skipped", "counts", "content"]);
        let mut sum = Counts::default();
        for line in &self.tables {
            let verdict = [if line.right { "right" } else { "WRONG" }, if line.equal { "equal" } else { "DIFFERENT" }];
            table.row(std::iter::once(line.table.to_owned()).chain(numbers(&line.counts)).chain(verdict.map(String::from)));
            sum.created += line.counts.created;
            sum.updated += line.counts.updated;
            sum.unchanged += line.counts.unchanged;
            sum.skipped += line.counts.skipped;
        }
        table.row(std::iter::once("all".to_owned()).chain(numbers(&sum)).chain([String::new(), String::new()]));
        out.say_table(&table)?;
        let seconds = self.time.as_secs_f64();
        let speed = (self.records as f64 / seconds.max(0.001)) as u64;
        let (records, bytes) = (grouped(self.records), size(self.bytes));
        out.say(format!("  {records} records, {bytes} in {seconds:.2} s: {} records per second.", grouped(speed)))?;
        out.say("")
    }
}

fn numbers(counts: &Counts) -> [String; 4] {
    [counts.created, counts.updated, counts.unchanged, counts.skipped].map(grouped)
}

fn text(counts: &Counts) -> String {
    let Counts { created, updated, unchanged, skipped } = counts;
    format!("{created} created, {updated} updated, {unchanged} unchanged, {skipped} skipped")
}

pub fn intro(args: &DemoArgs, folder: &Path, out: &mut Out) -> Result<(), Failure> {
    out.say("rowferry demo")?;
    out.say("")?;
    out.say(format!("A made-up shop of about {} rows is served on this machine and pulled", grouped(args.rows.into())))?;
    out.say("over a real socket, each time with a code that works once. Its tables have foreign keys,")?;
    out.say("to themselves and in a circle too; unique keys; a key of two columns and none; blobs; names")?;
    out.say(format!("from all over the world; and one is called {AWKWARD}"))?;
    out.say(format!("The databases are in {}", folder.display()))?;
    out.say("")
}

pub fn first(step: &Step, out: &mut Out) -> Result<(), Failure> {
    out.say("1. Pull everything into a new database. \"equal\": row for row, byte for byte.")?;
    out.say("")?;
    step.print(out)
}

pub fn changes(out: &mut Out) -> Result<(), Failure> {
    out.say("2. Change both: rows are updated, added, emptied and deleted in the shop and in the backup,")?;
    out.say("   some of them the same ones; two departments swap their heads. Then pull again, with")?;
    out.say("   each strategy into a copy of its own. \"right\" and \"equal\": what plain SQL on the files says.")?;
    out.say("")
}

pub fn again(step: &Step, strategy: Strategy, out: &mut Out) -> Result<(), Failure> {
    out.say(match strategy {
        Strategy::Skip => "3. skip: rows that are here stay as they are, new ones come.",
        Strategy::Overwrite => "4. overwrite: rows that are here become what they are in the shop.",
        Strategy::Merge => "5. merge: the same, but what is empty in the shop empties nothing here.",
        _ => {
            "6. append: every record becomes a new row with a new key, and what refers to it follows; only what\n   \
             a unique key knows already is skipped. For the table stock, skip was chosen."
        }
    })?;
    out.say("")?;
    step.print(out)
}

pub fn trouble(lines: &[Line], out: &mut Out) -> Result<(), Failure> {
    out.say("7. What goes wrong: a table of the backup refuses a record; a pull is cancelled in the middle.")?;
    print(lines, out)
}

pub fn paired(lines: &[Line], out: &mut Out) -> Result<(), Failure> {
    out.say("8. Pair two sites permanently: the shop lets the backup pull two tables, one of them only when asked.")?;
    print(lines, out)
}

/// The steps, each with what came of it.
fn print(lines: &[Line], out: &mut Out) -> Result<(), Failure> {
    out.say("")?;
    let mut table = Table::new(["step", "outcome", ""]);
    for line in lines {
        table.row([line.doing, &line.outcome, if line.is_right() { "right" } else { "WRONG" }]);
    }
    out.say_table(&table)?;
    out.say("")
}

/// What is not as it should be with such a step.
pub fn difference(line: &Line) -> String {
    format!("{}: {} instead of {}", line.doing, line.outcome, line.expected)
}

pub fn outcome(
    steps: &[Step],
    differences: &[String],
    time: Duration,
    kept: Option<&Path>,
    out: &mut Out,
) -> Result<(), Failure> {
    let records: u64 = steps.iter().map(|step| step.records).sum();
    let (pulls, seconds) = (steps.len(), time.as_secs_f64());
    match differences {
        [] => out.say(format!(
            "Everything is as it should be: {pulls} pulls of the whole shop with {} records, and the other steps; {seconds:.1} s with all \
             checks.",
            grouped(records)
        ))?,
        _ => {
            out.line("Not as it should be:")?;
            differences.iter().try_for_each(|what| out.line(format!("  {what}")))?;
        }
    }
    match kept {
        Some(folder) => out.line(format!(
            "The databases stay in {}: shop.db, backup.db, refused.db, resumed.db, paired.db, and one for each strategy.",
            folder.display()
        )),
        None => Ok(()),
    }
}
