//! The pull, in five phases: what the sender [offers](offer), what is [planned](plan), rows that are [fetched](fetch) and
//! [applied](apply) in [rounds], and the [report].

mod apply;
mod approval;
mod bounds;
#[cfg(feature = "client")]
mod by_code;
mod callbacks;
#[cfg(feature = "client")]
mod channel;
mod context;
mod dry;
#[cfg(feature = "client")]
mod enter;
mod errors;
mod fetch;
mod fetching;
mod file_numbers;
mod finish;
mod flow;
mod hold;
#[cfg(feature = "client")]
mod http;
mod identity;
mod make;
mod memory;
mod not_copied;
mod numbers;
mod offer;
mod options;
mod order;
mod owed;
mod parent_names;
mod plan;
mod planned;
mod progress;
#[cfg(all(test, feature = "sqlite"))]
mod pull_tests;
mod put_off;
#[cfg(feature = "client")]
mod receiver;
mod reconnect;
mod report;
mod report_json;
mod reporter;
#[cfg(all(test, feature = "sqlite"))]
mod resume_tests;
mod rounds;
mod rules;
mod run;
mod session;
mod settle;
mod source;
mod states;
#[cfg(feature = "client")]
mod stored;
#[cfg(all(test, feature = "sqlite", feature = "client"))]
pub(crate) mod stream_tests;
mod verdict;
mod wait;
mod wanted;

pub use callbacks::FailureAction;
#[cfg(feature = "client")]
pub(crate) use channel::refuse_itself;
#[cfg(feature = "client")]
pub(crate) use context::Context;
#[cfg(feature = "client")]
pub(crate) use http::HttpSource;
#[cfg(feature = "client")]
pub(crate) use offer::{Offered, ask as ask_offer};
#[cfg(feature = "client")]
pub(crate) use options::OnProgress;
pub use options::PullOptions;
pub use progress::{Phase, Progress};
pub use report::{Report, TableReport, TableStatus};
#[cfg(feature = "client")]
pub(crate) use source::Source;
