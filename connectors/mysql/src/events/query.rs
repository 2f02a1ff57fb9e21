//! Statements in the binlog: transaction control, DDL, and changes in statement format.

use crate::protocol::{Cursor, Malformed};

/// A statement and as much of its context as its meaning needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueryEvent<'a> {
    /// The connection that executed it.
    pub(crate) thread: u32,
    /// The default database, in the server's bytes.
    pub(crate) database: &'a [u8],
    /// The statement, in the client's charset.
    pub(crate) text: &'a [u8],
    pub(crate) sql_mode: u64,
    /// The collation of the client's charset.
    pub(crate) client_collation: Option<u16>,
    /// The databases that the statement writes, if the server lists them.
    pub(crate) updated_databases: Option<Vec<&'a [u8]>>,
    /// The session's time zone, if the server says it.
    pub(crate) time_zone: Option<&'a [u8]>,
    /// Whether a TIMESTAMP column may be NULL like any other (`explicit_defaults_for_timestamp`), if the server says it.
    pub(crate) has_plain_timestamps: Option<bool>,
}

impl<'a> QueryEvent<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        Self::parse_behind(&mut cursor, 0)
    }

    /// `extra` bytes of the post-header stand before the status variables.
    fn parse_behind(cursor: &mut Cursor<'a>, extra: usize) -> Result<Self, Malformed> {
        let thread = cursor.u32()?;
        cursor.u32()?;
        let database_bytes = usize::from(cursor.u8()?);
        cursor.u16()?;
        let status_bytes = usize::from(cursor.u16()?);
        cursor.take(extra)?;
        let mut status = Cursor::new(cursor.take(status_bytes)?);
        let database = cursor.take(database_bytes)?;
        cursor.take(1)?;
        let mut query = Self {
            thread,
            database,
            text: cursor.rest(),
            sql_mode: 0,
            client_collation: None,
            updated_databases: None,
            time_zone: None,
            has_plain_timestamps: None,
        };
        // A variable that we don't know ends the list for us: what is behind it counts as not said.
        while let Ok(Some(())) = query.read_status(&mut status) {}
        Ok(query)
    }

    fn read_status(&mut self, status: &mut Cursor<'a>) -> Result<Option<()>, Malformed> {
        if status.is_empty() {
            return Ok(None);
        }
        match status.u8()? {
            variable::FLAGS2 | variable::AUTO_INCREMENT | variable::MASTER_DATA_WRITTEN => {
                status.take(4)?;
            }
            variable::SQL_MODE => self.sql_mode = status.u64()?,
            variable::CATALOG | variable::CATALOG_OLD => {
                let length = usize::from(status.u8()?);
                status.take(length)?;
            }
            variable::TIME_ZONE => {
                let length = usize::from(status.u8()?);
                self.time_zone = Some(status.take(length)?);
            }
            variable::CHARSET => {
                self.client_collation = Some(status.u16()?);
                status.take(4)?;
            }
            variable::LC_TIME_NAMES | variable::CHARSET_DATABASE | variable::DEFAULT_COLLATION_FOR_UTF8MB4 => {
                {
                    status.take(2)?;
                };
            }
            variable::TABLE_MAP_FOR_UPDATE | variable::DDL_XID | variable::XID_OF_MARIADB => {
                status.take(8)?;
            }
            variable::INVOKER => {
                for _ in 0..2 {
                    let length = usize::from(status.u8()?);
                    status.take(length)?;
                }
            }
            variable::MICROSECONDS | variable::MICROSECONDS_OF_MARIADB => {
                status.take(3)?;
            }
            variable::EXPLICIT_DEFAULTS => self.has_plain_timestamps = Some(status.u8()? != 0),
            variable::REQUIRE_PRIMARY_KEY | variable::TABLE_ENCRYPTION => {
                {
                    status.take(1)?;
                };
            }
            variable::UPDATED_DATABASES => {
                const TOO_MANY: u8 = 254;
                let count = status.u8()?;
                if count != TOO_MANY {
                    self.updated_databases = Some((0..count).map(|_| status.until_zero()).collect::<Result<_, _>>()?);
                }
            }
            _ => return Ok(None),
        }
        Ok(Some(()))
    }
}

/// Codes of the status variables.
mod variable {
    pub(super) const FLAGS2: u8 = 0;
    pub(super) const SQL_MODE: u8 = 1;
    pub(super) const CATALOG_OLD: u8 = 2;
    pub(super) const AUTO_INCREMENT: u8 = 3;
    pub(super) const CHARSET: u8 = 4;
    pub(super) const TIME_ZONE: u8 = 5;
    pub(super) const CATALOG: u8 = 6;
    pub(super) const LC_TIME_NAMES: u8 = 7;
    pub(super) const CHARSET_DATABASE: u8 = 8;
    pub(super) const TABLE_MAP_FOR_UPDATE: u8 = 9;
    pub(super) const MASTER_DATA_WRITTEN: u8 = 10;
    pub(super) const INVOKER: u8 = 11;
    pub(super) const UPDATED_DATABASES: u8 = 12;
    pub(super) const MICROSECONDS: u8 = 13;
    pub(super) const EXPLICIT_DEFAULTS: u8 = 16;
    pub(super) const DDL_XID: u8 = 17;
    pub(super) const DEFAULT_COLLATION_FOR_UTF8MB4: u8 = 18;
    pub(super) const REQUIRE_PRIMARY_KEY: u8 = 19;
    pub(super) const TABLE_ENCRYPTION: u8 = 20;
    pub(super) const MICROSECONDS_OF_MARIADB: u8 = 128;
    pub(super) const XID_OF_MARIADB: u8 = 129;
}

/// Reads EXECUTE_LOAD_QUERY: LOAD DATA in statement format, a query with the place of a file name before its variables.
pub(crate) fn parse_load_query(body: &[u8]) -> Result<QueryEvent<'_>, Malformed> {
    QueryEvent::parse_behind(&mut Cursor::new(body), 13)
}
