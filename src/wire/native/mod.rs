//! The native protocol: binary messages between two rowferry sites, one in each binary frame of the WebSocket.
//!
//! The receiver of rows asks for a table ([`Fetch`]) and allows a number of bytes to be on their way. The sender sends pages
//! ([`PageEncoder`], [`Page`]) as long as bytes are left of what it was allowed, so that the last one may go beyond; the receiver
//! allows as many more as it is done with ([`Request::Credit`]). What counts is the length of a page's message. A sender sends
//! one table at a time: the next [`Fetch`] ends the one before. After the last page comes an [`End`]; a [`Refusal`] instead of it, or of everything, ends the answer
//! too. [`Request::Cancel`] stops the pages; those on their way still come. Every value arrives with its storage class and its
//! bits.
//!
//! # Layout, version 1
//!
//! Numbers are little-endian and without sign where nothing else is said. There is one way to write each message (but for the
//! choice to compress): what is written in another way is refused, and so is what has bytes left over.
//!
//! Each message:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `72 66`, "rf" |
//! | 1 | version: 1 |
//! | 1 | kind, see below |
//! | 4 | number of the request; answers repeat it |
//! | .. | body |
//! | 4 | CRC-32 (as in zlib) of all bytes before it |
//!
//! A *text* is its length in 2 bytes and so many bytes of UTF-8. A *place* takes the rest of the message, and none is there when
//! nothing is left: 1 byte run, 2 bytes number of values, the values; at most 65,536 bytes ([`PLACE_BYTES`]).
//!
//! **Fetch**, kind `01`, receiver to sender. The three numbers must not be 0.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | at about how many bytes of rows a page is cut |
//! | 4 | most rows of a page |
//! | 4 | bytes of pages that may be sent before the first credit |
//! | 1 | flags: 1 = pages may be compressed |
//! | .. | text: name of the table, at most 1,024 bytes |
//! | .. | place behind which to begin; none: at the first row |
//!
//! **Credit**, kind `02`, receiver to sender: 4 bytes, the bytes of pages that may be sent in addition; not 0.
//!
//! **Cancel**, kind `03`, receiver to sender: no body.
//!
//! **Page**, kind `11`, sender to receiver.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | number of the state (of the snapshot) that the rows are of |
//! | 4 | number of the page in this answer, from 0 on |
//! | 4 | columns |
//! | 4 | rows |
//! | 4 | length of the rows, uncompressed |
//! | 4 | length of the rows as they stand here: less if they are compressed, else the same |
//! | 1 | flags: 1 = rows are compressed (one LZ4 block), 2 = there are rows behind these |
//! | .. | rows, one after the other: of each the values, in the order of the columns |
//! | .. | place behind the last row, if the sender can come back to it |
//!
//! **End**, kind `12`, sender to receiver: 8 bytes rows sent in all; 1 byte flags: 1 = 16 bytes digest of the whole table follow.
//!
//! **Error**, kind `13`, sender to receiver.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags: 1 = a transfer, 2 = a time |
//! | .. | text: code, at most 64 bytes of `a`-`z`, `0`-`9`, `_` |
//! | .. | text: what failed and why, at most 2,048 bytes, no control characters |
//! | 16 | if flagged: uuid of the transfer that waits for approval |
//! | 4 | if flagged: seconds to wait before asking again |
//!
//! A value is a tag of one byte and what follows it:
//!
//! | tag | value | follows |
//! |---|---|---|
//! | `00` | absent: the record does not have the column | |
//! | `01` | NULL | |
//! | `02` | real | 8 bytes, IEEE 754 |
//! | `03` | text of 128 bytes and more | length, bytes |
//! | `04` | blob | length, bytes |
//! | `05` | no value, and only in front of a row's first one: the row was too large | length: the bytes that the row has at least |
//! | `10` + n | integer, n from 0 to 8 | n bytes, two's complement, as few as hold it (0: none) |
//! | `80` + n | text of n bytes, n from 0 to 127 | n bytes |
//!
//! A *length* is written with seven bits in a byte, the lowest first, the top bit set in each byte but the last; the last one is 0
//! only for the length 0. It has at most 63 bits. Text is bytes, usually UTF-8. Of a row that was too large the values of the
//! key are sent, if they are not too large themselves, and the others are absent.

mod cell;
#[cfg(any(test, fuzzing))]
pub mod check;
mod frame;
mod message;
mod pack;
mod page;
mod place;
#[cfg(test)]
mod tests;

pub use frame::VERSION;
pub use message::{Answer, CODE_BYTES, End, Fetch, Refusal, Request, TEXT_BYTES};
pub use page::{Page, PageEncoder, PageHead};
pub use place::{PLACE_BYTES, Place};
