//! What must hold for any bytes: for tests and the fuzzer.

use super::frame::{self, Kind};
use super::{Answer, PageEncoder, Request};
use crate::domain::text::has_hidden;
use crate::domain::value::{Rows, ValueRef};
use crate::wire::records::{Cut, PageLimits};

const LIMITS: PageLimits = PageLimits { records: 10_000, bytes: 16 << 20 };

/// Reads a message as both ends do. What can be read is written again as it came, but for what compresses in another way.
///
/// # Panics
/// If it is not so.
pub fn written_again(frame: &[u8]) {
    if let Ok(request) = Request::decode(frame) {
        assert_eq!(request.encode().expect("it was sent"), frame);
    }
    match Answer::decode(frame) {
        Ok(Answer::End(end)) => assert_eq!(end.encode(), frame),
        Ok(Answer::Scanned(scanned)) => assert_eq!(scanned.encode(), frame),
        Ok(Answer::Summary(summary)) => assert_eq!(summary.encode(), frame),
        Ok(Answer::Cells(cells)) => assert_eq!(cells.encode(), frame),
        Ok(Answer::Error(error)) => {
            // A long text is shortened, and what is hidden in it became blanks, which are shorter; once it is so, it stays.
            let written = error.encode();
            assert!(written.len() < frame.len() || written == frame);
            assert!(!has_hidden(&error.text), "{error:?}");
            let Ok(Answer::Error(again)) = Answer::decode(&written) else { panic!("{error:?} became another message") };
            assert_eq!(again.encode(), written);
        }
        Ok(Answer::Page(page)) => {
            let columns = page.columns as usize;
            let mut rows = Rows::new(columns);
            let Ok(failures) = page.read(columns, &[0], LIMITS, &mut rows) else { return };
            assert_eq!(rows.len() + failures.len(), page.rows as usize);
            let mut encoder = PageEncoder::new(columns, false);
            assert_eq!(encoder.add(&rows, 0..rows.len(), &[0], Cut::NONE), rows.len());
            let again = encoder.finish(page.head, page.place.as_ref());
            if failures.is_empty() && !page.is_packed() {
                assert_eq!(again, frame);
            }
            let Ok(Answer::Page(page)) = Answer::decode(&again) else { panic!("a page became another message") };
            let mut back = Rows::new(columns);
            assert!(page.read(columns, &[0], LIMITS, &mut back).expect("a page can be read").is_empty());
            assert!(same(&rows, &back), "{rows:?} became {back:?}");
        }
        _ => {}
    }
}

/// A message of this content, with the checksum that belongs to it.
pub fn sealed(content: &[u8]) -> Vec<u8> {
    frame::seal(content.to_vec())
}

/// A page whose rows are these bytes, whether they are or not.
pub fn page_of(columns: u32, rows: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = frame::begin(Kind::Page, 1);
    out.extend_from_slice(&[0; 12]);
    for number in [columns, rows, bytes.len() as u32, bytes.len() as u32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(bytes);
    frame::seal(out)
}

/// Whether both have the same cells, class for class and bit for bit.
pub fn same(one: &Rows, other: &Rows) -> bool {
    let same = |(a, b): (Option<ValueRef<'_>>, Option<ValueRef<'_>>)| match (a, b) {
        (Some(a), Some(b)) => a.same(b),
        (a, b) => a.is_none() && b.is_none(),
    };
    one.width() == other.width()
        && one.len() == other.len()
        && (0..one.len()).all(|row| one.row(row).zip(other.row(row)).all(same))
}
