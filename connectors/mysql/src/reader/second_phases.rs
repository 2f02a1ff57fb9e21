//! XA transactions of MariaDB that are committed by the binlog, and not yet by the table.
//!
//! A snapshot of MariaDB shows exactly what was logged before its place, but for one kind of transaction: XA COMMIT is logged first, and
//! only then are its rows made visible, in a step of its own. Seen on 10.11: under load some hundredths of all snapshots behind such a
//! COMMIT lacked its rows. But the server lists a transaction as prepared until the second step is done.
//!
//! So whatever is listed, and is not prepared at the position, may be committed before the position and not be visible yet: it is
//! waited for until it is listed no more. A name that the position does name can't be that of a COMMIT before it, since it is taken
//! until the COMMIT is done. What was prepared behind the position is waited for in vain if it stays; it will be named by a later
//! position. What was prepared before capture began is named by none.

use std::time::Duration;

use tailrace_contract::{Error, Position, Result};
use tokio::time::{Instant, sleep};

use crate::{
    events::{Xid, from_hex},
    position::unreadable,
    prepared::Prepared,
    protocol::{Connection, Row},
};

/// The second step takes no longer on a server that is well.
const WAIT_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until all XA transactions that were committed before the position can be seen.
pub(super) async fn wait(connection: &mut Connection, shown: &Position) -> Result<()> {
    let named = Prepared::parse(shown).ok_or_else(|| unreadable(shown))?;
    let deadline = Instant::now() + WAIT_MAX;
    let mut awaited = listed(connection).await?;
    awaited.retain(|xid| !named.names(xid));
    while let Some(xid) = awaited.first() {
        if Instant::now() >= deadline {
            return Err(Error::transient(format!(
                "the XA transaction {xid} is prepared: whether rows of it were captured and are not visible yet can't be told"
            ))
            .hint("it passes by itself, unless the transaction was prepared before capture began: then end it by XA COMMIT or XA ROLLBACK"));
        }
        sleep(PAUSE).await;
        let listed = listed(connection).await?;
        awaited.retain(|xid| listed.contains(xid));
    }
    Ok(())
}

async fn listed(connection: &mut Connection) -> Result<Vec<Xid>> {
    let rows = connection.query("XA RECOVER FORMAT = 'SQL'").await?;
    let xid = |row: &Row| {
        let (global, branch) = (row.number(1)?, row.number(2)?);
        let parts = parts(row.text(3), global, branch);
        let (global, branch) =
            parts.ok_or_else(|| Error::corrupt("can't read the server's list of XA transactions"))?;
        Ok(Xid { format: row.number(0)?, global, branch })
    };
    rows.iter().map(xid).collect()
}

/// The two parts of a name: `X'6162',X'ff',7`, or `'ab','c',7` where all characters can be printed. What is not needed is left out,
/// and their lengths tell where they end.
fn parts(text: &str, global_bytes: usize, branch_bytes: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let (quote, width) = if text.starts_with('X') { ("X'", 2) } else { ("'", 1) };
    let part = |text: &str| if width == 2 { from_hex(text) } else { Some(text.as_bytes().to_vec()) };
    let (global, rest) = text.strip_prefix(quote)?.split_at_checked(global_bytes * width)?;
    let rest = rest.strip_prefix('\'')?;
    if branch_bytes == 0 {
        return Some((part(global)?, Vec::new()));
    }
    let (branch, rest) = rest.strip_prefix(',')?.strip_prefix(quote)?.split_at_checked(branch_bytes * width)?;
    rest.starts_with('\'').then_some(())?;
    Some((part(global)?, part(branch)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_their_lengths() {
        for (text, global, branch) in [
            ("'q'", "q", ""),
            ("'q','',3", "q", ""),
            ("'it's','',''','b'", "it's','',''", "b"),
            ("X'7100',X'62',3", "q\0", "b"),
            ("X'7100'", "q\0", ""),
        ] {
            let expect = Some((global.as_bytes().to_vec(), branch.as_bytes().to_vec()));
            assert_eq!(parts(text, global.len(), branch.len()), expect, "{text}");
        }
        for bad in ["", "'", "q", "'qq'", "X'7", "X'7g'", "'q'x", "'ü'"] {
            assert_eq!(parts(bad, 1, 1), None, "{bad}");
        }
    }
}
