//! The pull: ask what there is, plan, fetch pages, import them, check that all arrived.

mod approval;
#[cfg(feature = "client")]
mod by_code;
#[cfg(feature = "client")]
mod client;
mod comeback;
mod fetch;
mod history;
mod hold;
#[cfg(feature = "client")]
mod http;
mod local;
mod options;
mod order;
mod prepare;
mod progress;
mod pull;
#[cfg(all(test, feature = "sqlite"))]
mod pull_tests;
mod report;
mod resume;
#[cfg(all(test, feature = "sqlite"))]
mod resume_tests;
mod run;
mod source;
#[cfg(feature = "client")]
mod stored;
#[cfg(all(test, feature = "sqlite", feature = "client"))]
mod stream_tests;
mod wait;

pub(crate) use approval::Approval;
#[cfg(any(test, feature = "client"))]
pub(crate) use approval::Verdict;
#[cfg(any(test, feature = "client"))]
pub(crate) use history::Origin;
#[cfg(feature = "client")]
pub(crate) use http::HttpSource;
pub use options::TransferOptions;
pub use progress::Phase;
pub use progress::Progress;
pub(crate) use pull::pull;
pub use report::{Report, TableReport, TableStatus};
pub(crate) use source::Source;
