//! What is kept of a table whose pages are on their way to a rowferry peer.

use uuid::Uuid;

use super::download::{Download, Encoder};
use crate::access::Account;
use crate::domain::value::Rows;
use crate::export::Page;
use crate::secret::SiteKey;
use crate::wire::native::{PageEncoder, PageHead};
use crate::wire::records::Cut;

/// The most bytes of a peer's credit that count, so that it is looked now and then what it has to say.
pub(super) const MOST_CREDIT: i64 = 64 << 20;

/// A table on its way to the peer.
pub(super) struct Sending {
    pub(super) request: u32,
    pub(super) download: Download,
    /// Most records of a page.
    pub(super) page_rows: u64,
    /// Bytes that may be sent.
    pub(super) credit: i64,
    pub(super) pages: Pages,
    /// Rows that were sent.
    pub(super) rows: u64,
    /// Whether the last page was sent.
    pub(super) ended: bool,
    /// Whether the peer says that it has it: the pull is over only then, because a connection that is lost takes with it what
    /// was on its way.
    pub(super) arrived: bool,
}

/// Writes the pages of an answer.
pub(super) struct Pages {
    pub(super) request: u32,
    pub(super) encoder: PageEncoder,
    /// The columns of the key.
    pub(super) key: Vec<usize>,
    pub(super) cut: Cut,
    /// The longest place that there is room for.
    pub(super) place_bytes: usize,
    /// What the places of named pulls are signed with.
    pub(super) places: Option<SiteKey>,
    /// The name of the pull.
    pub(super) pull: Option<Uuid>,
    /// Pages that were written.
    pub(super) count: u32,
    /// The one that was written last, and what it counts of the credit.
    pub(super) last: Option<(Vec<u8>, i64)>,
}

impl Encoder for Pages {
    fn encode(&mut self, page: &Page, rows: &Rows, account: &Account) -> (usize, u64) {
        let count = self.encoder.add(rows, 0..rows.len(), &self.key, self.cut);
        let head = PageHead {
            request: self.request,
            sequence: self.count,
            state: page.state,
            more: page.more || count < rows.len(),
        };
        let sum = self.pull.zip(self.encoder.sum());
        let place = page.cursor.as_ref().and_then(|cursor| account.place(self.places.as_ref(), count as u64, cursor, sum));
        let place = place.filter(|place| place.encode().is_some_and(|bytes| bytes.len() <= self.place_bytes));
        let cost = i64::try_from(self.encoder.cost()).unwrap_or(i64::MAX);
        let message = self.encoder.finish(head, place.as_ref());
        let bytes = message.len() as u64;
        self.last = Some((message, cost));
        self.count = self.count.wrapping_add(1);
        (count, bytes)
    }
}
