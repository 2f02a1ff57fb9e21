//! Asking for the binlog: the session's settings, our registration as a replica, the request itself.

use tailrace_contract::{Result, SourceSettings};

use crate::{
    gtid::GtidSet,
    position::{BinlogPosition, FileOffset},
    protocol::Connection,
    server,
};

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_REPLICA: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// End the dump at the end of the binlog instead of waiting.
const NON_BLOCK: u16 = 1;
/// Tell positions beyond 4 GiB in heartbeats.
const HEARTBEAT_V2: u16 = 2;
/// The same number means to MariaDB: send statements' texts with their rows.
const STATEMENTS_OF_MARIADB: u16 = 2;

/// The first event of a file.
const FILE_HEAD: u64 = 4;

/// Where the dump begins.
pub(crate) struct DumpStart {
    /// The stream begins at the file's begin, because the request has no room for an offset beyond 4 GiB.
    pub(crate) has_lead_in: bool,
}

/// Makes the connection a replica's that follows the binlog from the position on.
pub(crate) async fn request(
    connection: &mut Connection,
    settings: &SourceSettings,
    position: &BinlogPosition,
) -> Result<DumpStart> {
    prepare(connection, settings, position).await?;
    register(connection, settings.server_id).await?;
    let (command, has_lead_in) = dump(settings.server_id, position, flags(connection));
    connection.begin_dump(&command).await?;
    Ok(DumpStart { has_lead_in })
}

/// The same, up to the present end of the binlog.
pub(crate) async fn request_present(
    connection: &mut Connection,
    settings: &SourceSettings,
    position: &BinlogPosition,
) -> Result<()> {
    prepare(connection, settings, position).await?;
    let flags = flags(connection) | NON_BLOCK;
    connection.begin_dump(&dump(settings.server_id, position, flags).0).await
}

/// A part of the binlog that lies in the past.
pub(crate) enum Logged<'a> {
    /// What lies from there on in this file and those behind it.
    File(&'a FileOffset),
    /// The transactions that are not in the set.
    Behind(&'a GtidSet),
}

/// Asks for something that was logged, up to the end of the binlog, besides what a replica follows: without a server id, which the
/// server would end the replica's connection for. Gives the offset at which the answer begins in its file.
pub(crate) async fn request_logged(
    connection: &mut Connection,
    settings: &SourceSettings,
    logged: Logged<'_>,
) -> Result<u64> {
    const NO_REPLICA: u32 = 0;
    let period = settings.heartbeat.as_nanos();
    connection
        .execute(&format!(
            "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32', @mariadb_slave_capability = 4, \
             @source_heartbeat_period = {period}, @master_heartbeat_period = {period}, SESSION net_write_timeout = 3600"
        ))
        .await?;
    let flags = flags(connection) | NON_BLOCK;
    let (command, begin) = match logged {
        Logged::File(FileOffset { file, offset }) => {
            // A request has no room for an offset beyond 4 GiB.
            let begin = u32::try_from(*offset).unwrap_or(4);
            (dump_by_file(NO_REPLICA, file, begin, flags), u64::from(begin))
        }
        Logged::Behind(set) => (dump_by_gtid(NO_REPLICA, &set.encode(), flags), FILE_HEAD),
    };
    connection.begin_dump(&command).await?;
    Ok(begin)
}

/// What each server is to send. Of MariaDB from 11 on also the statements' texts, which nobody reads: there only the sum of
/// everything sent tells where an event inside of a transaction lies.
fn flags(connection: &Connection) -> u16 {
    let version = connection.version();
    match version.is_mariadb {
        false => HEARTBEAT_V2,
        true if version.is_mariadb_since(11, 0) => STATEMENTS_OF_MARIADB,
        true => 0,
    }
}

/// The request, and whether the stream begins before the position.
fn dump(server_id: u32, position: &BinlogPosition, flags: u16) -> (Vec<u8>, bool) {
    match position {
        BinlogPosition::Gtids { set, .. } => (dump_by_gtid(server_id, &set.encode(), flags), false),
        // The list was told before.
        BinlogPosition::Domains { .. } => (dump_by_file(server_id, "", 4, flags), false),
        BinlogPosition::File { at, .. } => match u32::try_from(at.offset) {
            Ok(offset) => (dump_by_file(server_id, &at.file, offset, flags), false),
            Err(_) => (dump_by_file(server_id, &at.file, 4, flags), true),
        },
    }
}

/// Asks for one file from its begin, up to the end of the binlog and no further.
pub(crate) async fn request_to_end(connection: &mut Connection, settings: &SourceSettings, file: &str) -> Result<()> {
    connection.execute("SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32'").await?;
    connection.begin_dump(&dump_by_file(settings.server_id, file, 4, NON_BLOCK | HEARTBEAT_V2)).await
}

/// Servers before 8.0.26, and MariaDB, know the second name of each variable only.
async fn prepare(connection: &mut Connection, settings: &SourceSettings, position: &BinlogPosition) -> Result<()> {
    let period = settings.heartbeat.as_nanos();
    let uuid = server::replica_uuid(settings.server_id);
    // A reader that waits for its target may read nothing for long; the server's default gives it up after a minute.
    connection
        .execute(&format!(
            "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32', \
             @source_heartbeat_period = {period}, @master_heartbeat_period = {period}, \
             @replica_uuid = '{uuid}', @slave_uuid = '{uuid}', SESSION net_write_timeout = 3600"
        ))
        .await?;
    let BinlogPosition::Domains { list, .. } = position else { return Ok(()) };
    // 4: we know GTID events, which stand for BEGIN, and those that list them. Strict: a place that is not in the binlog, though
    // higher numbers are, is an error.
    connection
        .execute(&format!(
            "SET @mariadb_slave_capability = 4, @slave_connect_state = '{list}', @slave_gtid_strict_mode = 1, \
             @slave_gtid_ignore_duplicates = 0"
        ))
        .await
}

/// The name under which a server lists us.
pub(crate) const HOST: &str = "tailrace";

/// Lets the server list us in SHOW REPLICAS.
pub(crate) async fn register(connection: &mut Connection, server_id: u32) -> Result<()> {
    let mut command = vec![COM_REGISTER_REPLICA];
    command.extend_from_slice(&server_id.to_le_bytes());
    command.push(8);
    command.extend_from_slice(HOST.as_bytes());
    // User, password, port, rank, and the id of the server we replicate from: nobody reads them.
    command.extend_from_slice(&[0; 2 + 2 + 4 + 4]);
    connection.acknowledge(&command).await
}

fn dump_by_gtid(server_id: u32, set: &[u8], flags: u16) -> Vec<u8> {
    let mut command = vec![COM_BINLOG_DUMP_GTID];
    command.extend_from_slice(&flags.to_le_bytes());
    command.extend_from_slice(&server_id.to_le_bytes());
    // No file name, and the offset of a file's first event.
    command.extend_from_slice(&0u32.to_le_bytes());
    command.extend_from_slice(&FILE_HEAD.to_le_bytes());
    let length = u32::try_from(set.len()).expect("invariant: a GTID set takes less than 4 GiB");
    command.extend_from_slice(&length.to_le_bytes());
    command.extend_from_slice(set);
    command
}

fn dump_by_file(server_id: u32, file: &str, offset: u32, flags: u16) -> Vec<u8> {
    let mut command = vec![COM_BINLOG_DUMP];
    command.extend_from_slice(&offset.to_le_bytes());
    command.extend_from_slice(&flags.to_le_bytes());
    command.extend_from_slice(&server_id.to_le_bytes());
    command.extend_from_slice(file.as_bytes());
    command
}
