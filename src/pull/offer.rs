//! The first phase of a pull: what the sender offers of what is wanted, and what it looks like.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::context::Context;
use super::wait::Allowance;
use super::wanted::{nothing_to_leave_out, wanted};
use super::{TableReport, parent_names};
use crate::domain::names::{NameRules, is_reserved, nearest};
use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};

/// PhoenixKit's own state: its server offers these tables, hashes of secrets included. They are pulled only when they are named.
const PHOENIX_STATE: [&str; 2] = ["phoenix_kit_sync_connections", "phoenix_kit_sync_transfers"];

/// How many structures are asked for at a time, at most.
const TOGETHER: usize = 64;

/// A table that can be pulled, as far as the sender is concerned.
pub(crate) struct Offered {
    /// The sender's name for it.
    pub(crate) name: String,
    pub(crate) schema: TableSchema,
    pub(crate) announced: u64,
    /// What is left of its time to wait, where the other site counts calls.
    pub(super) allowance: Allowance,
}

/// What the sender offers.
pub(crate) struct Offer {
    pub(crate) tables: Vec<Offered>,
    /// Tables that cannot be pulled, because it is not even known what they look like.
    pub(crate) failed: Vec<TableReport>,
    /// What it says that it does not copy.
    pub(super) not_copied: NotCopied,
    /// Whether that is all that it offers.
    pub(crate) is_all: bool,
    /// What this side leaves out of it, as sentences for the report.
    pub(crate) notes: Vec<String>,
}

/// Finds out which tables to pull and what they look like. Those that cannot be pulled are told apart.
pub(crate) fn ask(cx: &mut Context<'_, '_>) -> Result<Offer> {
    let (offered, not_copied) = cx.ask(|source, patience| source.list(patience))?;
    let names: Vec<&str> = offered.iter().map(|table| table.name.as_str()).collect();
    let own_state = |name: &&str| PHOENIX_STATE.contains(name) && !cx.source.is_rowferry();
    let default = names.iter().copied().filter(|name| !own_state(name)).map(str::to_owned);
    if cx.source.is_by_ticket() {
        refuse_to_leave_out_nothing(cx, &names)?;
    }
    let wanted = wanted(&cx.options, default, &names, cx.source.is_by_ticket())?;
    if wanted.len() > cx.limits.pull.tables {
        return Err(too_many(
            format!("{} tables are wanted, more than {}", wanted.len(), cx.limits.pull.tables),
            "Limits::pull.tables",
        ));
    }
    let counts: HashMap<&str, u64> = offered.iter().map(|table| (table.name.as_str(), table.row_count)).collect();
    let names: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    let is_all = match cx.options.exclude.is_empty() && cx.options.tables.is_none() {
        true => true,
        false => offered.iter().all(|table| names.contains(table.name.as_str())),
    };
    let mut offer = Offer { tables: Vec::new(), failed: Vec::new(), not_copied, is_all, notes: Vec::new() };
    let mut left_out: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let near = |name: &str| nearest(name, offered.iter().map(|table| table.name.as_str()));
    // Names as they are written, and as they are compared here.
    let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
    let mut unknown: VecDeque<(String, u64)> = VecDeque::new();
    let mut of_pull = Vec::new();
    for name in wanted {
        if !seen.insert(name.clone()) {
            continue;
        }
        let announced = counts.get(name.as_str()).copied();
        let forbidden = announced.and_then(|_| cx.forbids(&name));
        if let Some((code, _)) = &forbidden
            && cx.options.tables.is_none()
        {
            left_out.entry(code).or_default().push(name);
            continue;
        }
        if announced.is_some() {
            of_pull.push(name.clone());
        }
        let held_back = if announced.is_none() { held_back(cx, &name) } else { None };
        let refusal = match announced {
            None if held_back.is_some() => held_back,
            None => {
                let (why, hint) = match (offer.not_copied.what_is(&name), near(&name)) {
                    (Some(what), _) => (format!(", where it is {what}"), "Only ordinary tables are pulled.".to_owned()),
                    (None, Some(near)) => (String::new(), format!("Did you mean {near:?}?")),
                    (None, None) => (String::new(), "Names are compared exactly: see the list of tables.".to_owned()),
                };
                let error = Error::new(ErrorKind::TableNotFound, format!("the other site offers no table {name:?}{why}"));
                Some(error.with_hint(hint))
            }
            Some(_) if forbidden.is_some() => forbidden.map(|(_, error)| error),
            Some(_) if is_reserved(&name) => Some(
                Error::new(ErrorKind::ReservedName, format!("a table named {name:?} is not pulled"))
                    .with_hint("Names that begin with sqlite_ or rowferry_ are reserved."),
            ),
            Some(_) if !taken.insert(cx.names.fold(&name).into_owned()) => Some(
                Error::new(
                    ErrorKind::SchemaMismatch,
                    format!("the other site has two tables named like {name:?}, which are one name here"),
                )
                .with_hint("Names are compared without case here: pull only one of them, or rename one there."),
            ),
            Some(_) => None,
        };
        match refusal {
            Some(error) => offer.failed.push(TableReport::failed(&name, error)),
            None => unknown.push_back((name, announced.unwrap_or_default())),
        }
    }
    offer.is_all &= left_out.is_empty();
    offer.notes.extend(left_out.iter().map(|(code, names)| not_wanted(code, names)));
    if cx.options.tables.is_none() && cx.source.is_by_ticket() {
        offer.notes.push(OF_TICKET.to_owned());
    }
    // Also of those that cannot be pulled yet: what resumes this pull with its ticket gets no others.
    cx.source.begins(&of_pull, &cx.patience);
    let mut described: usize = 0;
    while !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().take(TOGETHER).map(|(name, _)| name.clone()).collect();
        cx.allowance = Allowance::new(cx.limits.pull.rate_wait_time);
        for schema in schemas(cx, &names) {
            let Some((name, announced)) = unknown.pop_front() else { break };
            match schema {
                Ok(schema) => {
                    described = described.saturating_add(schema.columns.len()).saturating_add(schema.key_names());
                    if described > cx.limits.pull.names {
                        let most = cx.limits.pull.names;
                        return Err(too_many(
                            format!("the tables up to {name:?} have more than {most} columns and names in keys and indexes"),
                            "Limits::pull.names",
                        ));
                    }
                    let allowance = std::mem::take(&mut cx.allowance);
                    offer.tables.push(Offered { name, schema, announced, allowance });
                    cx.allowance = Allowance::new(cx.limits.pull.rate_wait_time);
                }
                Err(error) => offer.failed.push(TableReport::failed(&name, error)),
            }
        }
    }
    if cx.names == NameRules::Exact {
        parent_names::as_tables(&mut offer.tables);
    }
    Ok(offer)
}

/// What is said where all tables are wanted, and only those of an earlier pull are offered.
const OF_TICKET: &str = "The code is spent, and good for the tables of its first pull only: others of the other site, if there are any, \
                         are left out (ticket_tables). Ask for another code for those.";

/// Why a table is not offered, where that is because of the ticket of this pull; or why it is not known.
fn held_back(cx: &mut Context<'_, '_>, name: &str) -> Option<Error> {
    if !cx.source.is_by_ticket() {
        return None;
    }
    match cx.ask(|source, patience| source.schema(name, patience)) {
        Err(error) if error.kind() == ErrorKind::TableNotAllowed => {
            let why = format!("the code is spent, and its first pull was not of table {name:?}");
            let hint = "A code that is spent is good for the tables of its pull only: ask for another code.";
            Some(Error::new(ErrorKind::TableNotAllowed, why).with_hint(hint))
        }
        Err(error) if error.kind() != ErrorKind::TableNotFound => Some(error),
        _ => None,
    }
}

/// An error if a table is to be left out that the other site does not have. Who comes by a ticket may not be offered all that it has.
fn refuse_to_leave_out_nothing(cx: &mut Context<'_, '_>, offered: &[&str]) -> Result<()> {
    let names: Vec<String> = cx.options.exclude.iter().filter(|name| !offered.contains(&name.as_str())).cloned().collect();
    for name in names {
        match cx.ask(|source, patience| source.schema(&name, patience)) {
            Err(error) if error.kind() == ErrorKind::TableNotFound => return Err(nothing_to_leave_out(&name, offered)),
            _ => {}
        }
    }
    Ok(())
}

/// How many tables a sentence names.
const NAMED: usize = 20;

/// That tables are left out, and why.
fn not_wanted(code: &str, names: &[String]) -> String {
    let mut list: Vec<String> = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
    if names.len() > NAMED {
        list.push(format!("and {} more", names.len() - NAMED));
    }
    let why = match code {
        "hidden_table" => "this site hides tables of these names from other sites, and accepts none",
        _ => "the connection here does not allow them",
    };
    format!("Tables of the other site are left out ({code}): {}; {why}.", list.join(", "))
}

/// More is wanted than one pull may take.
fn too_many(why: String, limit: &str) -> Error {
    let hint = format!("Name the tables, and pull some of them at a time; or raise `{limit}`.");
    Error::new(ErrorKind::TooLarge, why).with_hint(hint)
}

/// Structures of tables, in the order of their names: at least one. The first is asked for again where that may help; what goes wrong
/// with a later one is asked about again in its turn.
fn schemas(cx: &mut Context<'_, '_>, names: &[String]) -> Vec<Result<TableSchema>> {
    let asked = cx.ask(|source, patience| {
        let mut answers = source.schemas(names, patience);
        match answers.first_mut() {
            Some(Err(_)) => answers.swap_remove(0).map(|schema| vec![Ok(schema)]),
            Some(Ok(_)) => Ok(answers),
            None => Err(Error::new(ErrorKind::Protocol, "the other site described no table")),
        }
    });
    match asked {
        Ok(answers) => answers
            .into_iter()
            .enumerate()
            .take_while(|(at, answer)| *at == 0 || answer.is_ok())
            .map(|(_, answer)| answer)
            .collect(),
        Err(error) => vec![Err(error)],
    }
}
