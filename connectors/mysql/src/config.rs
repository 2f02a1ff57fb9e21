//! Settings that can be judged without the server.

use std::time::Duration;

use tailrace_contract::{Error, Result, SourceSettings};

use crate::protocol;

/// The server takes heartbeat periods up to this.
const HEARTBEAT_MAX: Duration = Duration::from_secs(4_294_967);

/// Refuses what can't work.
pub(crate) fn check(settings: &SourceSettings) -> Result<()> {
    let endpoint = &settings.endpoint;
    if !["mysql", "mariadb"].contains(&endpoint.scheme.as_str()) {
        return Err(Error::refused(format!("a MySQL or MariaDB source can't be reached by {}://", endpoint.scheme)));
    }
    if settings.server_id == 0 {
        return Err(
            Error::refused("[source] server_id is 0").hint("choose a number that no server and no other replica has")
        );
    }
    if settings.heartbeat < Duration::from_millis(1) || settings.heartbeat > HEARTBEAT_MAX {
        return Err(Error::refused(format!("a heartbeat every {:?} is not possible", settings.heartbeat)));
    }
    // Certificates that can't be read are better told now than at the first connection.
    protocol::check_tls(&endpoint.tls)
}
