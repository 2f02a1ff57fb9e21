//! What the server, the network and malformed bytes mean for the engine: the only file that decides an error's kind.
//!
//! Unknown is [`ErrorKind::Refused`](tailrace_contract::ErrorKind): a number that nobody thought about must not be retried
//! for ever. The server's own text is handed on, because our statements carry no row value that it could quote.

use std::io;

use tailrace_contract::{Error, ErrorKind};

use crate::protocol::Malformed;

/// An ERR packet: number, SQL state and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) number: u16,
    pub(crate) state: String,
    pub(crate) text: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "server error {} ({}): {}", self.number, self.state, self.text)
    }
}

impl std::error::Error for ServerError {}

/// `ER_SOURCE_FATAL_ERROR_READING_BINLOG`: everything that ends a binlog dump comes under this number.
const DUMP_ENDED: u16 = 1236;
/// `ER_SLAVE_SAME_ID`: MariaDB's number for what MySQL says under the one above.
const SAME_SERVER_ID: u16 = 4052;

/// The error of a server's answer.
pub(crate) fn server_error(error: ServerError) -> Error {
    let number = error.number;
    if number == DUMP_ENDED {
        return dump_ended(error);
    }
    if number == SAME_SERVER_ID {
        return fenced(error);
    }
    let (kind, message) = match number {
        1040 | 1203 | 1226 => (ErrorKind::Transient, "the server takes no more connections"),
        1053 | 3169 | 1927 | 1317 | 1077 | 1079 => {
            (ErrorKind::Transient, "the server is shutting down or ended the connection")
        }
        1043 | 1152 | 1158..=1161 | 1184 | 2002 | 2003 | 2006 | 2013 | 4031 => {
            (ErrorKind::Transient, "the connection to the server broke")
        }
        1205 | 1213 | 1969 | 3024 | 3572 => (ErrorKind::Transient, "the server gave up a statement that was waiting"),
        1021 | 1037 | 1038 | 1041 => (ErrorKind::Transient, "the server is out of memory or disk"),
        1412 => (ErrorKind::Transient, "the table was altered while it was read"),
        3032 | 3168 => (ErrorKind::Transient, "the server is not ready yet"),
        1044 | 1045 | 1698 | 1130 | 1129 | 3118 | 3879 | 3955 => (ErrorKind::Refused, "the server refuses the login"),
        1142 | 1143 | 1227 | 1370 | 3530 => (ErrorKind::Refused, "the account lacks a privilege"),
        1820 | 1862 => (ErrorKind::Refused, "the account's password has expired"),
        _ => (ErrorKind::Refused, "the server refuses a statement"),
    };
    let error = Error::new(kind, message).caused_by(error);
    match number {
        1044 | 1045 | 1698 => error.hint("check the account in source.url, source.password, and whether the account demands TLS"),
        1129 => error.hint("the server blocks this host after failed connections: FLUSH HOSTS, or TRUNCATE performance_schema.host_cache"),
        1142 | 1143 | 1227 | 1370 | 3530 => {
            error.hint("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* and SELECT on the captured tables to the account")
        }
        _ => error,
    }
}

/// Whether the account may not do what was asked, whatever there is.
pub(crate) fn is_privilege_missing(error: &Error) -> bool {
    matches!(number(error), Some(1044 | 1142 | 1143 | 1227 | 1370 | 3530))
}

/// Whether a lock was waited for in vain.
pub(crate) fn is_lock_missing(error: &Error) -> bool {
    number(error) == Some(1205)
}

/// Whether the server has the transactions, and does not send them because its gtid_mode was another one when it logged them.
pub(crate) fn is_of_other_gtid_mode(error: &Error) -> bool {
    let answer = error.cause().and_then(|cause| cause.downcast_ref::<ServerError>());
    answer.is_some_and(|answer| answer.number == DUMP_ENDED && answer.text.to_lowercase().contains("gtid_mode"))
}

/// Whether there was no answer at all.
pub(crate) fn is_connection_gone(error: &Error) -> bool {
    number(error).is_none()
}

fn number(error: &Error) -> Option<u16> {
    error.cause()?.downcast_ref::<ServerError>().map(|answer| answer.number)
}

fn fenced(error: ServerError) -> Error {
    Error::fenced("another replica connected to the server under our server_id")
        .caused_by(error)
        .hint("no two captures may share [source] server_id; end the other one or choose another number")
}

/// The one number of many meanings: only the text tells them apart.
fn dump_ended(error: ServerError) -> Error {
    let text = error.text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["same server_uuid/server_id", "same server_uuid", "same server_id"]) {
        return fenced(error);
    }
    if has(&[
        "purged",
        "could not find first log file",
        "more gtids than",
        "impossible position",
        "position > file size",
        "not found in binary log index",
        "could not find gtid state",
        "not in the master's binlog",
        "missing the gtid",
    ]) {
        return Error::position_lost("the server no longer has the binlog from our position on")
            .caused_by(error)
            .hint("capture can't go on without a gap: start anew and copy the tables again");
    }
    if has(&["checksum", "bogus data", "corrupt", "wrong offset", "event too small"]) {
        return Error::corrupt("the server can't read its own binlog").caused_by(error);
    }
    if has(&["anonymous", "auto_position mode", "gtid_mode"]) {
        return Error::refused("the server can't send its binlog by GTID")
            .caused_by(error)
            .hint("the binlog holds transactions without GTID, or gtid_mode changed: start anew, by file and offset or behind the change");
    }
    if has(&["log event entry exceeded"]) {
        return Error::refused("the server may not send an event of its binlog: it is larger than max_allowed_packet")
            .caused_by(error)
            .hint(
                "SET GLOBAL max_allowed_packet = 1073741824 on the source and start again; if that does not help, the position \
                 (file and offset) is not the beginning of an event of this server",
            );
    }
    if has(&["out of memory", "memory allocation failed", "shutdown", "server is shutting"]) {
        return Error::transient("the server ended the binlog dump").caused_by(error);
    }
    Error::refused("the server ended the binlog dump").caused_by(error)
}

/// An error of the network below the packets.
pub(crate) fn network(error: io::Error) -> Error {
    let kind = match error.kind() {
        // A certificate that does not hold comes as invalid data from the TLS layer.
        io::ErrorKind::InvalidData => ErrorKind::Refused,
        _ => ErrorKind::Transient,
    };
    Error::new(kind, "the connection to the server broke").caused_by(error)
}

/// Bytes outside the protocol.
pub(crate) fn malformed(malformed: Malformed) -> Error {
    Error::corrupt("the server sent what the protocol does not allow").caused_by(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(number: u16, text: &str) -> ErrorKind {
        server_error(ServerError { number, state: "HY000".to_owned(), text: text.to_owned() }).kind()
    }

    #[test]
    fn numbers_decide() {
        for (number, kind) in [
            (1040, ErrorKind::Transient),
            (1053, ErrorKind::Transient),
            (1927, ErrorKind::Transient),
            (1158, ErrorKind::Transient),
            (1161, ErrorKind::Transient),
            (2013, ErrorKind::Transient),
            (1045, ErrorKind::Refused),
            (1044, ErrorKind::Refused),
            (1227, ErrorKind::Refused),
            (9999, ErrorKind::Refused),
        ] {
            assert_eq!(kind_of(number, ""), kind, "{number}");
        }
    }

    #[test]
    fn a_dump_ends_for_many_reasons() {
        for (text, kind) in [
            ("Could not find first log file name in binary log index file", ErrorKind::PositionLost),
            ("Cannot replicate because the source purged required binary logs.", ErrorKind::PositionLost),
            ("Replica has more GTIDs than the source has", ErrorKind::PositionLost),
            ("Client requested source to start replication from position > file size", ErrorKind::PositionLost),
            ("A replica with the same server_uuid/server_id as this replica has connected", ErrorKind::Fenced),
            ("event read from binlog did not pass crc check; Checksum failure", ErrorKind::Corrupt),
            ("Cannot replicate anonymous transaction when AUTO_POSITION = 1", ErrorKind::Refused),
            ("log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source", ErrorKind::Refused),
            ("memory allocation failed reading log event", ErrorKind::Transient),
            ("something new", ErrorKind::Refused),
        ] {
            assert_eq!(kind_of(DUMP_ENDED, text), kind, "{text}");
        }
    }
}
