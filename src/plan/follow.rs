//! Which records refer to rows that have other keys here than at the sender: those of tables that are appended in the same pull, and
//! those that the key map of an earlier pull knows.

use super::{Follow, Identity, ParentKeys, TablePlan};
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
/// made from a reference sender's schema has none of its own.
pub fn link(plans: &mut [TablePlan], senders: &[TableSchema], known: &[KnownRows]) {
    let pulled: Vec<(String, Option<Parent>)> =
        plans.iter().map(|plan| (plan.table.name.clone(), Parent::pulled(plan, known))).collect();
    let schemas: Vec<TableSchema> =
        plans.iter().map(|plan| plan.table.clone()).chain(known.iter().map(|known| known.table.clone())).collect();
    for (child, plan) in plans.iter_mut().enumerate() {
        let names = plan.table.names;
        let before = |name: &str| {
            let known = known.iter().find(|known| names.same(&known.table.name, name))?;
            let keys = if known.appended { ParentKeys::AppendedBefore } else { ParentKeys::Kept };
            Parent::new(&known.table, keys)
        };
        let parent = |name: &str| match pulled.iter().find(|(other, _)| names.same(other, name)) {
            Some((_, parent)) => parent.clone(),
            None => before(name),
        };
        let theirs = senders.get(child).map_or(&[][..], |sender| &sender.foreign_keys);
        let mut follows: Vec<Follow> = Vec::new();
        let mut keys: Vec<ForeignKey> = plan.table.foreign_keys.iter().chain(theirs).cloned().collect();
        let mut at = 0;
        while let Some(key) = keys.get(at).cloned() {
            at += 1;
            let follow = parent(&key.parent).and_then(|parent| parent.followed_by(plan, &key));
            // Columns beside the parent's key may follow themselves: then it refers to the same as they do.
            if follow.as_ref().is_none_or(|follow| follow.key.len() < key.columns.len())
                && let Some(parent) = schemas.iter().find(|table| names.same(&table.name, &key.parent))
            {
                keys.extend(through(parent, &key).filter(|further| !keys.contains(further)).collect::<Vec<_>>());
            }
            if let Some(follow) = follow.filter(|follow| !follows.contains(follow)) {
                follows.push(follow);
            }
        }
        if let (Identity::Key { incoming, .. }, Some(own)) = (&plan.identity, &pulled[child].1)
            && own.keys == ParentKeys::Kept
        {
            let Parent { table, key, keys } = own.clone();
            follows.push(Follow { incoming: incoming.clone(), parent: table, key, keys });
        }
        plan.follows = follows;
    }
}

/// What a foreign key refers to by way of those of its parent, where it takes in all their columns.
fn through<'k>(parent: &'k TableSchema, key: &'k ForeignKey) -> impl Iterator<Item = ForeignKey> {
    parent.foreign_keys.iter().filter_map(|further| {
        let position = |column: &String| key.parent_columns.iter().position(|other| parent.names.same(other, column));
        let at = further.columns.iter().map(position).collect::<Option<Vec<usize>>>()?;
        let columns = at.iter().map(|at| key.columns.get(*at).cloned()).collect::<Option<Vec<String>>>()?;
        Some(ForeignKey { columns, ..further.clone() })
    })
}

/// A table whose rows may have other keys here.
#[derive(Clone)]
struct Parent {
    table: TableSchema,
    key: Vec<usize>,
    keys: ParentKeys,
}

impl Parent {
    fn new(table: &TableSchema, keys: ParentKeys) -> Option<Self> {
        let (key, _) = key_of(table).ok()??;
        Some(Parent { table: table.clone(), key, keys })
    }

    /// The table of a plan, if its rows get new keys, or may be here under others.
    fn pulled(plan: &TablePlan, known: &[KnownRows]) -> Option<Self> {
        let Identity::Key { columns, .. } = &plan.identity else { return None };
        let is_known = || known.iter().any(|known| known.table.name == plan.table.name);
        let keys = match plan.strategy {
            Strategy::Append => ParentKeys::Appended,
            _ if plan.has_unique_sets() || is_known() => ParentKeys::Kept,
            _ => return None,
        };
        Some(Parent { table: plan.table.clone(), key: columns.clone(), keys })
    }

    /// How a child follows it; `None` if the foreign key does not refer to its key, alone or with other columns, or if the records lack one
    /// of the columns.
    fn followed_by(self, child: &TablePlan, key: &ForeignKey) -> Option<Follow> {
        if key.columns.len() != key.parent_columns.len() {
            return None;
        }
        let position = |column: &usize| {
            let name = &self.table.columns[*column].name;
            let at = key.parent_columns.iter().position(|column| child.table.names.same(column, name))?;
            let column = child.table.column_index(&key.columns[at])?;
            child.targets.iter().position(|target| *target == Some(column))
        };
        let incoming = self.key.iter().map(position).collect::<Option<Vec<usize>>>()?;
        Some(Follow { incoming, parent: self.table, key: self.key, keys: self.keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::NameRules;
    use crate::domain::schema::{Column, UniqueKind, UniqueSet};
    use crate::plan::table::{ExtraColumns, plan_table};

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
        let senders: Vec<_> = tables.iter().map(|(table, _)| (*table).clone()).collect();
        let mut plans: Vec<_> = tables.iter().map(|(table, strategy)| plan(table, table, *strategy)).collect();
        link(&mut plans, &senders, known);
        plans
    }

    fn follow(incoming: &[usize], parent: &TableSchema, keys: ParentKeys) -> Follow {
        let key = key_of(parent).unwrap().unwrap().0;
        Follow { incoming: incoming.into(), parent: parent.clone(), key, keys }
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
        link(&mut plans, &[parent.clone(), sender], &[]);
        assert_eq!(plans[1].follows, [follow(&[1], &parent, ParentKeys::Appended)]);
    }
}
