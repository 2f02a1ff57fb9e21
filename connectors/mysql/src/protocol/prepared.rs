//! Prepared statements without parameters, for the binary form of their rows: it has the exact bits of every number, and days
//! that don't exist. Rows are taken packet by packet from the connection's buffer, so memory does not grow with them.

use std::{ops::Range, time::Duration};

use tailrace_contract::{Error, Result};

use super::{
    connection::{Connection, within},
    cursor::{Cursor, Malformed},
    query::{Answer, is_end},
};
use crate::errors;

const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// How long the server may be silent while it looks for rows.
const SILENCE_MAX: Duration = Duration::from_secs(300);

const BAD: Malformed = Malformed::new("description of an answer's column");

/// A statement that the server has prepared on this connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared(u32);

/// A column of an answer, as far as it decides how its values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerColumn {
    /// The type, by the number of the protocol.
    pub(crate) code: u8,
    pub(crate) unsigned: bool,
}

impl AnswerColumn {
    pub(super) fn parse(packet: &[u8]) -> std::result::Result<Self, Malformed> {
        const UNSIGNED: u16 = 32;
        let mut cursor = Cursor::new(packet);
        // Catalog, database, table and column, each under two names but the first.
        for _ in 0..6 {
            cursor.packed_bytes()?;
        }
        let mut rest = Cursor::new(cursor.packed_bytes()?);
        // Collation and length.
        rest.take(6)?;
        let code = rest.u8()?;
        Ok(Self { code, unsigned: rest.u16()? & UNSIGNED != 0 })
    }
}

impl Connection {
    /// Prepares a statement that has no parameters.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<Prepared> {
        self.answered(async |connection| {
            connection.command(&[&[COM_STMT_PREPARE], sql.as_bytes()].concat()).await?;
            let packet = connection.receive_owned().await?;
            if packet.first() == Some(&0xff) {
                return Err(Self::error_of(&packet));
            }
            let (prepared, parts) = read_prepared(&packet).map_err(errors::malformed)?;
            for _ in 0..parts {
                connection.receive_owned().await?;
            }
            Ok(prepared)
        })
        .await
    }

    /// Runs the statement; its rows follow as packets, up to one that [`row_of`] says to be the last.
    pub(crate) async fn execute_prepared(&mut self, prepared: Prepared) -> Result<Vec<AnswerColumn>> {
        let mut command = vec![COM_STMT_EXECUTE];
        command.extend_from_slice(&prepared.0.to_le_bytes());
        // No cursor, once.
        command.extend_from_slice(&[0, 1, 0, 0, 0]);
        within(SILENCE_MAX, async {
            self.command(&command).await?;
            let Answer::Columns(count) = Answer::parse(&self.receive_owned().await?)? else {
                return Err(Error::corrupt("the server answered a SELECT without columns"));
            };
            let mut columns = Vec::new();
            for _ in 0..count {
                let packet = self.receive_owned().await?;
                columns.push(AnswerColumn::parse(&packet).map_err(errors::malformed)?);
            }
            let end = self.receive_owned().await?;
            if is_end(&end) { Ok(columns) } else { Err(errors::malformed(BAD)) }
        })
        .await
    }

    /// The next packet of rows, see [`row_of`].
    #[inline]
    pub(crate) async fn row_packet(&mut self) -> Result<Range<usize>> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            within(SILENCE_MAX, self.fill()).await?;
        }
    }

    /// Forgets the statement. The server does not answer.
    pub(crate) async fn close_prepared(&mut self, prepared: Prepared) -> Result<()> {
        self.command(&[&[COM_STMT_CLOSE][..], &prepared.0.to_le_bytes()].concat()).await
    }
}

/// The number of the statement, and how many packets follow.
pub(super) fn read_prepared(packet: &[u8]) -> std::result::Result<(Prepared, usize), Malformed> {
    let mut cursor = Cursor::new(packet);
    if cursor.u8()? != 0 {
        return Err(Malformed::new("answer to a preparation"));
    }
    let prepared = Prepared(cursor.u32()?);
    let (columns, parameters) = (usize::from(cursor.u16()?), usize::from(cursor.u16()?));
    // A list that is not empty has an end.
    let list = |count: usize| if count == 0 { 0 } else { count + 1 };
    Ok((prepared, list(parameters) + list(columns)))
}

/// The row of a packet behind its header: which columns are NULL, then the values. None: there are no more rows.
#[inline]
pub(crate) fn row_of(packet: &[u8]) -> Result<Option<&[u8]>> {
    match packet {
        [0, row @ ..] => Ok(Some(row)),
        [0xff, ..] => Err(Connection::error_of(packet)),
        _ if is_end(packet) => Ok(None),
        _ => Err(errors::malformed(Malformed::new("row: it has no header"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read() {
        let column = b"\x03def\x01d\x01t\x01t\x01c\x01c\x0c\x3f\0\x14\0\0\0\x08\x20\0\0\0\0";
        assert_eq!(AnswerColumn::parse(column), Ok(AnswerColumn { code: 8, unsigned: true }));
        for length in 0..column.len() - 4 {
            assert!(AnswerColumn::parse(&column[..length]).is_err(), "{length} bytes");
        }
        let (prepared, parts) = read_prepared(b"\0\x05\0\0\0\x02\0\0\0\0\0\0").unwrap();
        assert_eq!((prepared.0, parts), (5, 3));
        assert!(read_prepared(b"\x01").is_err());
    }

    #[test]
    fn rows_end_with_their_end() {
        assert_eq!(row_of(&[0, 1, 2]).unwrap(), Some(&[1, 2][..]));
        assert_eq!(row_of(&[0xfe, 0, 0, 2, 0]).unwrap(), None);
        assert!(row_of(b"\xff\x15\x04#28000x").is_err());
        assert!(row_of(&[]).is_err() && row_of(&[7]).is_err());
    }
}
