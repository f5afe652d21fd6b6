//! Transfers against a model of them: what each call does and refuses, and what lists, counts and sums give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rowferry::{
    ConnectionStats, Direction, ErrorKind, EventFilter, ManualClock, NewConnection, NewTransfer, Result, Site, Transfer,
    TransferCounters, TransferFilter, TransferStatus,
};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::support::homes::Home;

const BEGIN: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
const TABLES: [&str; 3] = ["users", "orders", "Users"];

struct World {
    _home: Home,
    site: Site,
    clock: Arc<ManualClock>,
    connections: [Uuid; 2],
}

impl World {
    /// One on each kind of database.
    fn each() -> impl Iterator<Item = World> {
        Home::each().into_iter().map(World::on)
    }

    fn on(home: Home) -> Self {
        let clock = Arc::new(ManualClock::new(BEGIN));
        let site = home.open(Site::builder().clock(clock.clone()));
        let connections = ["https://b.example", "https://c.example"]
            .map(|url| site.connections().create(NewConnection::sender(url, url)).unwrap().connection.uuid);
        World { _home: home, site, clock, connections }
    }

    /// The kinds of the events behind the number `seen`, each with its actor; and the last one's number.
    fn events(&self, seen: u64) -> (Vec<(String, String)>, u64) {
        let events = self.site.events().list(&EventFilter::new().after(seen)).unwrap();
        let last = events.last().map_or(seen, |event| event.id);
        (events.into_iter().map(|event| (event.kind.to_string(), event.actor)).collect(), last)
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn counters(transferred: u64, bytes: u64) -> TransferCounters {
    TransferCounters { records_transferred: transferred, bytes_transferred: bytes, ..TransferCounters::default() }
}

#[derive(Debug, Clone)]
enum Op {
    Create { send: bool, table: usize, connection: Option<usize>, requires_approval: bool },
    Start(usize),
    Progress(usize, u64, u64),
    Complete(usize, u64, u64),
    Fail(usize),
    Cancel(usize),
    RequestApproval(usize, u64),
    Approve(usize),
    Deny(usize),
    Delete(usize),
    ExpireApprovals,
    FailAbandoned(u64),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..8usize;
    prop_oneof![
        3 => (any::<bool>(), 0..TABLES.len(), proptest::option::of(0..2usize), any::<bool>())
            .prop_map(|(send, table, connection, requires_approval)| Op::Create { send, table, connection, requires_approval }),
        3 => which.clone().prop_map(Op::Start),
        2 => (which.clone(), 0..50u64, 0..500u64).prop_map(|(at, records, bytes)| Op::Progress(at, records, bytes)),
        2 => (which.clone(), 0..50u64, 0..500u64).prop_map(|(at, records, bytes)| Op::Complete(at, records, bytes)),
        1 => which.clone().prop_map(Op::Fail),
        1 => which.clone().prop_map(Op::Cancel),
        3 => (which.clone(), 0..20u64).prop_map(|(at, time)| Op::RequestApproval(at, time)),
        2 => which.clone().prop_map(Op::Approve),
        1 => which.clone().prop_map(Op::Deny),
        1 => which.prop_map(Op::Delete),
        1 => Just(Op::ExpireApprovals),
        1 => (0..20u64).prop_map(Op::FailAbandoned),
        2 => (0..15u64).prop_map(Op::Advance),
    ]
}

/// A transfer as it should be.
#[derive(Debug, Clone)]
struct Model {
    uuid: Uuid,
    direction: Direction,
    table: &'static str,
    connection: Option<Uuid>,
    requires_approval: bool,
    status: TransferStatus,
    records: u64,
    bytes: u64,
    expires: u64,
    touched: u64,
    made: u64,
}

/// What a call should answer, and the events that it should leave.
type Expected = (Option<ErrorKind>, Vec<&'static str>);

fn refused(kind: ErrorKind) -> Expected {
    (Some(kind), Vec::new())
}

impl Model {
    fn moved(&mut self, status: TransferStatus, now: u64, event: &'static str) -> Expected {
        self.status = status;
        self.touched = now;
        (None, vec![event])
    }

    /// One that ran has ended: the totals of its connection have it, if it was completed or moved records.
    fn ended(&self, totals: &mut Totals) {
        if let Some(uuid) = self.connection
            && (self.status == TransferStatus::Completed || self.records > 0)
        {
            let sums = totals.entry(uuid).or_default();
            *sums = (sums.0 + 1, sums.1 + self.records, sums.2 + self.bytes);
        }
    }

    fn raise(&mut self, records: u64, bytes: u64) {
        self.records = self.records.max(records);
        self.bytes = self.bytes.max(bytes);
    }

    /// What becomes of it, written down without a look at the code.
    fn apply(&mut self, op: &Op, now: u64) -> Expected {
        use TransferStatus::*;
        let status = self.status;
        let illegal = || refused(ErrorKind::InvalidTransition);
        match op {
            Op::Start(_) => match status {
                Approved => self.moved(InProgress, now, "transfer.started"),
                Pending if !self.requires_approval => self.moved(InProgress, now, "transfer.started"),
                _ => refused(ErrorKind::CannotStart),
            },
            Op::Progress(_, records, bytes) => match status {
                InProgress => {
                    self.raise(*records, *bytes);
                    self.touched = now;
                    (None, Vec::new())
                }
                _ => illegal(),
            },
            Op::Complete(_, records, bytes) => match status {
                InProgress => {
                    self.raise(*records, *bytes);
                    self.moved(Completed, now, "transfer.completed")
                }
                _ => illegal(),
            },
            Op::Fail(_) => match status {
                Pending | Approved | InProgress => self.moved(Failed, now, "transfer.failed"),
                _ => illegal(),
            },
            Op::Cancel(_) => match status {
                Pending | PendingApproval | Approved | InProgress => self.moved(Cancelled, now, "transfer.cancelled"),
                _ => illegal(),
            },
            Op::RequestApproval(_, time) => match status {
                Pending => {
                    self.requires_approval = true;
                    self.expires = now + time;
                    self.moved(PendingApproval, now, "transfer.approval_requested")
                }
                _ => illegal(),
            },
            Op::Approve(_) | Op::Deny(_) => match status {
                PendingApproval if now >= self.expires => {
                    self.moved(Expired, now, "transfer.expired");
                    (Some(ErrorKind::ApprovalExpired), vec!["transfer.expired"])
                }
                PendingApproval if matches!(op, Op::Approve(_)) => self.moved(Approved, now, "transfer.approved"),
                PendingApproval => self.moved(Denied, now, "transfer.denied"),
                _ => illegal(),
            },
            _ => unreachable!("not about one transfer"),
        }
    }
}

/// What went through each connection: transfers, records, bytes.
type Totals = BTreeMap<Uuid, (u64, u64, u64)>;

fn run(world: &World, ops: &[Op]) -> (Vec<Model>, Totals) {
    let transfers = world.site.transfers();
    let named = transfers.by("alice");
    let mut models: Vec<Model> = Vec::new();
    let mut totals: Totals = world.connections.iter().map(|uuid| (*uuid, (0, 0, 0))).collect();
    let (mut now, mut seen) = (0, world.events(0).1);
    for op in ops {
        let (answer, expected, actor) = match op {
            Op::Advance(seconds) => {
                world.clock.advance(Duration::from_secs(*seconds));
                now += seconds;
                (None, (None, Vec::new()), "host")
            }
            Op::Create { send, table, connection, requires_approval } => {
                let direction = if *send { Direction::Send } else { Direction::Receive };
                let new = NewTransfer::new(direction, TABLES[*table]).requires_approval(*requires_approval);
                let connection = connection.map(|at| world.connections[at]);
                let made = transfers.create(match connection {
                    Some(uuid) => new.connection(uuid),
                    None => new,
                });
                let made = made.unwrap();
                assert_eq!(made.remote_site_url.is_some(), connection.is_some());
                assert_eq!((made.status, made.initiated_by.as_deref()), (TransferStatus::Pending, Some("host")));
                models.push(Model {
                    uuid: made.uuid,
                    direction,
                    table: TABLES[*table],
                    connection,
                    requires_approval: *requires_approval,
                    status: TransferStatus::Pending,
                    records: 0,
                    bytes: 0,
                    expires: 0,
                    touched: now,
                    made: now,
                });
                (None, (None, vec!["transfer.created"]), "host")
            }
            Op::ExpireApprovals => {
                let late: Vec<_> = models
                    .iter_mut()
                    .filter(|model| model.status == TransferStatus::PendingApproval && model.expires <= now)
                    .map(|model| model.status = TransferStatus::Expired)
                    .collect();
                assert_eq!(named.expire_pending_approvals().unwrap(), late.len() as u64);
                (None, (None, vec!["transfer.expired"; late.len()]), "alice")
            }
            Op::FailAbandoned(age) => {
                let before = now.saturating_sub(*age);
                let dead: Vec<_> = models
                    .iter_mut()
                    .filter(|model| model.status == TransferStatus::InProgress && model.touched < before)
                    .map(|model| {
                        model.status = TransferStatus::Failed;
                        model.ended(&mut totals);
                    })
                    .collect();
                let before = BEGIN + Duration::from_secs(before);
                assert_eq!(named.fail_abandoned(before).unwrap(), dead.len() as u64);
                (None, (None, vec!["transfer.failed"; dead.len()]), "alice")
            }
            Op::Delete(at) => {
                let Some(model) = models.get(*at).cloned() else {
                    assert_eq!(kind(named.delete(Uuid::nil())), Some(ErrorKind::NotFound));
                    continue;
                };
                let expected = match model.status {
                    TransferStatus::InProgress => refused(ErrorKind::InvalidTransition),
                    _ => {
                        models.remove(*at);
                        (None, vec!["transfer.deleted"])
                    }
                };
                (kind(named.delete(model.uuid)), expected, "alice")
            }
            Op::Start(at)
            | Op::Progress(at, ..)
            | Op::Complete(at, ..)
            | Op::Fail(at)
            | Op::Cancel(at)
            | Op::RequestApproval(at, _)
            | Op::Approve(at)
            | Op::Deny(at) => {
                let uuid = models.get(*at).map_or(Uuid::nil(), |model| model.uuid);
                let answer = kind(match op {
                    Op::Start(_) => named.start(uuid),
                    Op::Progress(_, records, bytes) => named.update_progress(uuid, &counters(*records, *bytes)),
                    Op::Complete(_, records, bytes) => named.complete(uuid, &counters(*records, *bytes)),
                    Op::Fail(_) => named.fail(uuid, "the wire broke"),
                    Op::Cancel(_) => named.cancel(uuid, None),
                    Op::RequestApproval(_, time) => named.request_approval(uuid, Duration::from_secs(*time)),
                    Op::Approve(_) => named.approve(uuid),
                    _ => named.deny(uuid, Some("not today")),
                });
                let expected = match models.get_mut(*at) {
                    Some(model) => {
                        let before = model.status;
                        let expected = model.apply(op, now);
                        if before == TransferStatus::InProgress && before != model.status {
                            model.ended(&mut totals);
                        }
                        expected
                    }
                    None => refused(ErrorKind::NotFound),
                };
                (answer, expected, "alice")
            }
        };
        let (expected_kind, expected_events) = expected;
        assert_eq!(answer, expected_kind, "{op:?}");
        let (events, last) = world.events(seen);
        seen = last;
        let expected_events: Vec<_> =
            expected_events.into_iter().map(|event| (event.to_owned(), actor.to_owned())).collect();
        assert_eq!(events, expected_events, "{op:?}");
        for model in &models {
            let kept = transfers.get(model.uuid).unwrap();
            assert_eq!(kept.status, model.status, "{op:?}");
            assert_eq!(
                (kept.counters, kept.requires_approval),
                (counters(model.records, model.bytes), model.requires_approval)
            );
            assert_eq!(kept.completed_at.is_some(), model.status.is_final());
        }
    }
    (models, totals)
}

/// Which models a filter should choose, the newest first.
#[derive(Debug, Clone)]
struct Wanted {
    direction: Option<Direction>,
    statuses: Vec<TransferStatus>,
    table: Option<usize>,
    connection: Option<usize>,
    requires_approval: Option<bool>,
    from: Option<u64>,
    to: Option<u64>,
    limit: u32,
    offset: u64,
    oldest_first: bool,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let direction = proptest::option::of(prop_oneof![Just(Direction::Send), Just(Direction::Receive)]);
    let statuses = proptest::sample::subsequence(TransferStatus::ALL.to_vec(), 0..=TransferStatus::ALL.len());
    let table = proptest::option::of(0..TABLES.len());
    let moment = || proptest::option::of(0..100u64);
    let through = proptest::option::of(0..2usize);
    let needs = proptest::option::of(any::<bool>());
    let which = (direction, statuses, table, through, needs);
    (which, moment(), moment(), 0..6u32, 0..4u64, any::<bool>()).prop_map(
        |((direction, statuses, table, connection, requires_approval), from, to, limit, offset, oldest_first)| Wanted {
            direction,
            statuses,
            table,
            connection,
            requires_approval,
            from,
            to,
            limit,
            offset,
            oldest_first,
        },
    )
}

impl Wanted {
    fn filter(&self, connections: &[Uuid; 2]) -> TransferFilter {
        let mut filter = TransferFilter::new().statuses(self.statuses.clone()).limit(self.limit).offset(self.offset);
        if let Some(direction) = self.direction {
            filter = filter.direction(direction);
        }
        if let Some(table) = self.table {
            filter = filter.table(TABLES[table]);
        }
        if let Some(connection) = self.connection {
            filter = filter.connection(connections[connection]);
        }
        if let Some(required) = self.requires_approval {
            filter = filter.requires_approval(required);
        }
        if let Some(from) = self.from {
            filter = filter.from(BEGIN + Duration::from_secs(from));
        }
        if let Some(to) = self.to {
            filter = filter.to(BEGIN + Duration::from_secs(to));
        }
        if self.oldest_first { filter.oldest_first() } else { filter }
    }

    fn takes(&self, connections: &[Uuid; 2], model: &Model) -> bool {
        self.direction.is_none_or(|direction| model.direction == direction)
            && (self.statuses.is_empty() || self.statuses.contains(&model.status))
            && self.table.is_none_or(|table| model.table == TABLES[table])
            && self.connection.is_none_or(|at| model.connection == Some(connections[at]))
            && self.requires_approval.is_none_or(|required| model.requires_approval == required)
            && self.from.is_none_or(|from| model.made >= from)
            && self.to.is_none_or(|to| model.made <= to)
    }
}

fn uuids(transfers: Vec<Transfer>) -> Vec<Uuid> {
    transfers.into_iter().map(|transfer| transfer.uuid).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn transfers_do_what_a_model_of_them_does(
        ops in proptest::collection::vec(op(), 1..40),
        filters in proptest::collection::vec(wanted(), 8),
    ) {
        for world in World::each() {
        let (models, totals) = run(&world, &ops);
        let transfers = world.site.transfers();
        for wanted in filters.clone() {
            let filter = wanted.filter(&world.connections);
            let mut chosen: Vec<&Model> = models.iter().filter(|model| wanted.takes(&world.connections, model)).collect();
            prop_assert_eq!(transfers.count(&filter).unwrap(), chosen.len() as u64);
            let mut tables: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
            for model in &chosen {
                let sums = tables.entry(model.table).or_default();
                *sums = (sums.0 + 1, sums.1 + model.records, sums.2 + model.bytes);
            }
            let stats = transfers.table_stats(&filter).unwrap();
            let stats: Vec<_> = stats.iter().map(|s| (&*s.table_name, (s.transfers, s.records, s.bytes))).collect();
            prop_assert_eq!(stats, tables.into_iter().collect::<Vec<_>>());
            if !wanted.oldest_first {
                chosen.reverse();
            }
            let page = |chosen: Vec<&Model>| -> Vec<Uuid> {
                let page = chosen.into_iter().skip(wanted.offset as usize).take(wanted.limit as usize);
                page.map(|model| model.uuid).collect()
            };
            prop_assert_eq!(uuids(transfers.list(&filter).unwrap()), page(chosen.clone()));
            let now = (world.site.clock().now() - BEGIN).whole_seconds() as u64;
            let waiting = Wanted { statuses: vec![TransferStatus::PendingApproval], ..wanted.clone() };
            let mut waits: Vec<_> = models.iter().filter(|model| waiting.takes(&world.connections, model) && model.expires > now).collect();
            if !wanted.oldest_first {
                waits.reverse();
            }
            prop_assert_eq!(uuids(transfers.pending_approvals(&filter).unwrap()), page(waits));
        }
        for uuid in world.connections {
            let through = models.iter().filter(|model| model.connection == Some(uuid));
            let mut sums = (0, 0, 0, 0, 0);
            for model in through {
                let stands = |status| u64::from(model.status == status);
                sums.0 += 1;
                sums.1 += stands(TransferStatus::Completed);
                sums.2 += stands(TransferStatus::Failed);
                sums.3 += model.records;
                sums.4 += model.bytes;
            }
            let stats: ConnectionStats = transfers.connection_stats(uuid).unwrap();
            let stats = (stats.total_transfers, stats.completed, stats.failed, stats.total_records, stats.total_bytes);
            prop_assert_eq!(stats, sums);
            let kept = world.site.connections().get(uuid).unwrap();
            let kept = (kept.total_transfers, kept.total_records_transferred, kept.total_bytes_transferred);
            prop_assert_eq!(kept, totals[&uuid]);
        }
        let newest: Vec<Uuid> = models.iter().rev().map(|model| model.uuid).collect();
        prop_assert_eq!(uuids(transfers.recent(3).unwrap()), newest[..newest.len().min(3)].to_vec());
        let running: Vec<Uuid> =
            models.iter().rev().filter(|model| model.status == TransferStatus::InProgress).map(|model| model.uuid).collect();
        prop_assert_eq!(uuids(transfers.active().unwrap()), running);
}
    }
}

#[test]
fn everything_that_is_known_comes_back() {
    for world in World::each() {
        let transfers = world.site.transfers().by("alice");
        let mut metadata = rowferry::Metadata::new();
        metadata.insert("why".to_owned(), "nightly".into());
        let session = Uuid::now_v7();
        let new = NewTransfer::new(Direction::Send, "users")
            .session(session)
            .remote_site_url("https://b.example")
            .records_requested(7)
            .conflict_strategy(rowferry::Strategy::Merge)
            .requester_ip("::ffff:192.0.2.1".parse().unwrap())
            .requester_user_agent("x".repeat(10_000))
            .initiated_by("bob")
            .metadata(metadata.clone());
        let made = transfers.create(new).unwrap();
        assert_eq!(made, transfers.get(made.uuid).unwrap());
        assert_eq!((made.session, made.connection, made.inserted_at), (Some(session), None, BEGIN));
        assert_eq!(made.remote_site_url.as_deref(), Some("https://b.example"));
        assert_eq!((made.records_requested, made.conflict_strategy), (Some(7), Some(rowferry::Strategy::Merge)));
        assert_eq!((made.requester_ip.as_deref(), made.initiated_by.as_deref()), (Some("192.0.2.1"), Some("bob")));
        assert_eq!(made.requester_user_agent.unwrap().len(), 2_000, "what a peer says of itself is cut");
        assert_eq!(made.metadata, metadata);

        let asked = transfers.request_approval(made.uuid, Duration::from_secs(24 * 3600)).unwrap();
        assert_eq!(asked.approval_expires_at, Some(datetime!(2026-01-03 03:04:05 UTC)));
        world.clock.advance(Duration::from_secs(10));
        let approved = transfers.approve(made.uuid).unwrap();
        assert_eq!(approved.approved_by.as_deref(), Some("alice"));
        assert_eq!(approved.approved_at, Some(BEGIN + Duration::from_secs(10)));
        transfers.start(made.uuid).unwrap();
        world.clock.advance(Duration::from_secs(5));
        let all = TransferCounters {
            records_transferred: 10,
            records_created: 4,
            records_updated: 3,
            records_skipped: 2,
            records_failed: 1,
            bytes_transferred: 1_000,
        };
        let done = transfers.complete(made.uuid, &all).unwrap();
        assert_eq!((done.counters, done.success_rate()), (all, Some(0.9)));
        assert_eq!(done.duration(), Some(time::Duration::seconds(5)));
        assert_eq!(done, transfers.get(made.uuid).unwrap());

        let other = transfers.create(NewTransfer::new(Direction::Receive, "users")).unwrap();
        transfers.request_approval(other.uuid, Duration::from_secs(60)).unwrap();
        let denied = transfers.deny(other.uuid, Some("not today")).unwrap();
        assert_eq!((denied.denied_by.as_deref(), denied.denial_reason.as_deref()), (Some("alice"), Some("not today")));
        assert!(denied.denied_at.is_some() && denied.completed_at.is_some());
    }
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    for world in World::each() {
        let transfers = world.site.transfers();
        let unnamed = NewTransfer::new(Direction::Send, "");
        assert_eq!(kind(transfers.create(unnamed)), Some(ErrorKind::InvalidInput));
        let through_nothing = NewTransfer::new(Direction::Send, "users").connection(Uuid::now_v7());
        assert_eq!(kind(transfers.create(through_nothing)), Some(ErrorKind::NotFound));
        let made = transfers.create(NewTransfer::new(Direction::Send, "users")).unwrap();
        assert_eq!(kind(transfers.request_approval(made.uuid, Duration::MAX)), Some(ErrorKind::InvalidInput));
        transfers.start(made.uuid).unwrap();
        assert_eq!(kind(transfers.complete(made.uuid, &counters(u64::MAX, 0))), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(transfers.update_progress(made.uuid, &counters(0, 1 << 53))), Some(ErrorKind::InvalidInput));
        assert_eq!(transfers.get(made.uuid).unwrap().status, TransferStatus::InProgress);
        let about = EventFilter::new().transfer(made.uuid);
        let events = world.site.events().list(&about).unwrap();
        assert_eq!(events.len(), 2, "created and started: {events:?}");
    }
}
