//! What the site keeps of its pulls: the one place that knows which are alive, how far each table is, which appends were finished,
//! which rows wait, what records became, and the history of what was pulled, for as long as it is kept. Every write of a pull goes
//! through [`Ledger`].

pub(crate) mod appends;
pub(crate) mod checkpoints;
mod counted;
pub(crate) mod counts;
mod end;
mod forget;
mod here;
pub(crate) mod history;
mod indexed;
pub(crate) mod indexes;
pub(crate) mod key_map;
mod known;
mod lacking;
mod made;
mod not_copied;
mod pause;
pub(crate) mod prune;
pub(crate) mod pulls;
pub(crate) mod references;
mod resume;
mod run;
mod scope;
pub(crate) mod stages;
pub(crate) mod taken_keys;
pub(crate) mod undo;
pub(crate) mod waiting;
#[cfg(all(feature = "client", feature = "server"))]
pub(crate) mod whole;

pub(crate) use checkpoints::{Checkpoint, Reached, Step};
pub(crate) use counted::Counted;
pub(crate) use end::Ending;
pub(crate) use forget::forget_scope;
pub(crate) use here::Here;
pub(crate) use resume::RunningPulls;
pub(crate) use run::{Begin, Ledger, Other};
pub(crate) use scope::Scope;
