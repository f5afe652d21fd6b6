//! The identity of a plan: what must be the same for a table to resume at its checkpoint.

use sha2::{Digest, Sha256};

use crate::domain::schema::{Column, TableSchema};
use crate::plan::{Identity, ParentKeys, TablePlan};

/// The version of what is hashed. Another one is another plan.
const VERSION: u8 = 2;

/// A hash of named fields, each with its length, so that no two plans look the same.
struct Fields(Sha256);

impl Fields {
    fn new() -> Self {
        let mut hash = Sha256::new();
        hash.update([VERSION]);
        Fields(hash)
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.bytes(name, &[u8::from(value)]);
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        self.flag(name, value.is_some());
        self.text(name, value.unwrap_or_default());
    }

    fn number(&mut self, name: &str, value: usize) {
        self.bytes(name, &(value as u64).to_le_bytes());
    }

    fn numbers(&mut self, name: &str, values: &[usize]) {
        self.number(name, values.len());
        values.iter().for_each(|value| self.number(name, *value));
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        self.number(name, values.len());
        values.iter().for_each(|value| self.text(name, value));
    }

    fn column(&mut self, column: &Column) {
        self.text("column", &column.name);
        self.text("declared", &column.declared_type);
        self.flag("nullable", column.nullable);
        self.optional("default", column.default.as_deref());
        self.flag("generated", column.generated);
        self.optional("collation", column.collation.as_deref());
    }

    fn table(&mut self, side: &str, table: &TableSchema) {
        self.text("table", side);
        self.number("columns", table.columns.len());
        table.columns.iter().for_each(|column| self.column(column));
        self.texts("key", &table.primary_key);
        self.number("key collations", table.key_collations.len());
        table.key_collations.iter().for_each(|collation| self.optional("key collation", collation.as_deref()));
    }

    fn end(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the sender's rows are and in which order they come, and what becomes of them here.
pub(super) fn of(sender: &TableSchema, plan: &TablePlan, staged: bool) -> String {
    let mut fields = Fields::new();
    fields.table("there", sender);
    fields.text("name here", &plan.table.name);
    fields.table("here", &plan.table);
    fields.text("strategy", plan.strategy.as_str());
    fields.number("targets", plan.targets.len());
    for target in &plan.targets {
        fields.flag("taken", target.is_some());
        fields.number("target", target.unwrap_or_default());
    }
    match &plan.identity {
        Identity::WholeRow => fields.text("identity", "row"),
        Identity::Key { columns, incoming, nullable, .. } => {
            fields.text("identity", "key");
            fields.numbers("key columns", columns);
            fields.numbers("incoming key", incoming);
            fields.flag("nullable key", *nullable);
        }
    }
    if plan.kept_key.is_some() {
        fields.flag("kept key", true);
    }
    if let Some(column) = plan.newer_by {
        fields.number("newer by", column);
    }
    if plan.asks {
        fields.flag("asks", true);
    }
    fields.flag("keys may meet", plan.keys_may_meet);
    fields.number("follows", plan.follows.len());
    for follow in &plan.follows {
        fields.numbers("following", &follow.incoming);
        fields.text("followed", &follow.parent.name);
        let keys = match follow.keys {
            ParentKeys::Kept => "kept",
            ParentKeys::AppendedBefore => "appended before",
            ParentKeys::Appended => "appended",
        };
        fields.text("keys", keys);
    }
    fields.text("on taken key", plan.append.on_taken_key.as_str());
    fields.flag("staged", staged);
    fields.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::strategy::Strategy;
    use crate::plan::KeptKey;
    use crate::plan::table::{ExtraColumns, plan_table};

    fn table(columns: &[&str]) -> TableSchema {
        let column = |name: &&str| Column { name: (*name).to_owned(), ..Column::default() };
        TableSchema {
            name: "t".into(),
            columns: columns.iter().map(column).collect(),
            primary_key: vec![columns[0].into()],
            ..TableSchema::default()
        }
    }

    fn identity(sender: &TableSchema, strategy: Strategy, staged: bool) -> String {
        of(sender, &plan_table(sender, sender, strategy, ExtraColumns::Refuse).unwrap(), staged)
    }

    #[test]
    fn what_differs_has_another_identity() {
        let one = table(&["a", "bc"]);
        let identities = [
            identity(&one, Strategy::Skip, false),
            identity(&one, Strategy::Skip, true),
            identity(&one, Strategy::Merge, false),
            identity(&table(&["ab", "c"]), Strategy::Skip, false),
            identity(&TableSchema { key_collations: vec![Some("NOCASE".into())], ..one.clone() }, Strategy::Skip, false),
        ];
        let mut plan = plan_table(&one, &one, Strategy::Skip, ExtraColumns::Refuse).unwrap();
        let mut ruled = |rule: fn(&mut TablePlan)| {
            rule(&mut plan);
            of(&one, &plan, false)
        };
        let ruled = [
            ruled(|plan| plan.newer_by = Some(0)),
            ruled(|plan| plan.newer_by = Some(1)),
            ruled(|plan| plan.asks = true),
            ruled(|plan| plan.kept_key = Some(KeptKey { columns: vec![0] })),
        ];
        let identities = [&identities[..], &ruled].concat();
        for (at, identity) in identities.iter().enumerate() {
            assert!(identity.len() == 64 && !identities[..at].contains(identity), "{at}");
        }
        assert_eq!(identity(&one, Strategy::Skip, false), identities[0]);
    }

    /// Checkpoints of an interrupted pull are resumed after an update of the program only if this stays.
    #[test]
    fn it_stays_the_same_from_version_to_version() {
        let expected = "b594ea17171d733dc7674a30daef730bcf60ad7339013719508ed2bc7b3e173b";
        assert_eq!(identity(&table(&["id", "v"]), Strategy::Overwrite, false), expected);
    }
}
