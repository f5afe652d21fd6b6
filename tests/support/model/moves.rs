//! What becomes of records that other rows keep out by unique values: those that move on go first, from the end of each chain; of
//! those that go round, one gives up its values for a while.

use std::collections::{BTreeMap, BTreeSet};

use rowferry::{Strategy, Value};

use super::{Done, Model, Record, Row, Table, order};

/// A record that waits, and the key of its row.
pub(super) type Waiting = (Record, Vec<Value>);

type Became = Result<Done, &'static str>;

/// Records that wait for each other, and what was before the first of their rows gave up its values.
struct Circle {
    below: usize,
    joined: usize,
    members: BTreeSet<usize>,
    parked: BTreeMap<usize, Row>,
    before: (Vec<Row>, Vec<Option<Became>>, Vec<bool>),
}

/// The keys that records came with, as far as it can be told from them that no record has another key.
pub(super) struct Received {
    keys: Vec<Vec<Value>>,
    classes: Vec<BTreeSet<u8>>,
    pub(super) is_exact: bool,
}

impl Received {
    pub(super) fn new(model: &Model) -> Self {
        let table = &model.table;
        let is_exact = model.has_sender && !table.key.iter().any(|at| table.columns[*at].nocase);
        Received { keys: Vec::new(), classes: vec![BTreeSet::new(); table.key.len()], is_exact }
    }

    pub(super) fn add(&mut self, table: &Table, record: &Record) {
        let key: Vec<Value> = table.key.iter().map(|at| record[*at].clone().unwrap_or_default()).collect();
        for (classes, value) in self.classes.iter_mut().zip(&key) {
            classes.insert(class(value));
        }
        self.keys.push(key);
    }

    /// Whether a record has this key, for all that is known.
    fn has(&self, key: &[Value]) -> bool {
        let is_told = |(classes, value): (&BTreeSet<u8>, &Value)| {
            classes.len() == 1 && classes.contains(&class(value)) && !matches!(value, Value::Real(_))
        };
        !(self.is_exact && self.classes.iter().zip(key).all(is_told)) || self.keys.iter().any(|other| other == key)
    }
}

fn class(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Integer(_) => 1,
        Value::Real(_) => 2,
        Value::Text(_) => 3,
        Value::Blob(_) => 4,
    }
}

impl Model {
    /// Gives a record the key that its row has here. Gives whether its own is that of another record here.
    pub(super) fn translate(&self, record: &mut Record) -> bool {
        let has = |key: &Vec<Value>| {
            let cells = self.table.key.iter().map(|at| record[*at].as_ref());
            cells.zip(key).all(|(cell, part)| cell.is_some_and(|cell| order(cell, part).is_eq()))
        };
        match self.key_map.iter().rev().find(|(old, _)| has(old)).cloned() {
            Some((_, new)) => {
                self.table.key.iter().zip(&new).for_each(|(at, value)| record[*at] = Some(value.clone()));
                false
            }
            None => self.key_map.iter().any(|(_, new)| has(new)),
        }
    }

    pub(super) fn settle(&mut self, strategy: Strategy, mut records: Vec<Waiting>, received: &Received) -> Vec<Became> {
        // Records that are rows with other keys: the keys that they came with, and the keys of the rows.
        let mut moved: BTreeMap<usize, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
        let mut results: Vec<Option<Became>> = vec![None; records.len()];
        let mut busy = vec![false; records.len()];
        let (mut stack, mut circle): (Vec<usize>, Option<Circle>) = (Vec::new(), None);
        // Records that rows keep out which no record is for, and how many had become other rows when they were last tried.
        let (mut stuck, mut tried): (BTreeSet<usize>, usize) = (BTreeSet::new(), 0);
        loop {
            let first = (0..records.len()).find(|at| results[*at].is_none() && !busy[*at]);
            let Some(first) = first else {
                // A record that became another row may have made room.
                let again = std::mem::take(&mut stuck);
                if again.is_empty() || moved.len() == tried {
                    break;
                }
                tried = moved.len();
                again.into_iter().for_each(|at| (results[at], busy[at]) = (None, false));
                continue;
            };
            busy[first] = true;
            stack.push(first);
            while let Some(number) = stack.last().copied() {
                let parked = circle.as_ref().and_then(|circle| circle.parked.get(&number)).cloned();
                let mut became = match &parked {
                    Some(row) => self.write(row.clone(), self.place(row)).map(|()| Done::Updated),
                    None => self.keyed(strategy, &records[number].0),
                };
                if became == Err("unique_conflict") {
                    let wanted = parked.unwrap_or_else(|| self.wanted(strategy, &records[number].0));
                    let waits = |row: &Row| {
                        let key = self.table.key.iter().map(|at| &row[*at]);
                        let same = |(_, other): &Waiting| key.clone().zip(other).all(|(l, r)| order(l, r).is_eq());
                        (0..records.len()).rev().find(|at| results[*at].is_none() && same(&records[*at]))
                    };
                    let mut others: Vec<_> =
                        self.clashes(&wanted).into_iter().map(|at| (waits(&self.rows[at]), at)).collect();
                    others.sort();
                    if let [(None, at)] = others[..]
                        && self.place(&wanted).is_none()
                        && !moved.contains_key(&number)
                    {
                        let key: Vec<Value> = self.table.key.iter().map(|column| self.rows[at][*column].clone()).collect();
                        if !received.has(&key) && moved.values().all(|(_, had)| *had != key) {
                            let cells = self.table.key.iter().map(|column| records[number].0[*column].clone());
                            moved.insert(number, (cells.map(Option::unwrap).collect(), key.clone()));
                            self.table
                                .key
                                .iter()
                                .zip(key)
                                .for_each(|(column, value)| records[number].0[*column] = Some(value));
                            continue;
                        }
                    }
                    if !others.is_empty() && others.iter().all(|(other, _)| other.is_some_and(|other| other != number)) {
                        if let Some(other) = others.iter().filter_map(|(other, _)| *other).find(|other| !busy[*other]) {
                            busy[other] = true;
                            stack.push(other);
                            continue;
                        }
                        for (other, at) in others {
                            let other = other.unwrap_or_default();
                            let from = stack.iter().position(|number| *number == other).unwrap();
                            let now = || (self.rows.clone(), results.clone(), busy.clone());
                            let circle = circle.get_or_insert_with(|| Circle {
                                below: from,
                                joined: from,
                                members: BTreeSet::new(),
                                parked: BTreeMap::new(),
                                before: now(),
                            });
                            circle.members.extend(&stack[from.min(circle.below)..circle.below]);
                            circle.members.extend(&stack[circle.joined..]);
                            (circle.below, circle.joined) = (circle.below.min(from), stack.len());
                            let whole = self.wanted(strategy, &records[other].0);
                            circle.parked.entry(other).or_insert(whole);
                            for column in self.shared(&wanted, at) {
                                self.rows[at][column] = Value::Null;
                            }
                        }
                        continue;
                    }
                    became = Err("unique_conflict");
                    if circle.as_ref().is_none_or(|circle| !circle.members.contains(&number)) {
                        stuck.insert(number);
                    }
                }
                if let (Err(reason), Some(failed)) =
                    (became, circle.take_if(|circle| became.is_err() && circle.members.contains(&number)))
                {
                    (self.rows, results, busy) = failed.before;
                    failed.members.iter().for_each(|member| results[*member] = Some(Err(reason)));
                    stack.truncate(failed.below);
                    continue;
                }
                if let (Ok(_), Some(keys)) = (became, moved.get(&number)) {
                    self.key_map.push(keys.clone());
                }
                results[number] = Some(became);
                stack.pop();
                circle.iter_mut().for_each(|circle| circle.joined = circle.joined.min(stack.len()));
                circle.take_if(|circle| circle.below == stack.len());
            }
        }
        results.into_iter().flatten().collect()
    }

    /// The position of the row with the key of this one.
    pub(super) fn place(&self, row: &Row) -> Option<usize> {
        self.rows.iter().position(|other| self.table.key_order(other, row).is_eq() && !self.table.key_has_null(other))
    }

    /// The row that a record wants, all of whose values fit.
    fn wanted(&self, strategy: Strategy, record: &Record) -> Row {
        let fitted = |at: usize| record[at].as_ref().and_then(|value| self.table.stored(at, value));
        let new: Row = (0..record.len()).map(|at| fitted(at).unwrap_or_else(|| self.table.default(at))).collect();
        let Some(place) = self.place(&new) else { return new };
        let old = &self.rows[place];
        let taken = |at: &usize| fitted(*at).is_some_and(|value| strategy == Strategy::Overwrite || !value.is_null());
        (0..record.len()).map(|at| if taken(&at) { new[at].clone() } else { old[at].clone() }).collect()
    }

    /// The unique columns of which a row has the same values as `wanted`.
    fn shared(&self, wanted: &Row, at: usize) -> Vec<usize> {
        let same = |column: &usize| {
            let (one, other) = (&wanted[*column], &self.rows[at][*column]);
            !one.is_null() && self.table.order(*column, one, other).is_eq()
        };
        (0..wanted.len()).filter(|column| self.table.columns[*column].unique).filter(same).collect()
    }

    /// The positions of the rows that keep `wanted` out.
    fn clashes(&self, wanted: &Row) -> Vec<usize> {
        let own = self.place(wanted);
        (0..self.rows.len()).filter(|at| Some(*at) != own && !self.shared(wanted, *at).is_empty()).collect()
    }
}
