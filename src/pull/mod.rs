//! The pull, in five phases: what the sender [offers](offer), what is [planned](plan), rows that are [fetched](fetch) and
//! [applied](apply) in [rounds], and the [report].

mod apply;
mod approval;
#[cfg(feature = "client")]
mod by_code;
#[cfg(feature = "client")]
mod channel;
mod context;
mod dry;
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
mod memory;
mod not_copied;
mod offer;
mod options;
mod order;
mod owed;
mod plan;
mod planned;
mod progress;
#[cfg(all(test, feature = "sqlite"))]
mod pull_tests;
mod put_off;
mod reconnect;
mod report;
#[cfg(all(test, feature = "sqlite"))]
mod resume_tests;
mod rounds;
mod run;
mod session;
mod settle;
mod source;
mod states;
#[cfg(feature = "client")]
mod stored;
#[cfg(all(test, feature = "sqlite", feature = "client"))]
mod stream_tests;
mod teller;
mod verdict;
mod wait;

pub use options::TransferOptions;
pub use progress::{Phase, Progress};
pub use report::{Report, TableReport, TableStatus};
