//! The order in which tables are written: parents before the tables that refer to them.
//!
//! Tables that refer to each other in a circle cannot be put in an order. They form a group (a strongly connected component
//! of the graph of foreign keys, found by Tarjan's algorithm) that is written in one transaction, with foreign keys checked
//! at its end. The graph comes from a peer, so the walk keeps its own stack: a chain of a hundred thousand tables must not
//! overflow the thread's.

use std::borrow::Borrow;
use std::collections::HashMap;

use crate::domain::names::NameRules;
use crate::domain::schema::TableSchema;

/// The groups of tables in the order in which they must be written, as positions in `tables`.
///
/// A group is one table, or several that refer to each other in a circle, in the order of the input. A parent that is not
/// among `tables` is ignored. The same input gives the same order. The tables may come from a sender, so that `names` says how
/// their names are compared, whatever rules they carry themselves.
pub fn order<T: Borrow<TableSchema>>(tables: &[T], names: NameRules) -> Vec<Vec<usize>> {
    let parents = parents(tables, names);
    let mut walk = Walk {
        parents: &parents,
        visited: 0,
        number: vec![UNVISITED; tables.len()],
        lowest: vec![0; tables.len()],
        open: vec![false; tables.len()],
        stack: Vec::new(),
        groups: Vec::new(),
    };
    for table in 0..tables.len() {
        if walk.number[table] == UNVISITED {
            walk.run(table);
        }
    }
    walk.groups
}

/// Whether a group's rows cannot be written as they come but must all be there before foreign keys are checked: it has
/// several tables, or one that refers to itself, or one whose foreign keys are deferred: a commit that fails does not say
/// for which row. Names are compared as in [`order`].
pub fn needs_stage(group: &[usize], tables: &[TableSchema], names: NameRules) -> bool {
    match group {
        [table] => tables.get(*table).is_some_and(|table| table.deferred || refers_to_itself(table, names)),
        _ => group.len() > 1,
    }
}

/// Whether one of the table's foreign keys has the table itself as parent.
pub fn refers_to_itself(table: &TableSchema, names: NameRules) -> bool {
    table.foreign_keys.iter().any(|key| names.same(&key.parent, &table.name))
}

/// For each table the tables that it refers to. Of two tables with the same name the first counts.
fn parents<T: Borrow<TableSchema>>(tables: &[T], names: NameRules) -> Vec<Vec<usize>> {
    let tables: Vec<&TableSchema> = tables.iter().map(Borrow::borrow).collect();
    let mut positions = HashMap::with_capacity(tables.len());
    for (position, table) in tables.iter().enumerate() {
        positions.entry(names.fold(&table.name)).or_insert(position);
    }
    let position = |name: &str| positions.get(&*names.fold(name)).copied();
    tables.iter().map(|table| table.foreign_keys.iter().filter_map(|key| position(&key.parent)).collect()).collect()
}

const UNVISITED: usize = usize::MAX;

/// Tarjan's algorithm. A component is complete only after every component that it refers to, which is the order wanted.
struct Walk<'a> {
    parents: &'a [Vec<usize>],
    visited: usize,
    /// In which order the tables were reached.
    number: Vec<usize>,
    /// The lowest number known to be reachable from a table within its component.
    lowest: Vec<usize>,
    /// Whether the table is on the stack: reached, and not yet in a group.
    open: Vec<bool>,
    stack: Vec<usize>,
    groups: Vec<Vec<usize>>,
}

impl Walk<'_> {
    fn run(&mut self, root: usize) {
        self.enter(root);
        // The path from the root: each table with how many of its parents have been looked at.
        let mut path = vec![(root, 0)];
        while let Some((table, next)) = path.last_mut() {
            let table = *table;
            if let Some(&parent) = self.parents[table].get(*next) {
                *next += 1;
                if self.number[parent] == UNVISITED {
                    self.enter(parent);
                    path.push((parent, 0));
                } else if self.open[parent] {
                    self.lowest[table] = self.lowest[table].min(self.number[parent]);
                }
                continue;
            }
            path.pop();
            if let Some(&(child, _)) = path.last() {
                self.lowest[child] = self.lowest[child].min(self.lowest[table]);
            }
            if self.lowest[table] == self.number[table] {
                self.close(table);
            }
        }
    }

    fn enter(&mut self, table: usize) {
        self.number[table] = self.visited;
        self.lowest[table] = self.visited;
        self.visited += 1;
        self.open[table] = true;
        self.stack.push(table);
    }

    /// Everything on the stack down to `first` is a group.
    fn close(&mut self, first: usize) {
        let start = self.stack.iter().rposition(|&table| table == first).unwrap_or(0);
        let mut group = self.stack.split_off(start);
        group.sort_unstable();
        for &table in &group {
            self.open[table] = false;
        }
        self.groups.push(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::ForeignKey;
    use proptest::prelude::*;

    fn table(name: &str, parents: &[&str]) -> TableSchema {
        let key = |parent: &&str| ForeignKey { parent: parent.to_string(), ..ForeignKey::default() };
        TableSchema { name: name.into(), foreign_keys: parents.iter().map(key).collect(), ..TableSchema::default() }
    }

    const RULES: NameRules = NameRules::IgnoreAsciiCase;

    /// The groups of these tables by name: a group's tables joined by `+`, groups by a space.
    fn ordered(tables: &[TableSchema]) -> String {
        ordered_by(RULES, tables)
    }

    fn ordered_by(rules: NameRules, tables: &[TableSchema]) -> String {
        let names = |group: Vec<usize>| group.iter().map(|&at| tables[at].name.clone()).collect::<Vec<_>>().join("+");
        order(tables, rules).into_iter().map(names).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_chain_starts_with_its_end() {
        assert_eq!(ordered(&[table("c", &["b"]), table("b", &["a"]), table("a", &[])]), "a b c");
    }

    #[test]
    fn tables_without_references_keep_their_order() {
        assert_eq!(ordered(&[table("b", &[]), table("c", &[]), table("a", &[])]), "b c a");
    }

    #[test]
    fn a_diamond_has_its_middle_in_input_order() {
        let tables = [table("d", &["b", "c"]), table("c", &["a"]), table("b", &["a"]), table("a", &[])];
        assert_eq!(ordered(&tables), "a b c d");
    }

    #[test]
    fn a_self_reference_is_a_group_of_one_that_needs_a_stage() {
        let tables = [table("child", &["Node"]), table("node", &["NODE"])];
        assert_eq!(order(&tables, RULES), [vec![1], vec![0]]);
        assert!(needs_stage(&[1], &tables, RULES));
        assert!(!needs_stage(&[0], &tables, RULES));
        assert!(!needs_stage(&[1], &tables, NameRules::Exact), "another table");
        assert!(needs_stage(&[0], &[TableSchema { deferred: true, ..table("t", &["p"]) }], RULES));
    }

    #[test]
    fn circles_are_groups() {
        let two = [table("a", &["b"]), table("b", &["a"])];
        assert_eq!(ordered(&two), "a+b");
        assert!(needs_stage(&[0, 1], &two, RULES));
        assert_eq!(ordered(&[table("a", &["c"]), table("b", &["a"]), table("c", &["b"])]), "a+b+c");
    }

    #[test]
    fn what_hangs_on_a_circle_is_no_part_of_it() {
        let tables = [table("tail", &["a"]), table("a", &["b"]), table("b", &["a", "root"]), table("root", &[])];
        assert_eq!(ordered(&tables), "root a+b tail");
    }

    #[test]
    fn unknown_parents_are_ignored_and_names_go_by_the_rules() {
        let tables = [table("a", &["nowhere", "B"]), table("b", &[])];
        assert_eq!(ordered(&tables), "b a");
        assert_eq!(ordered_by(NameRules::Exact, &tables), "a b");
        assert_eq!(ordered(&[table("a", &["ß", "É"]), table("é", &[])]), "a é");
        let alike = [table("a", &["B"]), table("b", &["a"]), table("B", &[])];
        assert_eq!(ordered_by(NameRules::Exact, &alike), "B a b");
    }

    #[test]
    fn a_chain_as_long_as_a_peer_may_send_is_walked() {
        let names: Vec<String> = (0..100_000).map(|number| format!("t{number}")).collect();
        let parent = |at: usize| names.get(at + 1).map(String::as_str);
        let tables: Vec<_> = (0..names.len()).map(|at| table(&names[at], parent(at).as_slice())).collect();
        let groups = order(&tables, RULES);
        assert_eq!(groups.len(), names.len());
        assert_eq!(groups[0], [names.len() - 1]);
    }

    #[test]
    fn a_circle_of_a_hundred_thousand_tables_is_one_group() {
        let names: Vec<String> = (0..100_000).map(|number| format!("t{number}")).collect();
        let tables: Vec<_> =
            (0..names.len()).map(|at| table(&names[at], &[names[(at + 1) % names.len()].as_str()])).collect();
        assert_eq!(order(&tables, RULES).len(), 1);
    }

    proptest! {
        #[test]
        fn parents_come_before_or_with_their_children(edges in prop::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let names: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
            let tables: Vec<_> = (0..12)
                .map(|child| {
                    let of = edges.iter().filter(|(from, _)| *from == child);
                    table(&names[child], &of.map(|(_, to)| names[*to].as_str()).collect::<Vec<_>>())
                })
                .collect();
            let groups = order(&tables, RULES);
            let mut place = [None; 12];
            for (number, group) in groups.iter().enumerate() {
                for &table in group {
                    prop_assert_eq!(place[table].replace(number), None, "each table once");
                }
            }
            prop_assert!(place.iter().all(Option::is_some));
            // What reaches what, the slow way.
            let mut reaches = [[false; 12]; 12];
            edges.iter().for_each(|&(from, to)| reaches[from][to] = true);
            for (via, from, to) in (0..12).flat_map(|v| (0..12).flat_map(move |f| (0..12).map(move |t| (v, f, t)))) {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
            for (child, parent) in (0..12).flat_map(|c| (0..12).map(move |p| (c, p))) {
                if reaches[child][parent] {
                    prop_assert!(place[parent] <= place[child]);
                }
                let circle = child == parent || (reaches[child][parent] && reaches[parent][child]);
                prop_assert_eq!(place[child] == place[parent], circle);
            }
        }
    }
}
