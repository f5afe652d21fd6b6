//! Which records refer to rows that have other keys here than at the sender: those of tables that are appended in the same pull, and
//! those that the key map of an earlier pull knows.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Follow, Identity, ParentKeys, TablePlan};
use crate::domain::names::NameRules;
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::domain::strategy::Strategy;
use crate::plan::table::key_of;

/// A local table of whose rows the key map of the sender knows some.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownRows {
    /// The table.
    pub table: TableSchema,
    /// Whether it was appended: then a row that is not known has not come here.
    pub appended: bool,
}

/// Fills in which columns of each table follow. `senders` are the schemas that the `plans` were made from, in the same order;
/// `known` are the tables that the key map knows something of, whether they are pulled or not.
///
/// A foreign key follows if it refers to the parent's key, in any order, alone or with other columns, and the parent's rows may have other
/// keys here: see [`ParentKeys`]. So it does if it refers to columns of the parent that follow themselves. How the child itself is pulled makes no difference: a row belongs to the row that its parent became, not to the one
/// that happens to have the parent's old key here. So does a record's own key follow, unless it is appended, where its row may be here
/// under another.
///
/// Other unique columns keep their values, so references to them stay right. The foreign keys of both sides count: a table that was
/// made from a PhoenixKit sender's schema has none of its own.
///
/// Gives the positions of the tables whose references lead through more than [`MOST_FURTHER`] others: it is not known what they follow.
pub fn link<P>(plans: &mut [P], senders: &[&TableSchema], known: &[KnownRows]) -> Vec<usize>
where
    P: AsRef<TablePlan> + AsMut<TablePlan>,
{
    let follows: Vec<(Vec<Follow>, bool)> = {
        let plans: Vec<&TablePlan> = plans.iter().map(AsRef::as_ref).collect();
        let tables = Tables::of(&plans, known);
        let none = known.is_empty() && tables.pulled.iter().all(Option::is_none);
        let mut further = Further::default();
        let of_child = |(child, plan): (usize, &&TablePlan)| match none {
            true => (Vec::new(), false),
            false => tables.followed_by(child, plan, senders.get(child).copied(), &mut further),
        };
        plans.iter().enumerate().map(of_child).collect()
    };
    let mut too_far = Vec::new();
    for (at, (plan, (follows, leads_too_far))) in plans.iter_mut().zip(follows).enumerate() {
        plan.as_mut().follows = follows;
        too_far.extend(leads_too_far.then_some(at));
    }
    too_far
}

/// The tables that others may refer to.
struct Tables<'p> {
    rules: NameRules,
    /// Those that are pulled, where they may be followed.
    pulled: Vec<Option<Parent<'p>>>,
    /// All of them: those that are pulled, and those that the key map knows, by their folded names.
    schemas: Vec<&'p TableSchema>,
    places: HashMap<Cow<'p, str>, usize>,
    before: HashMap<Cow<'p, str>, Parent<'p>>,
}

impl<'p> Tables<'p> {
    fn of(plans: &[&'p TablePlan], known: &'p [KnownRows]) -> Self {
        let rules = plans.first().map(|plan| plan.table.names).unwrap_or_default();
        let known_names: HashSet<&str> = known.iter().map(|known| known.table.name.as_str()).collect();
        let pulled = plans.iter().map(|plan| Parent::pulled(plan, &known_names)).collect();
        let schemas: Vec<&TableSchema> =
            plans.iter().map(|plan| &plan.table).chain(known.iter().map(|known| &known.table)).collect();
        let mut places = HashMap::new();
        for (at, table) in schemas.iter().enumerate() {
            places.entry(rules.fold(&table.name)).or_insert(at);
        }
        let before = known.iter().rev().filter_map(|known| {
            let keys = if known.appended { ParentKeys::AppendedBefore } else { ParentKeys::Kept };
            Some((rules.fold(&known.table.name), Parent::new(&known.table, keys)?))
        });
        Tables { rules, pulled, schemas, places, before: before.collect() }
    }

    /// What a table follows, and whether its references lead too far.
    fn followed_by(
        &self,
        child: usize,
        plan: &TablePlan,
        sender: Option<&TableSchema>,
        further: &mut Further,
    ) -> (Vec<Follow>, bool) {
        let incoming = incoming_of(plan, self.rules);
        let theirs = sender.map_or(&[][..], |sender| &sender.foreign_keys);
        let mut follows: Vec<Follow> = Vec::new();
        // Both sides say the same where the table was made here.
        let mut seen: HashSet<Cow<'_, ForeignKey>> = HashSet::new();
        let own = plan.table.foreign_keys.iter().chain(theirs).map(Cow::Borrowed);
        let mut keys: Vec<Cow<'_, ForeignKey>> = own.filter(|key| seen.insert(key.clone())).collect();
        let own = keys.len();
        let mut followed = HashSet::new();
        let (mut at, mut leads_too_far) = (0, false);
        while let Some(key) = keys.get(at).cloned() {
            at += 1;
            let place = self.places.get(&*self.rules.fold(&key.parent)).copied();
            let parent = match place.and_then(|at| self.pulled.get(at)) {
                Some(parent) => parent.as_ref(),
                None => self.before.get(&*self.rules.fold(&key.parent)),
            };
            let follow = parent.and_then(|parent| parent.followed_by(&incoming, self.rules, &key));
            // Columns beside the parent's key may follow themselves: then it refers to the same as they do.
            if follow.as_ref().is_none_or(|follow| follow.key.len() < key.columns.len())
                && let Some(place) = place
            {
                let through = further.through(place, self.schemas[place], &key);
                keys.extend(through.map(Cow::<ForeignKey>::Owned).filter(|further| seen.insert(further.clone())));
            }
            // By the name of the parent, and not by all that it is: there may be thousands.
            let is_new = |follow: &Follow| {
                followed.insert((self.rules.fold(&follow.parent.name).into_owned(), follow.incoming.clone()))
            };
            follows.extend(follow.filter(is_new));
            if keys.len() - own > MOST_FURTHER {
                leads_too_far = true;
                break;
            }
        }
        if let (Identity::Key { incoming, .. }, Some(own)) = (&plan.identity, &self.pulled[child])
            && own.keys == ParentKeys::Kept
            && plan.kept_key.is_none()
        {
            follows.push(own.follow(incoming.clone()));
        }
        (follows, leads_too_far)
    }
}

/// Where the columns of a table come in its records, by their folded names.
fn incoming_of(plan: &TablePlan, rules: NameRules) -> HashMap<Cow<'_, str>, usize> {
    let mut incoming = HashMap::new();
    for (at, target) in plan.targets.iter().enumerate() {
        if let Some(column) = target.and_then(|column| plan.table.columns.get(column)) {
            incoming.entry(rules.fold(&column.name)).or_insert(at);
        }
    }
    incoming
}

/// How many references a table may have by way of those of the tables that it refers to, beyond its own. A chain of tables that share
/// their key has as many as tables; a peer may describe one of thousands.
pub const MOST_FURTHER: usize = 256;

/// The place of a foreign key among those of its table, and those of its columns among others.
type TakenIn = (usize, Vec<usize>);

/// What foreign keys refer to by way of those of their parents: each is looked for once, as thousands may refer to the same columns of a
/// table that has thousands itself.
#[derive(Default)]
struct Further {
    /// By the place of the parent and the columns of it: which of its foreign keys take in only these, each with the places of its columns
    /// among them.
    found: HashMap<(usize, Vec<String>), Vec<TakenIn>>,
    /// By the place of a parent: its foreign keys by the first of their columns.
    by_column: HashMap<usize, HashMap<String, Vec<usize>>>,
}

impl Further {
    /// The foreign keys of a parent of which all columns are among those that `key` refers to, with the columns of `key` in their place.
    fn through<'k>(
        &'k mut self,
        place: usize,
        parent: &'k TableSchema,
        key: &'k ForeignKey,
    ) -> impl Iterator<Item = ForeignKey> + use<'k> {
        let rules = parent.names;
        let by_column = self.by_column.entry(place).or_insert_with(|| {
            let mut by_column: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, key) in parent.foreign_keys.iter().enumerate() {
                let first = key.columns.first().map(|column| rules.fold(column).into_owned());
                by_column.entry(first.unwrap_or_default()).or_default().push(at);
            }
            by_column
        });
        let columns: Vec<String> = key.parent_columns.iter().map(|column| rules.fold(column).into_owned()).collect();
        let found = self.found.entry((place, columns)).or_insert_with_key(|(_, columns)| {
            let mut places: HashMap<&str, usize> = HashMap::new();
            for (at, column) in columns.iter().enumerate() {
                places.entry(column).or_insert(at);
            }
            let first = places.keys().filter_map(|column| by_column.get(*column)).flatten().copied();
            let mut candidates: Vec<usize> = first.collect();
            candidates.sort_unstable();
            let taken_in = |at: usize| {
                let place = |column: &String| places.get(&*rules.fold(column)).copied();
                Some((at, parent.foreign_keys[at].columns.iter().map(place).collect::<Option<Vec<usize>>>()?))
            };
            candidates.into_iter().filter_map(taken_in).collect()
        });
        found.iter().filter_map(|(at, places)| {
            let further = &parent.foreign_keys[*at];
            let columns = places.iter().map(|at| key.columns.get(*at).cloned()).collect::<Option<Vec<String>>>()?;
            Some(ForeignKey { columns, ..further.clone() })
        })
    }
}

/// A table whose rows may have other keys here.
struct Parent<'p> {
    table: &'p TableSchema,
    /// The same for those that follow it, once there are any.
    shared: OnceCell<Arc<TableSchema>>,
    key: Vec<usize>,
    keys: ParentKeys,
}

impl<'p> Parent<'p> {
    fn new(table: &'p TableSchema, keys: ParentKeys) -> Option<Self> {
        let (key, _) = key_of(table).ok()??;
        Some(Parent { table, shared: OnceCell::new(), key, keys })
    }

    /// The table of a plan, if its rows get new keys, or may be here under others.
    fn pulled(plan: &'p TablePlan, known: &HashSet<&str>) -> Option<Self> {
        if let Some(kept) = plan.kept_key.as_ref().filter(|kept| !kept.columns.is_empty()) {
            let (table, key) = (&plan.table, kept.columns.clone());
            return Some(Parent { table, shared: OnceCell::new(), key, keys: ParentKeys::Kept });
        }
        let Identity::Key { columns, .. } = &plan.identity else { return None };
        let keys = match plan.strategy {
            Strategy::Append => ParentKeys::Appended,
            _ if plan.has_unique_sets() || known.contains(plan.table.name.as_str()) => ParentKeys::Kept,
            _ => return None,
        };
        Some(Parent { table: &plan.table, shared: OnceCell::new(), key: columns.clone(), keys })
    }

    /// How a child whose columns come so follows it; `None` if the foreign key does not refer to its key, alone or with other columns, or if
    /// the records lack one of the columns.
    fn followed_by(&self, child: &HashMap<Cow<'_, str>, usize>, rules: NameRules, key: &ForeignKey) -> Option<Follow> {
        if key.columns.len() != key.parent_columns.len() {
            return None;
        }
        let position = |column: &usize| {
            let name = &self.table.columns[*column].name;
            let at = key.parent_columns.iter().position(|column| rules.same(column, name))?;
            child.get(&*rules.fold(&key.columns[at])).copied()
        };
        Some(self.follow(self.key.iter().map(position).collect::<Option<Vec<usize>>>()?))
    }

    fn follow(&self, incoming: Vec<usize>) -> Follow {
        let parent = Arc::clone(self.shared.get_or_init(|| Arc::new(self.table.clone())));
        Follow { incoming, parent, key: self.key.clone(), keys: self.keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, UniqueKind, UniqueSet};
    use crate::plan::table::{ExtraColumns, plan_table, plan_table_by};

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn table(name: &str, columns: &str, key: &str) -> TableSchema {
        let column = |name: String| Column { name, ..Column::default() };
        TableSchema {
            name: name.into(),
            columns: names(columns).into_iter().map(column).collect(),
            primary_key: names(key),
            ..TableSchema::default()
        }
    }

    fn reference(columns: &str, parent: &str, parent_columns: &str) -> ForeignKey {
        ForeignKey {
            columns: names(columns),
            parent: parent.into(),
            parent_columns: names(parent_columns),
            ..ForeignKey::default()
        }
    }

    fn plan(sender: &TableSchema, local: &TableSchema, strategy: Strategy) -> TablePlan {
        plan_table(sender, local, strategy, ExtraColumns::Refuse).unwrap()
    }

    fn linked(tables: &[(&TableSchema, Strategy)], known: &[KnownRows]) -> Vec<TablePlan> {
        let senders: Vec<_> = tables.iter().map(|(table, _)| *table).collect();
        let mut plans: Vec<_> = tables.iter().map(|(table, strategy)| plan(table, table, *strategy)).collect();
        assert_eq!(link(&mut plans, &senders, known), [0; 0]);
        plans
    }

    fn follow(incoming: &[usize], parent: &TableSchema, keys: ParentKeys) -> Follow {
        let key = key_of(parent).unwrap().unwrap().0;
        Follow { incoming: incoming.into(), parent: Arc::new(parent.clone()), key, keys }
    }

    #[test]
    fn children_follow_appended_parents_whatever_their_own_strategy() {
        let parent = table("Orders", "shop id", "shop id");
        let mut child = table("items", "no order_id shop_id", "no");
        child.foreign_keys.push(reference("ORDER_ID shop_id", "orders", "id shop"));
        for strategy in Strategy::ALL.iter().copied() {
            let plans = linked(&[(&child, strategy), (&parent, Strategy::Append)], &[]);
            assert_eq!(plans[0].follows, [follow(&[2, 1], &parent, ParentKeys::Appended)]);
        }
        assert!(linked(&[(&child, Strategy::Append), (&parent, Strategy::Overwrite)], &[])[0].follows.is_empty());
        assert!(linked(&[(&child, Strategy::Append)], &[])[0].follows.is_empty());
    }

    #[test]
    fn what_the_key_map_knows_is_followed_in_later_pulls() {
        let parent = table("p", "id", "id");
        let mut child = table("c", "id p", "id");
        child.foreign_keys.push(reference("p", "P", "id"));
        let known = |appended| [KnownRows { table: parent.clone(), appended }];
        for strategy in Strategy::ALL.iter().copied() {
            let follows = |tables: &[_], appended| linked(tables, &known(appended))[0].follows.clone();
            let alone = [(&child, strategy)];
            assert_eq!(follows(&alone, true), [follow(&[1], &parent, ParentKeys::AppendedBefore)]);
            assert_eq!(follows(&alone, false), [follow(&[1], &parent, ParentKeys::Kept)]);
            let both = [(&child, strategy), (&parent, Strategy::Merge)];
            assert_eq!(follows(&both, true), [follow(&[1], &parent, ParentKeys::Kept)]);
        }
    }

    #[test]
    fn rows_that_may_be_found_by_another_set_are_followed_where_they_are() {
        let mut parent = table("p", "id mail", "id");
        parent.unique.push(UniqueSet { columns: names("mail"), kind: UniqueKind::Partial, ..UniqueSet::default() });
        let mut child = table("c", "id p", "id");
        child.foreign_keys.push(reference("p", "p", "id"));
        for strategy in Strategy::ALL.iter().copied() {
            let keys = if strategy == Strategy::Append { ParentKeys::Appended } else { ParentKeys::Kept };
            let plans = linked(&[(&parent, strategy), (&child, Strategy::Skip)], &[]);
            assert_eq!(plans[1].follows, [follow(&[1], &parent, keys)], "{strategy}");
        }
    }

    #[test]
    fn a_record_may_be_here_under_another_key_unless_it_is_appended() {
        let mut users = table("u", "name id", "id");
        let known = [KnownRows { table: users.clone(), appended: false }];
        for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
            assert_eq!(linked(&[(&users, strategy)], &known)[0].follows, [follow(&[1], &users, ParentKeys::Kept)]);
            assert!(linked(&[(&users, strategy)], &[])[0].follows.is_empty());
        }
        assert!(linked(&[(&users, Strategy::Append)], &known)[0].follows.is_empty());
        users.unique.push(UniqueSet { columns: names("name"), kind: UniqueKind::Full, ..UniqueSet::default() });
        assert_eq!(linked(&[(&users, Strategy::Merge)], &[])[0].follows, [follow(&[1], &users, ParentKeys::Kept)]);
    }

    #[test]
    fn a_record_that_another_key_finds_does_not_follow_itself_and_its_children_do() {
        let mut users = table("u", "id mail boss", "id");
        users.unique.push(UniqueSet { columns: names("mail"), ..UniqueSet::default() });
        users.foreign_keys.push(reference("boss", "u", "id"));
        let mut child = table("c", "id u", "id");
        child.foreign_keys.push(reference("u", "u", "id"));
        let by = plan_table_by(&users, &users, Strategy::Merge, ExtraColumns::Refuse, &names("mail")).unwrap();
        let mut plans = [by, plan(&child, &child, Strategy::Skip)];
        let known = [KnownRows { table: users.clone(), appended: false }];
        assert_eq!(link(&mut plans, &[&users, &child], &known), [0; 0]);
        assert_eq!(plans[0].follows, [follow(&[2], &users, ParentKeys::Kept)]);
        assert_eq!(plans[1].follows, [follow(&[1], &users, ParentKeys::Kept)]);
    }

    #[test]
    fn a_table_follows_itself() {
        let mut node = table("node", "id up", "id");
        node.foreign_keys.push(reference("up", "NODE", "id"));
        let plans = linked(&[(&node, Strategy::Append)], &[]);
        assert_eq!(plans[0].follows, [follow(&[1], &node, ParentKeys::Appended)]);
    }

    #[test]
    fn names_go_by_the_rules_of_the_local_table() {
        let mut node = TableSchema { names: NameRules::Exact, ..table("t", "id up", "id") };
        node.foreign_keys = vec![reference("up", "T", "id"), reference("up", "t", "ID")];
        assert!(linked(&[(&node, Strategy::Append)], &[])[0].follows.is_empty());
        node.foreign_keys.push(reference("up", "t", "id"));
        assert_eq!(linked(&[(&node, Strategy::Append)], &[])[0].follows.len(), 1);
    }

    #[test]
    fn references_to_anything_but_the_key_stay() {
        let mut parent = table("p", "id mail", "id");
        parent.unique.push(UniqueSet { columns: names("mail"), kind: UniqueKind::Full, ..UniqueSet::default() });
        let mut child = table("c", "id mail", "id");
        child.foreign_keys.push(reference("mail", "p", "mail"));
        assert!(linked(&[(&parent, Strategy::Append), (&child, Strategy::Append)], &[])[1].follows.is_empty());
    }

    #[test]
    fn references_to_what_follows_follow_too() {
        let tenant = table("tenant", "id", "id");
        let mut parent = table("p", "id tenant code", "id");
        parent.foreign_keys.push(reference("tenant", "tenant", "id"));
        for columns in ["tenant id", "tenant code", "tenant"] {
            let mut child = table("c", "id t x", "id");
            child.foreign_keys.push(reference(if columns == "tenant" { "t" } else { "t x" }, "p", columns));
            let appended = Strategy::Append;
            let plans = linked(&[(&tenant, appended), (&parent, appended), (&child, appended)], &[]);
            let expected = match columns {
                "tenant id" => follow(&[2], &parent, ParentKeys::Appended),
                _ => follow(&[1], &tenant, ParentKeys::Appended),
            };
            assert!(plans[2].follows.contains(&expected), "{columns}: {:?}", plans[2].follows);
        }
    }

    #[test]
    fn the_senders_foreign_keys_count_too_and_once() {
        let (parent, local) = (table("p", "id", "id"), table("c", "id p", "id"));
        let mut sender = local.clone();
        sender.foreign_keys = vec![reference("p", "p", "id"), reference("P", "P", "ID")];
        let mut plans = [plan(&parent, &parent, Strategy::Append), plan(&sender, &local, Strategy::Skip)];
        link(&mut plans, &[&parent, &sender], &[]);
        assert_eq!(plans[1].follows, [follow(&[1], &parent, ParentKeys::Appended)]);
    }

    /// What a peer describes is looked at once: it took minutes, with the database locked.
    #[test]
    fn many_references_to_large_tables_are_followed_in_passing() {
        let columns: Vec<String> = (0..2_000).map(|number| format!("c{number}")).collect();
        let mut parent = table("p", &columns.join(" "), "c0");
        parent.unique.push(UniqueSet { columns: names("c1"), ..UniqueSet::default() });
        let mut child = table("c", &columns.join(" "), "c0");
        child.foreign_keys = columns.iter().map(|column| reference(column, "P", "c0")).collect();
        let began = std::time::Instant::now();
        let plans = linked(&[(&parent, Strategy::Skip), (&child, Strategy::Skip)], &[]);
        assert_eq!(plans[1].follows.len(), 2_000);
        assert!(plans[1].follows.iter().all(|follow| Arc::ptr_eq(&follow.parent, &plans[1].follows[0].parent)));
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    /// Each of the parent's references was looked at for each of the child's, which took the square of them.
    #[test]
    fn references_to_tables_with_thousands_of_their_own_are_followed_in_passing() {
        let columns: Vec<String> = (0..2_000).map(|number| format!("c{number}")).collect();
        let mut parent = table("p", &columns.join(" "), "c0");
        parent.unique.push(UniqueSet { columns: names("c1"), ..UniqueSet::default() });
        // None of these is taken in by a reference to one column.
        parent.foreign_keys = columns[2..].iter().map(|column| reference(&format!("c1 {column}"), "p", "c1 c2")).collect();
        let children: Vec<TableSchema> = (0..20)
            .map(|number| {
                let mut child = table(&format!("c{number}"), &columns.join(" "), "c0");
                child.foreign_keys = columns[2..].iter().map(|column| reference(column, "P", "c1")).collect();
                child
            })
            .collect();
        let began = std::time::Instant::now();
        let mut tables = vec![(&parent, Strategy::Skip)];
        tables.extend(children.iter().map(|child| (child, Strategy::Skip)));
        let plans = linked(&tables, &[]);
        assert!(plans[1..].iter().all(|plan| plan.follows.is_empty()));
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn references_that_lead_through_thousands_of_tables_are_not_followed_without_end() {
        // Each has the key of the next one, and the last one is followed.
        let chain: Vec<TableSchema> = (0..1_000)
            .map(|number| {
                let mut link = table(&format!("t{number}"), "id v", "id");
                link.foreign_keys.push(reference("id", &format!("T{}", number + 1), "id"));
                link
            })
            .collect();
        let link_all = |tables: &[TableSchema]| {
            let mut plans: Vec<_> = tables.iter().map(|table| plan(table, table, Strategy::Skip)).collect();
            let known = KnownRows { table: tables[tables.len() - 1].clone(), appended: true };
            let too_far = link(&mut plans, &tables.iter().collect::<Vec<_>>(), &[known]);
            (plans, too_far)
        };
        let (plans, too_far) = link_all(&chain[..MOST_FURTHER]);
        assert!(too_far.is_empty() && plans.iter().rev().skip(1).all(|plan| plan.follows.len() == 1));
        let (_, too_far) = link_all(&chain);
        assert!(too_far.contains(&0) && !too_far.contains(&999), "{too_far:?}");
    }
}
