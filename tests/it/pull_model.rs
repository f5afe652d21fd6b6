//! Pulls over a real socket against the model: random tables and rows, page sizes and commits, changes on both sides.

use crate::support::common::Fixture;
use crate::support::model::make::{rows, tables};
use crate::support::model::sql::{fill, read};
use crate::support::model::{Counts, Model, Record, Row, Table, sorted};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rowferry::{Auth, Client, ConnectOptions, Direction, Limits, PullOptions, Report, Server, Site, Strategy as Choice};

const NAMES: [&str; 3] = ["t", "Group By", "größe; --"];

/// What happens to the rows of one side: some go, others come.
#[derive(Clone, Debug)]
struct Change {
    gone: Vec<Index>,
    new: Vec<Row>,
}

impl Change {
    fn apply(&self, model: &mut Model) {
        for gone in &self.gone {
            if !model.rows.is_empty() {
                model.rows.remove(gone.index(model.rows.len()));
            }
        }
        self.new.iter().for_each(|row| _ = model.insert(row));
    }
}

/// One table of the sender, and what happens to it there and here before each of the later pulls.
#[derive(Clone, Debug)]
struct Story {
    table: Table,
    rows: Vec<Row>,
    changes: Vec<(Change, Change)>,
}

fn stories() -> impl Strategy<Value = Vec<Story>> {
    let story = tables().prop_flat_map(|table| {
        let change = || (vec(any::<Index>(), 0..8), vec(rows(&table), 0..8)).prop_map(|(gone, new)| Change { gone, new });
        let changes = vec((change(), change()), 3);
        let rows = vec(rows(&table), 0..60);
        (Just(table), rows, changes).prop_map(|(table, rows, changes)| Story { table, rows, changes })
    });
    vec(story, 1..=NAMES.len())
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    page_bytes: usize,
    page_rows: usize,
    commit_rows: usize,
    batch_size: u32,
}

fn cuts() -> impl Strategy<Value = Cut> {
    (1..4_000usize, 1..80usize, 1..80usize, 1..80u32).prop_map(|(page_bytes, page_rows, commit_rows, batch_size)| Cut {
        page_bytes,
        page_rows,
        commit_rows,
        batch_size,
    })
}

struct Side {
    fixture: Fixture,
    site: Site,
    models: Vec<Model>,
}

impl Side {
    fn new(sql: &str, models: Vec<Model>, cut: Cut) -> Side {
        let fixture = Fixture::new(sql);
        let mut limits = Limits::default();
        (limits.wire.page_bytes, limits.wire.page_rows, limits.pull.commit_rows) =
            (cut.page_bytes, cut.page_rows, cut.commit_rows);
        let site = Site::builder().limits(limits).open(fixture.path()).unwrap();
        Side { fixture, site, models }
    }

    /// Makes the tables hold what the models do.
    fn write(&self) {
        for (name, model) in NAMES.iter().zip(&self.models) {
            self.fixture.run(&format!("DELETE FROM \"{name}\""));
            fill(&self.fixture.sqlite, name, &model.rows);
        }
    }

    fn rows(&self, name: &str) -> Vec<String> {
        sorted(&read(&self.fixture.sqlite, &format!("SELECT * FROM \"{name}\"")))
    }
}

fn pull(sender: &Side, receiver: &Side, options: PullOptions<'_>) -> Report {
    let server = Server::bind(&sender.site, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = sender.site.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.pull(&receiver.site, options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pulls_do_what_the_model_does(stories in stories(), cut in cuts(), first in 0..3usize) {
        let mut sql = String::new();
        let mut models = Vec::new();
        for (name, story) in NAMES.iter().zip(&stories) {
            sql += &story.table.sql(name);
            let mut model = Model::new(story.table.clone());
            story.rows.iter().for_each(|row| _ = model.insert(row));
            models.push(model);
        }
        let mut sender = Side::new(&sql, models.clone(), cut);
        sender.write();
        // What is made here has no CHECK: nothing that a sender says is run.
        models.iter_mut().flat_map(|model| &mut model.table.columns).for_each(|column| column.check = false);
        models.iter_mut().for_each(|model| model.has_sender = true);
        let mut receiver = Side::new("", models, cut);

        let report = pull(&sender, &receiver, PullOptions::new().batch_size(cut.batch_size));
        prop_assert!(report.is_clean() && report.one_state, "{:?}", report);
        for name in &NAMES[..stories.len()] {
            let digest = |side: &Side| side.site.table_checksum(name).unwrap();
            prop_assert_eq!(digest(&sender), digest(&receiver), "{}", name);
            prop_assert_eq!(sender.rows(name), receiver.rows(name), "{}", name);
        }

        for step in 0..3 {
            let strategy = [Choice::Skip, Choice::Overwrite, Choice::Merge][(first + step) % 3];
            for (at, story) in stories.iter().enumerate() {
                story.changes[step].0.apply(&mut sender.models[at]);
                story.changes[step].1.apply(&mut receiver.models[at]);
            }
            sender.write();
            receiver.write();
            let report = pull(&sender, &receiver, PullOptions::new().strategy(strategy).batch_size(cut.batch_size));
            prop_assert!(report.one_state);
            for (at, name) in NAMES.iter().enumerate().take(stories.len()) {
                let there = &sender.models[at];
                let record = |row: Row| -> Record { row.into_iter().map(Some).collect() };
                let records: Vec<Record> = there.table.ordered(&there.rows).into_iter().map(record).collect();
                let columns: Vec<usize> = (0..there.table.columns.len()).collect();
                let expected = receiver.models[at].import(strategy, &columns, &records);
                let table = report.table(name).unwrap();
                prop_assert_eq!(Counts::of(&table.outcome), expected, "{} {}: {:?}", strategy, name, table);
                prop_assert_eq!(receiver.rows(name), sorted(&receiver.models[at].rows), "{} {}", strategy, name);
            }
        }
    }
}
