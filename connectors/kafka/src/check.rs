//! Everything that keeps Kafka from being used as the log, all at once; nothing is changed.
//!
//! Kafka does not tell clients its version. What a broker's settings say is taken instead: brokers before 2.5 name a
//! message protocol below 2.5, newer ones that no longer have that setting are new enough.

mod tables;

use std::{collections::HashMap, sync::Arc};

use rdkafka::admin::ResourceSpecifier;
use tailrace_contract::{Error, ErrorKind, LogSettings, Problem, Result, Severity};
use tailrace_row::TableName;

pub(crate) use tables::tables;

use crate::{
    Shared,
    blocking::block,
    certificate,
    config::TRANSACTION_TIMEOUT,
    errors, grants,
    topics::{
        TOPIC_CLEANUP, TOPIC_PRIVILEGE, TopicFacts, TopicKeeper, TopicKind, TopicNames, TopicOwners, WantedTopic,
        alter_command, is_allowed, new_topic_settings, refusal,
    },
};

/// What is wrong with the settings themselves.
pub(crate) fn settings(settings: &LogSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |object: &str, found: String, needed: &str| {
        problems.push(problem("log_settings", Severity::Error, object, found, needed.to_owned(), None));
    };
    let prefix = &settings.prefix;
    if prefix.is_empty() || prefix.len() > 100 || !prefix.chars().all(is_allowed) || prefix.starts_with('.') {
        wrong("prefix", format!("{prefix:?}"), "1 to 100 letters, digits, '.', '_' and '-', not beginning with '.'");
    }
    if settings.partitions == 0 || settings.partitions > 10_000 {
        wrong("partitions", settings.partitions.to_string(), "1 to 10000");
    }
    if settings.replication == 0 || i16::try_from(settings.replication).is_err() {
        wrong("replication", settings.replication.to_string(), "1 to the number of brokers");
    }
    if let Some(mechanism) = &settings.sasl_mechanism {
        if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str()) {
            wrong("sasl", format!("{mechanism:?}"), "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
        }
        if settings.endpoint.password.is_none() {
            wrong("password", "none".to_owned(), "the password of the SASL account");
        }
    }
    problems
}

/// What is wrong with the cluster and the topics.
pub(crate) async fn log(shared: &Arc<Shared>) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let keeper = TopicKeeper::new(&shared.settings)?;
    let endpoint = shared.settings.endpoint.to_string();
    let metadata = match keeper.cluster() {
        Ok(metadata) => metadata,
        Err(error) => return Ok(vec![no_answer(&shared.settings, &endpoint, &error)]),
    };
    // What only a writer needs, and the topics of its own.
    if shared.settings.debezium.is_some() {
        block(|| drop(keeper));
        return Ok(problems);
    }
    let brokers: Vec<i32> = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect();
    if usize::from(shared.settings.replication) > brokers.len() {
        let found = format!("{} brokers", brokers.len());
        let needed = format!("{} for [log] replication", shared.settings.replication);
        let mend = Some("set [log] replication lower, or add brokers".to_owned());
        problems.push(problem("kafka_brokers", Severity::Error, &endpoint, found, needed, mend));
    }
    check_brokers(shared, &keeper, &brokers, &mut problems).await?;
    check_topics(shared, &keeper, &mut problems).await?;
    block(|| drop(keeper));
    Ok(problems)
}

/// No broker answers, or none lets us in.
fn no_answer(settings: &LogSettings, endpoint: &str, error: &Error) -> Problem {
    let mend = error.advice().map(str::to_owned);
    let mut found = error.message().to_owned();
    if error.kind() == ErrorKind::Transient {
        let needed = "a broker that answers".to_owned();
        return problem("kafka_unreachable", Severity::Error, endpoint, found, needed, mend);
    }
    if let Some(fault) = block(|| certificate::fault(settings)) {
        found = format!("{found}: {fault}");
    }
    problem("kafka_login", Severity::Error, endpoint, found, "a broker that both sides trust".to_owned(), mend)
}

async fn check_brokers(
    shared: &Shared,
    keeper: &TopicKeeper,
    brokers: &[i32],
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let wanted: Vec<ResourceSpecifier<'_>> = brokers.iter().map(|id| ResourceSpecifier::Broker(*id)).collect();
    let all = match keeper.describe(&wanted).await {
        Ok(all) => all,
        // Without the right to see them, what they say is unknown, not wrong.
        Err(error) if error.kind() == ErrorKind::Refused => {
            problems.push(Problem { found: error.message().to_owned(), ..hidden_brokers(shared) });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if all.iter().any(HashMap::is_empty) {
        problems.push(hidden_brokers(shared));
    }
    for (id, settings) in brokers.iter().zip(&all) {
        problems.extend(check_broker(&format!("broker {id}"), settings));
    }
    Ok(())
}

fn hidden_brokers(shared: &Shared) -> Problem {
    let found = "the account may not see their settings".to_owned();
    let needed = "the right DescribeConfigs on the cluster, to check its version and limits".to_owned();
    let mend = Some(grants::for_cluster(&shared.settings.endpoint.user));
    problem("kafka_broker_settings", Severity::Warning, "brokers", found, needed, mend)
}

fn check_broker(object: &str, settings: &HashMap<String, String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(version) = settings.get("inter.broker.protocol.version").filter(|version| is_older_than_2_5(version)) {
        let needed = "Kafka 2.5 or newer".to_owned();
        problems.push(problem("kafka_version", Severity::Error, object, format!("protocol {version}"), needed, None));
    }
    let limit = settings.get("transaction.max.timeout.ms").and_then(|limit| limit.parse::<u128>().ok());
    if let Some(limit) = limit.filter(|limit| *limit < TRANSACTION_TIMEOUT.as_millis()) {
        let needed = format!("at least {}", TRANSACTION_TIMEOUT.as_millis());
        let mend =
            Some(format!("set transaction.max.timeout.ms={} in server.properties", TRANSACTION_TIMEOUT.as_millis()));
        let found = format!("transaction.max.timeout.ms={limit}");
        problems.push(problem("kafka_transaction_timeout", Severity::Error, object, found, needed, mend));
    }
    problems
}

/// `2.4-IV1`, `0.11.0`, `3.7`.
fn is_older_than_2_5(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (2, 5),
        (Some(_) | None, _) => false,
    }
}

async fn check_topics(shared: &Arc<Shared>, keeper: &TopicKeeper, problems: &mut Vec<Problem>) -> Result<()> {
    let tables = match block(|| shared.tables()) {
        Ok(tables) => tables,
        Err(error) if errors::is_about_rights(&error) => {
            problems.push(match error.message().contains("Group") {
                true => missing_group(shared),
                false => missing_right(&shared.settings, &shared.names.schemas()),
            });
            Vec::new()
        }
        Err(error) if error.kind() == ErrorKind::Refused => {
            let needed = "schemas that this version reads".to_owned();
            let object = shared.names.schemas();
            problems.push(problem("log_schemas", Severity::Error, &object, error.to_string(), needed, None));
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    problems.extend(check_collisions(&shared.names, &tables));
    let wanted = keeper.wanted(&shared.names, tables.iter().map(|table| shared.names.table(table)));
    let names: Vec<&str> = wanted.iter().map(|topic| topic.name.as_str()).collect();
    for (topic, facts) in wanted.iter().zip(look_at_topics(shared, keeper, &names, problems).await?) {
        // What is missing will be made.
        if let Some(facts) = facts {
            problems.extend(check_topic(&shared.settings, topic, &facts));
        }
    }
    Ok(())
}

/// What is known of each topic. One that may not be looked at hides no other.
async fn look_at_topics(
    shared: &Shared,
    keeper: &TopicKeeper,
    names: &[&str],
    problems: &mut Vec<Problem>,
) -> Result<Vec<Option<TopicFacts>>> {
    match keeper.facts(names).await {
        Err(error) if errors::is_about_rights(&error) => {}
        answer => return answer,
    }
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        match keeper.facts(&[name]).await {
            Ok(facts) => all.extend(facts),
            Err(error) if errors::is_about_rights(&error) => {
                let missing = missing_right(&shared.settings, name);
                if !problems.contains(&missing) {
                    problems.push(missing);
                }
                all.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn missing_right(settings: &LogSettings, topic: &str) -> Problem {
    let needed = "the rights that `tailrace check --print-grants` prints".to_owned();
    let mend = Some(grants::for_topic(&settings.endpoint.user, topic));
    let found = "the account lacks a right on it".to_owned();
    problem(TOPIC_PRIVILEGE, Severity::Error, topic, found, needed, mend)
}

/// Whoever looks at topics does it as a member of a group.
fn missing_group(shared: &Shared) -> Problem {
    let group = shared.names.looker_group();
    let mend = Some(grants::for_group(&shared.settings.endpoint.user, &group));
    Problem { mend, ..missing_right(&shared.settings, &format!("group {group}")) }
}

fn check_collisions(names: &TopicNames, tables: &[TableName]) -> Vec<Problem> {
    let mut owners = TopicOwners::default();
    let collisions = tables.iter().filter_map(|table| owners.claim(names, table).err());
    collisions
        .map(|error| {
            let needed = "one topic for each table".to_owned();
            let mend = error.advice().map(str::to_owned);
            problem("topic_collision", Severity::Error, "topics", error.message().to_owned(), needed, mend)
        })
        .collect()
}

fn check_topic(settings: &LogSettings, wanted: &WantedTopic, facts: &TopicFacts) -> Vec<Problem> {
    let name = &wanted.name;
    if facts.are_hidden() {
        return vec![missing_right(settings, name)];
    }
    if let Some((code, refusal)) = refusal(settings, wanted, facts) {
        let needed = "what a log needs".to_owned();
        let mend = refusal.advice().map(str::to_owned);
        let found = refusal.message().to_owned();
        return vec![problem(code, Severity::Error, name, found, needed, mend)];
    }
    let compared = new_topic_settings(settings, wanted.kind).into_iter().filter(|(key, _)| match wanted.kind {
        TopicKind::Table => true,
        TopicKind::Small | TopicKind::Control => *key == "min.insync.replicas",
    });
    let differing = compared.filter_map(|(key, needed)| {
        let found = facts.settings.get(key)?;
        (*found != needed).then(|| {
            let mend = Some(format!("{} {key}={needed}", alter_command(name)));
            let (found, needed) = (format!("{key}={found}"), format!("{key}={needed}"));
            let code = match key {
                "cleanup.policy" => TOPIC_CLEANUP,
                "retention.ms" | "retention.bytes" => "topic_retention",
                _ => "topic_settings",
            };
            problem(code, Severity::Warning, name, found, needed, mend)
        })
    });
    differing.collect()
}

fn problem(
    code: &'static str,
    severity: Severity,
    object: &str,
    found: String,
    needed: String,
    mend: Option<String>,
) -> Problem {
    Problem { code, severity, object: object.to_owned(), found, needed, mend }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings_for_tests;

    #[test]
    fn settings_are_checked_one_by_one() {
        let check = |settings: LogSettings, object: Option<&str>| {
            let problems = self::settings(&settings);
            assert_eq!(problems.first().map(|problem| problem.object.as_str()), object, "{problems:?}");
        };
        let good = || settings_for_tests("shop");
        check(good(), None);
        for prefix in ["", "a b", "é", "a/b", &"x".repeat(101)] {
            check(settings_for_tests(prefix), Some("prefix"));
        }
        check(LogSettings { partitions: 0, ..good() }, Some("partitions"));
        check(LogSettings { replication: 0, ..good() }, Some("replication"));
        check(LogSettings { sasl_mechanism: Some("GSSAPI".into()), ..good() }, Some("sasl"));
        check(LogSettings { sasl_mechanism: Some("PLAIN".into()), ..good() }, Some("password"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, is_older) in
            [("0.11.0", true), ("2.4-IV1", true), ("2.5", false), ("2.10-IV0", false), ("3.9-IV0", false), ("x", false)]
        {
            assert_eq!(is_older_than_2_5(version), is_older, "{version}");
        }
    }

    #[test]
    fn brokers_whose_limit_is_below_ours_are_found() {
        let settings = [("transaction.max.timeout.ms".to_owned(), "30000".to_owned())].into();
        assert_eq!(check_broker("broker 1", &settings)[0].code, "kafka_transaction_timeout");
        let settings = [("inter.broker.protocol.version".to_owned(), "2.3-IV1".to_owned())].into();
        assert_eq!(check_broker("broker 1", &settings)[0].code, "kafka_version");
        assert!(check_broker("broker 1", &HashMap::new()).is_empty());
    }
}
