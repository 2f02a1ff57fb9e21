//! `tailrace check --print-grants`: the least that the accounts of this configuration need. Connects to nothing.

use serde::Serialize;
use tailrace_contract::{Endpoint, Grant, Result, Tls, TlsMode};

use super::Place;
use crate::{config::Config, registry};

/// What one server's administrator is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantList {
    /// Where.
    pub place: Place,
    /// The server.
    pub server: String,
    /// The account.
    pub account: String,
    /// The statements, in order.
    pub grants: Vec<Grant>,
}

/// The lists of the source and, where they are configured, of the log and the target.
pub fn grants(config: &Config) -> Result<Vec<GrantList>> {
    let mut source = config.source.settings.clone();
    offline(&mut source.endpoint);
    let (server, account) = (source.endpoint.to_string(), source.endpoint.user.clone());
    let source = registry::source(source)?;
    let mut grants = source.grants(&config.rules.filter());
    grants.extend(config.throttle.questions().iter().flat_map(|questions| source.load_grants(questions)));
    let mut lists = vec![GrantList { place: Place::Source, server, account, grants }];
    if let Some(mut log) = config.log.clone() {
        // Without a login and a certificate nobody is named whom an administrator could allow anything.
        let has_account = !log.endpoint.user.is_empty() || log.endpoint.tls.certificate.is_some();
        offline(&mut log.endpoint);
        // The password is not there.
        log.sasl_mechanism = None;
        let (server, account) = (log.endpoint.to_string(), log.endpoint.user.clone());
        let grants = if has_account { registry::log(log)?.grants(&config.rules.filter()) } else { Vec::new() };
        lists.push(GrantList { place: Place::Log, server, account, grants });
    }
    if let Some(mut target) = config.target.clone() {
        offline(&mut target.endpoint);
        let (server, account) = (target.endpoint.to_string(), target.endpoint.user.clone());
        let grants = registry::sink(target)?.grants(&config.rules.target_scopes());
        lists.push(GrantList { place: Place::Target, server, account, grants });
    }
    // A file has no accounts, nor a log that lets everybody in.
    lists.retain(|list| !list.grants.is_empty());
    Ok(lists)
}

/// Certificates need not be on the machine where grants are printed.
fn offline(endpoint: &mut Endpoint) {
    endpoint.tls = Tls { mode: TlsMode::Disabled, ..Tls::default() };
}
