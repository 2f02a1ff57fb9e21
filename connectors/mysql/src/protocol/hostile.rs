//! One packet read as everything that a server's packet can be.

use super::{
    Connection, auth,
    greeting::Greeting,
    prepared::{self, AnswerColumn},
    public_key,
    query::{Answer, Row},
};

/// Reads the packet as each of them. Nothing is asked of it.
pub(crate) fn read_any_packet(packet: &[u8]) {
    let _ = Greeting::parse(packet);
    let _ = auth::parse_switch(packet);
    let _ = public_key::encrypt(b"secret", packet);
    let _ = Connection::error_of(packet);
    if let Ok(Answer::Columns(columns)) = Answer::parse(packet) {
        let _ = Row::parse(packet, columns);
    }
    let _ = Row::parse(packet, 8);
    let _ = AnswerColumn::parse(packet);
    let _ = prepared::read_prepared(packet);
    let _ = prepared::row_of(packet);
}
