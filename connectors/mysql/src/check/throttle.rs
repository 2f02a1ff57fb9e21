//! Whether what holds copies up can be found out: what can't be would hold them up for ever, and nothing else.

use tailrace_contract::{Endpoint, Error, ErrorKind, LoadQuestions, Problem, Result, Severity};

use crate::{errors, grants, lag, load, protocol::Connection, replica, server::Server};

/// What keeps the server from answering: copies would be held up for ever, and nothing else.
pub(crate) async fn check_load(endpoint: &Endpoint, questions: &LoadQuestions) -> Result<Vec<Problem>> {
    let LoadQuestions { running, history, query } = questions.clone();
    let asked = [
        ("running_max", LoadQuestions { running, ..LoadQuestions::default() }),
        ("history_max", LoadQuestions { history, ..LoadQuestions::default() }),
        ("query", LoadQuestions { query, ..LoadQuestions::default() }),
    ];
    let mut connection = Connection::open(endpoint).await?;
    let mut problems = Vec::new();
    for (key, asked) in asked {
        let Err(error) = load::load(&mut connection, &asked).await else { continue };
        if error.kind() == ErrorKind::Transient {
            return Err(error);
        }
        let grant = (errors::is_privilege_missing(&error) && asked.history).then(|| {
            let [grant] = grants::of_history(&endpoint.user);
            grant.statement
        });
        problems.push(Problem {
            code: "throttle_load",
            severity: Severity::Warning,
            object: format!("[backfill.throttle] {key}"),
            found: error.to_string(),
            needed: "a question that the server answers: else nothing is copied".to_owned(),
            mend: grant.or_else(|| error.advice().map(str::to_owned)),
        });
    }
    Ok(problems)
}

/// What keeps the replica of this source from being followed.
pub(crate) async fn check_replica(source: &Endpoint, at: &Endpoint) -> Result<Vec<Problem>> {
    let mut server = match Server::connect(at).await {
        Ok(server) => server,
        Err(error) => return Ok(vec![problem(at, &error)]),
    };
    let executed = match replica::executed_by(&mut server).await {
        Ok(executed) => executed,
        Err(error) => return Ok(vec![problem(at, &error)]),
    };
    // The source's own silence is told elsewhere.
    let Ok(mut source) = Server::connect(source).await else { return Ok(Vec::new()) };
    if source.facts.identity == server.facts.identity {
        let same = Error::refused("it is the source itself").hint("name the replicas of the source");
        return Ok(vec![problem(at, &same)]);
    }
    let end = lag::state(&mut source, None).await?.end;
    Ok(replica::covers(&executed, &end).err().map(|error| problem(at, &error)).into_iter().collect())
}

/// Copies would be held up for ever, and nothing else.
fn problem(at: &Endpoint, error: &Error) -> Problem {
    Problem {
        code: "throttle_replica",
        severity: Severity::Warning,
        object: format!("replica {at}"),
        found: error.to_string(),
        needed: "a replica whose transactions can be told: else nothing is copied".to_owned(),
        mend: error.advice().map(str::to_owned),
    }
}
