//! The first phase of a pull: what the sender offers of what is wanted, and what it looks like.

use std::collections::{HashMap, HashSet, VecDeque};

use super::TableReport;
use super::context::Context;
use super::wait::Allowance;
use crate::domain::names::{is_reserved, nearest};
use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};

/// PhoenixKit's own state: its server offers these tables, hashes of secrets included. They are pulled only when they are named.
const PHOENIX_STATE: [&str; 2] = ["phoenix_kit_sync_connections", "phoenix_kit_sync_transfers"];

/// How many structures are asked for at a time, at most.
const TOGETHER: usize = 64;

/// A table that can be pulled, as far as the sender is concerned.
pub(super) struct Offered {
    /// The sender's name for it.
    pub(super) name: String,
    pub(super) schema: TableSchema,
    pub(super) announced: u64,
    /// What is left of its time to wait, where the other site counts calls.
    pub(super) allowance: Allowance,
}

/// What the sender offers.
pub(super) struct Offer {
    pub(super) tables: Vec<Offered>,
    /// Tables that cannot be pulled, because it is not even known what they look like.
    pub(super) failed: Vec<(String, TableReport)>,
    /// What it says that it does not copy.
    pub(super) not_copied: NotCopied,
    /// Whether that is all that it offers.
    pub(super) is_all: bool,
}

/// Finds out which tables to pull and what they look like. Those that cannot be pulled are told apart.
pub(super) fn ask(cx: &mut Context<'_, '_>) -> Result<Offer> {
    let (offered, not_copied) = cx.ask(|source, patience| source.list(patience))?;
    let wanted: Vec<String> = match &cx.options.tables {
        Some(names) => names.clone(),
        None => {
            let own_state = |name: &str| PHOENIX_STATE.contains(&name) && !cx.source.is_rowferry();
            offered.iter().map(|table| table.name.clone()).filter(|name| !own_state(name)).collect()
        }
    };
    if let Some(name) = cx.options.table_strategies.keys().find(|name| !wanted.contains(name)) {
        let hint = match nearest(name, wanted.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean {near:?}?"),
            None => "Strategies per table go by the sender's names of the tables that are pulled.".to_owned(),
        };
        return Err(Error::new(ErrorKind::InvalidInput, format!("a strategy is given for {name:?}, which is not pulled"))
            .with_hint(hint));
    }
    let counts: HashMap<&str, u64> = offered.iter().map(|table| (table.name.as_str(), table.row_count)).collect();
    let is_all = cx.options.tables.is_none() || offered.iter().all(|table| wanted.contains(&table.name));
    let mut offer = Offer { tables: Vec::new(), failed: Vec::new(), not_copied, is_all };
    let near = |name: &str| nearest(name, offered.iter().map(|table| table.name.as_str()));
    // Names as they are written, and as they are compared here.
    let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
    let mut unknown: VecDeque<(String, u64)> = VecDeque::new();
    for name in wanted {
        if !seen.insert(name.clone()) {
            continue;
        }
        let announced = counts.get(name.as_str()).copied();
        let refusal = match announced {
            None => {
                let (why, hint) = match (offer.not_copied.what_is(&name), near(&name)) {
                    (Some(what), _) => (format!(", where it is {what}"), "Only ordinary tables are pulled.".to_owned()),
                    (None, Some(near)) => (String::new(), format!("Did you mean {near:?}?")),
                    (None, None) => (String::new(), "Names are compared exactly: see the list of tables.".to_owned()),
                };
                let error = Error::new(ErrorKind::TableNotFound, format!("the other site offers no table {name:?}{why}"));
                Some(error.with_hint(hint))
            }
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
            Some(error) => offer.failed.push((name, TableReport::failed(error))),
            None => unknown.push_back((name, announced.unwrap_or_default())),
        }
    }
    while !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().take(TOGETHER).map(|(name, _)| name.clone()).collect();
        cx.allowance = Allowance::new(cx.limits.rate_wait_time);
        for schema in schemas(cx, &names) {
            let Some((name, announced)) = unknown.pop_front() else { break };
            match schema {
                Ok(schema) => {
                    let allowance = std::mem::take(&mut cx.allowance);
                    offer.tables.push(Offered { name, schema, announced, allowance });
                    cx.allowance = Allowance::new(cx.limits.rate_wait_time);
                }
                Err(error) => offer.failed.push((name, TableReport::failed(error))),
            }
        }
    }
    Ok(offer)
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
