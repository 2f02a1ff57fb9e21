//! Whether `read_url` leads to a server whose rows are the captured one's.

use tailrace_contract::{ErrorKind, Problem, Result, Severity, SourceSettings};

use crate::{reader::Captured, server::Server};

/// What keeps tables from being read there. What passes keeps nobody from capturing meanwhile.
pub(super) async fn check(settings: &SourceSettings) -> Option<Problem> {
    let read = settings.read.as_ref()?;
    let asked: Result<()> = async {
        let mut captured = Captured::new(settings.endpoint.clone());
        let mut server = Server::connect(read).await?;
        if captured.is_read_elsewhere(&mut server).await? {
            captured.check_shown(&mut server).await?;
        }
        Ok(())
    }
    .await;
    let error = asked.err()?;
    Some(Problem {
        code: "read_server",
        severity: if error.kind() == ErrorKind::Transient { Severity::Warning } else { Severity::Error },
        object: format!("[source] read_url {read}"),
        found: error.to_string(),
        needed: "a replica of the captured server that leaves nothing out and adds nothing: else nothing is copied"
            .to_owned(),
        mend: error.advice().map(str::to_owned),
    })
}
