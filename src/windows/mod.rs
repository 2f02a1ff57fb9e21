//! Windows: how rows that are read from a table now are put among the changes of the same table without ever going back in time.
//!
//! Whoever copies rows asks for a window on a table, reads, and asks to close it. Whoever writes changes (capture, or the
//! embedded form) keeps the windows, and writes the rows at the close. The protocol of one window:
//!
//! 1. **Open**, between two transactions. The answer is P, the position up to which the writer has taken changes over. From
//!    there on it remembers the key of every row of the table that it writes, old and new.
//! 2. **Wait** until the source shows everything up to P: what was delivered may not be visible yet.
//! 3. **Read** in a fresh view.
//! 4. **H** is a place in the source's log at or behind everything that the view could show: the end of the log, asked when the
//!    rows were read.
//! 5. **Close**, when the stream has been read to H and stands between two transactions: rows whose keys were touched since the
//!    opening are dropped, the others are written, with the documents that say so, in one transaction.
//!
//! Why it is right. A row that is left at the close was changed by no record between the opening and the close, and every record
//! before the opening is in the view. What the view shows lies at or before H, so it was changed by nothing that the stream
//! has not brought by the close. So at the close the row equals the source as of the stream's position, and every change after it
//! comes later: no record is ever followed by an older image of its key, no deleted row comes back, no row is ahead of the stream.
//!
//! What voids a window, so that its rows are read again:
//!
//! - a statement that changes the table: rows were read of one shape and would be written among rows of another;
//! - the end of the session that keeps it, a commit that failed included (E16): what is not committed is forgotten;
//! - more changes than can be remembered, or a change of one of its rows that did not tell all columns (E11): whoever copies reads
//!   smaller chunks;
//! - rows of another server than the one that is captured.
//!
//! A change that does not tell all columns, of a row that is not copied yet, finds no row in the target. Such a change is *marked* while
//! rows of its table are still to be copied (`uncopied`), and who meets a marked one without its row lets it pass; any other stops its
//! table by name. Why nothing is lost by that:
//!
//! - Marked is an update of a row that stays under its key, so the source has the row where the change stands. Either the chunk of its
//!   key is closed behind the change: the chunk's view has the change in it, or the change came in its window, which voids it, and the
//!   rows are read again; so the row comes with the change, or was deleted since. Or the chunk was closed before: then the row came
//!   with it, or by a change that told all of it (one that did not would have voided the window), and is there.
//! - What decides is the ledger as it is written where the change stands: what a chunk or an operator adds to it counts from the next
//!   record on, durable or not. It is stored in the transaction of the rows, so a session that begins anew marks again what it writes again.
//!   What a torn log has twice is dropped by its sequence; the first of the two stands before whatever the later session copies.
//! - Of two changes in part of a key that are merged, both must be marked: where one says that the row is there, it is. One behind a whole
//!   image of its key is no change in part any more.
//! - Whoever sets the target's progress back applies a marked change again to rows that are ahead: it passes where the row was deleted
//!   since, by a record that is applied again too.
//!
//! Never marked, so that they stop their table, are changes of tables of which rows may never come: tables that are not copied, or only
//! under a condition; copies that were given up, have failed or have a gap; tables that are done, also while a part is copied once more;
//! and updates of the key, because the chunk of the new key may be closed. What was marked before an operator gives a copy up, or takes
//! the table out of those that are copied, is missing like all rows that were not copied: until it is copied from its beginning.
//! While a table is copied, a row that somebody else deleted in the target is not noticed by a change in part.
//!
//! Keys are compared by their canonical bytes, which row images carry exactly, so no collation matters. Changes are remembered by
//! table and not by range: which keys lie between two others is the database's to say (E12).
//!
//! The tests that fail without each part: tests/model, the simulation's `copies`, the end-to-end tests of backfill.

mod book;
mod desk;
mod touched;
mod uncopied;

pub(crate) use book::{DueChunk, WindowBook};
pub use desk::Desk;
pub(crate) use desk::{Chunk, Closed, CopySession, Void, Window};
