//! Whether `source.start` names a place from which the server still has everything.

use tailrace_contract::{ErrorKind, Problem, Result, SourceSettings, StartAt};

use super::from_error;
use crate::{history, server::Server};

/// What keeps a stream from beginning there. A server that does not answer is told by the other checks.
pub(crate) async fn check(settings: &SourceSettings, start: &StartAt) -> Result<Vec<Problem>> {
    let mut server = Server::connect(&settings.endpoint).await?;
    if !server.facts.has_binlog {
        return Ok(Vec::new());
    }
    let found = match history::start(&mut server, settings, start).await {
        Ok(position) => history::check(&mut server, &position).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(()) => Ok(Vec::new()),
        Err(error) if matches!(error.kind(), ErrorKind::Refused | ErrorKind::PositionLost) => {
            Ok(vec![from_error("source_start", "[source] start".to_owned(), &error)])
        }
        Err(error) => Err(error),
    }
}
