//! What becomes of records that other rows keep out by unique values: those that move on go first, from the end of each chain; of
//! those that go round, one gives up its values for a while.

use std::collections::{BTreeMap, BTreeSet};

use rowferry::{Strategy, Value};

use super::{Done, Model, Record, Row, order};

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

impl Model {
    pub(super) fn settle(&mut self, strategy: Strategy, records: &[Waiting]) -> Vec<Became> {
        let mut results: Vec<Option<Became>> = vec![None; records.len()];
        let mut busy = vec![false; records.len()];
        let (mut stack, mut circle): (Vec<usize>, Option<Circle>) = (Vec::new(), None);
        while let Some(first) = (0..records.len()).find(|at| results[*at].is_none() && !busy[*at]) {
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
                }
                if let (Err(reason), Some(failed)) =
                    (became, circle.take_if(|circle| became.is_err() && circle.members.contains(&number)))
                {
                    (self.rows, results, busy) = failed.before;
                    failed.members.iter().for_each(|member| results[*member] = Some(Err(reason)));
                    stack.truncate(failed.below);
                    continue;
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
