//! Lets records follow their parents to the keys that those have here.
//!
//! What a parent became is in the key map of its table. A reference is looked up there as the database compares it with the parent's
//! key: the text `1` refers to the integer 1, and `A` to `a` where the parent's collation says so.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use super::kept_keys;
use super::rows::{key_bytes, push};
use super::transaction::{Transaction, key_of_record, names};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::schema::ForeignKey;
use crate::domain::strategy::Dangling;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::key_map::Known;
use crate::plan::{Follow, Identity, ParentKeys, TablePlan};
use crate::store::{Found, KeyColumns, Lookup};

/// Records after which the pull can be cancelled.
const RUN: usize = 1_000;

/// Records whose references lead to what their parents became.
pub(super) struct Followed {
    /// The records, in their order. A reference whose parent is lost is absent: the row here that has the old key is another one.
    pub(super) rows: Rows,
    /// The references whose parents are lost, by the number of the record.
    lost: BTreeMap<usize, Vec<Lost>>,
}

/// A reference to a row of which no key is known here.
pub(super) struct Lost {
    /// The position among the plan's follows.
    pub(super) follow: usize,
    /// What it refers to, as it is compared.
    pub(super) parent: Vec<u8>,
}

impl Followed {
    /// The lost references of a record, by its number in the range.
    pub(super) fn lost(&self, number: usize) -> &[Lost] {
        self.lost.get(&number).map_or(&[], Vec::as_slice)
    }
}

/// What a reference leads to.
#[derive(Clone)]
enum Leads {
    /// Where it does.
    Stays,
    To(Rc<Known>),
    Nowhere(Vec<u8>),
}

/// The records with their references following; `None` where no column of the plan does.
///
/// With [`Dangling::Keep`] a reference whose parent is lost stays as it is where no row has the key, so that it leads nowhere here, too.
pub(super) fn follow(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    dangling: Dangling,
) -> Result<Option<Followed>> {
    if plan.follows.is_empty() {
        return Ok(None);
    }
    // Most pulls find no row under another key: nothing is looked up for those.
    let mut may_lead = false;
    for follow in &plan.follows {
        may_lead |= follow.keys != ParentKeys::Kept || tx.has_moved(&follow.parent)?;
    }
    if !may_lead {
        return Ok(None);
    }
    let leads = plan.follows.iter().map(|follow| leads(tx, plan, follow, rows, range.clone(), dangling));
    let leads: Vec<Vec<Leads>> = leads.collect::<Result<_>>()?;
    let mut followed = Followed { rows: Rows::new(rows.width()), lost: BTreeMap::new() };
    for (number, row) in range.enumerate() {
        let mut values: Vec<Option<Value>> = rows.row(row).map(|value| value.map(ValueRef::to_owned)).collect();
        for (at, (follow, leads)) in plan.follows.iter().zip(&leads).enumerate() {
            match &leads[number] {
                Leads::Stays => {}
                Leads::To(known) => {
                    for (incoming, new) in follow.incoming.iter().zip(&known.new.key) {
                        values[*incoming] = Some(as_stored_there(rows.get(row, *incoming), new));
                    }
                }
                Leads::Nowhere(parent) => {
                    follow.incoming.iter().for_each(|incoming| values[*incoming] = None);
                    let lost = Lost { follow: at, parent: parent.clone() };
                    followed.lost.entry(number).or_default().push(lost);
                }
            }
        }
        push(&mut followed.rows, &values);
    }
    Ok(Some(followed))
}

/// The new value of a reference in the class of the old one: a column of texts that refers to integers holds texts.
fn as_stored_there(old: Option<ValueRef<'_>>, new: &Value) -> Value {
    match (old, new) {
        (Some(ValueRef::Text(_)), Value::Integer(number)) => number.to_string().into(),
        _ => new.clone(),
    }
}

fn leads(
    tx: &mut Transaction,
    plan: &TablePlan,
    follow: &Follow,
    rows: &Rows,
    range: Range<usize>,
    dangling: Dangling,
) -> Result<Vec<Leads>> {
    let columns = KeyColumns { table: &follow.parent, columns: &follow.key };
    let compared = tx.comparable(&columns, &follow.incoming, rows, range)?;
    // Rows that follow each other often have one parent.
    let mut looked_up: HashMap<Vec<u8>, Leads> = HashMap::new();
    let mut leads = Vec::with_capacity(compared.len());
    for row in 0..compared.len() {
        if row % RUN == 0 {
            tx.check_cancelled()?;
        }
        let Some(parent) = key_bytes(&compared, row) else {
            leads.push(Leads::Stays);
            continue;
        };
        let lead = match looked_up.get(&parent) {
            Some(lead) => lead.clone(),
            None => {
                let mut lead = lead(tx, plan, follow, &parent)?;
                if matches!(lead, Leads::Nowhere(_))
                    && dangling == Dangling::Keep
                    && may_stay(tx, plan, follow, &compared, row)?
                {
                    lead = Leads::Stays;
                }
                looked_up.insert(parent, lead.clone());
                lead
            }
        };
        leads.push(lead);
    }
    Ok(leads)
}

/// What a reference to the parent with this key leads to.
fn lead(tx: &mut Transaction, plan: &TablePlan, follow: &Follow, parent: &[u8]) -> Result<Leads> {
    let counts = |known: &Known| match follow.keys {
        // Those of an earlier append are other rows than those that this one adds.
        ParentKeys::Appended => !(known.earlier && plan.append.again),
        ParentKeys::AppendedBefore => true,
        ParentKeys::Kept => !known.new.appended,
    };
    match tx.known_key(&follow.parent, parent)?.filter(counts) {
        // A record that failed claims no row: this one may be the row with its key.
        Some(known) if known.new.key.is_empty() && is_own(plan, follow) => {
            if tx.is_moved_to(&follow.parent, parent)? {
                return Ok(Leads::Nowhere(parent.to_vec()));
            }
            tx.forget_moved(&follow.parent, parent)?;
            Ok(Leads::Stays)
        }
        // It may become one in this pull.
        Some(known) if known.new.key.is_empty() && tx.settling.doubts(&follow.parent.name) => Ok(Leads::Stays),
        // It became no row, and the one that has its key is another.
        Some(known) if known.new.key.is_empty() => Ok(Leads::Nowhere(parent.to_vec())),
        Some(known) if known.same => Ok(Leads::Stays),
        Some(known) => Ok(Leads::To(Rc::new(known))),
        // The row that has this key may be what another record is here.
        None if follow.keys == ParentKeys::Kept && !tx.is_moved_to(&follow.parent, parent)? => Ok(Leads::Stays),
        None if tx.settling.doubts(&follow.parent.name) => Ok(Leads::Stays),
        None => Ok(Leads::Nowhere(parent.to_vec())),
    }
}

/// Whether a reference whose parent is lost may stay as it is: the local table checks it, so that it is counted, and no row has the key that
/// it refers to, nor will any get it.
fn may_stay(tx: &mut Transaction, plan: &TablePlan, follow: &Follow, compared: &Rows, row: usize) -> Result<bool> {
    let table = &plan.table;
    let columns: Vec<usize> = follow.incoming.iter().filter_map(|at| plan.targets[*at]).collect();
    let is_it = |key: &ForeignKey| {
        let same = table.column_indexes(&key.columns).is_some_and(|own| own.iter().all(|column| columns.contains(column)));
        same && key.columns.len() == columns.len() && table.names.same(&key.parent, &follow.parent.name)
    };
    if !table.foreign_keys.iter().any(is_it) {
        return Ok(false);
    }
    let key: Vec<usize> = (0..follow.key.len()).collect();
    let names = names(&follow.parent, &follow.key);
    let collations = follow.parent.key_collations_of(&follow.key);
    let lookup = Lookup { table: &follow.parent.name, columns: &names, collations: &collations, cells: &key, read: &[] };
    let mut found = Found::default();
    tx.writer.lookup(&lookup, compared, row..row + 1, &mut found)?;
    Ok(!found.has(0) && !tx.may_be_given(&follow.parent, &follow.key, compared, row)?)
}

/// Whether what follows is the record's own key.
fn is_own(plan: &TablePlan, follow: &Follow) -> bool {
    follow.parent.name == plan.table.name
        && matches!(&plan.identity, Identity::Key { incoming, .. } if *incoming == follow.incoming)
}

/// The failure of a record whose parent is lost.
pub(super) fn lost_parent(plan: &TablePlan, rows: &Rows, row: usize, lost: &Lost) -> Failure {
    let follow = &plan.follows[lost.follow];
    let column = follow.incoming.first().and_then(|at| plan.targets[*at]);
    let key: Vec<_> = follow.incoming.iter().filter_map(|at| rows.get(row, *at)).collect();
    let (parent, column) = (&follow.parent.name, column.map(|column| plan.table.columns[column].name.clone()));
    let (column, reason, message) = match follow.keys {
        ParentKeys::Kept if is_own(plan, follow) => (
            None,
            Reason::DuplicateKey,
            format!(
                "the row of {parent:?} with this key is another record here, as the key map says; forget it with `KeyMap::clear`, \
                 or pull with the key that made it"
            ),
        ),
        ParentKeys::Kept => {
            (column, Reason::ForeignKey, format!("the row of {parent:?} with the key {key:?} is another record here"))
        }
        _ => (column, Reason::ForeignKey, format!("no row of {parent:?} with the key {key:?} was appended")),
    };
    Failure { key: key_of_record(plan, rows, row), column, reason, message }
}

/// Records that follow, with the positions that they had.
pub(super) struct Remapped {
    pub(super) rows: Rows,
    pub(super) records: Vec<usize>,
}

/// The same as [`follow`] for records that keep their own keys. Those whose parent is lost fail and are left out.
pub(super) fn remap(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<Option<Remapped>> {
    let Some(followed) = follow(tx, plan, rows, range.clone(), plan.dangling)? else { return Ok(None) };
    if followed.lost.is_empty() {
        return Ok(Some(Remapped { rows: followed.rows, records: range.collect() }));
    }
    let mut remapped = Remapped { rows: Rows::new(rows.width()), records: Vec::with_capacity(range.len()) };
    for (number, row) in range.enumerate() {
        match followed.lost(number).last() {
            Some(lost) => {
                if plan.kept_key.is_some() {
                    let fitted = tx.fit(plan, &followed.rows, number..number + 1)?;
                    kept_keys::fails(tx, plan, &fitted.rows, 0)?;
                }
                tally.fail(lost_parent(plan, rows, row, lost));
            }
            None => {
                remapped.rows.push_rows(&followed.rows, number..number + 1);
                remapped.records.push(row);
            }
        }
    }
    Ok(Some(remapped))
}
