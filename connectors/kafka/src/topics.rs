//! The topics of a log: their names, how they are made, and what an existing one must look like.
//!
//! | topic | partitions | cleanup | holds |
//! |---|---|---|---|
//! | `<prefix>.<db>.<table>` | `[log] partitions` | delete, or compact if asked | the records of one table |
//! | `<prefix>.checkpoint` | 1 | compact | where capture stands, and who owns the log |
//! | `<prefix>.schemas` | 1 | compact | every schema that a record names |
//! | `<prefix>.control` | 1 | delete, for ever | statements that changed tables, and where they lie in each partition |
//! | `<prefix>.ledger` | 1 | compact | documents that say how far something is done which takes long |
//!
//! All are made with `[log] replication` replicas and `min.insync.replicas` = replicas - 1 (at least 1), so that one broker
//! may be away; table topics with `[log] retention` (for ever: -1). `max.message.bytes` is left to the cluster. The small
//! topics roll their segments at 16 MB, because compaction spares the segment in use and a start reads its end.
//!
//! An existing topic is never altered. The number of partitions must fit, because it decides where a key lies; the small
//! topics must be compacted, or kept for ever, because otherwise retention would take what is needed.
//!
//! Brokers may be set to make topics by themselves, with settings of their own; every topic is made here before it is
//! named to a producer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};
use tailrace_contract::{Error, ErrorKind, LogSettings, Result, Retention};
use tailrace_row::TableName;

use crate::{
    blocking::block,
    config::{ANSWER_TIMEOUT, BATCH_BYTES, ClientSettings, Isolation},
    errors,
    watch::{BrokerWatch, hear},
};

/// Kafka's longest name.
const NAME_BYTES_MAX: usize = 249;
/// How long a person waits gladly.
const SOON: std::time::Duration = std::time::Duration::from_secs(5);
/// How often a topic that was just made is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long the first question about the cluster may take; each further one twice as long.
const METADATA_STEP: Duration = Duration::from_secs(1);
/// For how long brokers that are all down are asked again while somebody waits.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(5);

/// The names of the topics of one log.
#[derive(Clone, Debug)]
pub(crate) struct TopicNames {
    prefix: String,
}

impl TopicNames {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(crate) fn checkpoint(&self) -> String {
        format!("{}.checkpoint", self.prefix)
    }

    pub(crate) fn schemas(&self) -> String {
        format!("{}.schemas", self.prefix)
    }

    pub(crate) fn control(&self) -> String {
        format!("{}.control", self.prefix)
    }

    pub(crate) fn ledger(&self) -> String {
        format!("{}.ledger", self.prefix)
    }

    /// The topic of a table.
    pub(crate) fn table(&self, table: &TableName) -> String {
        cleaned(&format!("{}.{}.{}", self.prefix, table.database, table.table))
    }

    /// What all of the log's names begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The transactional id of capture.
    pub(crate) fn writer_id(&self) -> String {
        format!("{}.capture", self.prefix)
    }

    /// The transactional id under which schemas are written before capture.
    pub(crate) fn preparer_id(&self) -> String {
        format!("{}.prepare", self.prefix)
    }

    /// The consumer group of those who only look: nothing is ever committed under it.
    pub(crate) fn looker_group(&self) -> String {
        format!("{}.look", self.prefix)
    }
}

/// A topic's name as Debezium makes it: what Kafka does not allow becomes `_`, and 249 characters are kept.
pub(crate) fn cleaned(name: &str) -> String {
    name.chars().map(|c| if is_allowed(c) { c } else { '_' }).take(NAME_BYTES_MAX).collect()
}

/// What Kafka allows in the name of a topic.
pub(crate) fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

/// Which table each topic belongs to: two tables must not share one. Kafka takes names that differ only in `.` and `_` as the
/// same (the names of its metrics would be), and makes the second one never.
#[derive(Default)]
pub(crate) struct TopicOwners(HashMap<String, TableName>);

impl TopicOwners {
    /// Notes the table's topic and returns its name; refuses two tables of one topic by name.
    pub(crate) fn claim(&mut self, names: &TopicNames, table: &TableName) -> Result<String> {
        let topic = names.table(table);
        let known_to_kafka = topic.replace('.', "_");
        let owner = match self.0.get(&known_to_kafka) {
            None => {
                self.0.insert(known_to_kafka, table.clone());
                return Ok(topic);
            }
            Some(owner) if owner == table => return Ok(topic),
            Some(owner) => owner,
        };
        let other = names.table(owner);
        let found = match other == topic {
            true => format!("tables {owner} and {table} would share the topic {topic}"),
            false => format!("tables {owner} and {table}: Kafka takes their topics {other} and {topic} as the same"),
        };
        Err(Error::refused(found).hint("leave one of them out of [[table]], or give it to a log with another prefix"))
    }

    /// Whether the log has records of the table, or is about to.
    pub(crate) fn knows(&self, table: &TableName) -> bool {
        self.0.values().any(|owner| owner == table)
    }
}

/// A topic that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedTopic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) kind: TopicKind,
}

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicKind {
    /// Records of a table.
    Table,
    /// The checkpoint, the schemas or the ledger: the last record of each key must stay.
    Small,
    /// The barriers: every record must stay.
    Control,
}

/// What is known of a topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicFacts {
    pub(crate) partitions: u32,
    /// The topic's own settings and the cluster's defaults for the others.
    pub(crate) settings: HashMap<String, String>,
}

impl TopicFacts {
    /// Whether the account may not see the settings: no topic is without any. The client leaves out the error.
    pub(crate) fn are_hidden(&self) -> bool {
        self.settings.is_empty()
    }

    /// Whether old records of a key are dropped.
    pub(crate) fn is_compacted(&self) -> bool {
        self.settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    }

    /// The setting by which the topic forgets records, its value, and the one by which it would not.
    fn forgets(&self) -> Option<(&'static str, &str, &'static str)> {
        let wanted = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        let found =
            wanted.into_iter().filter_map(|(key, needed)| Some((key, self.settings.get(key)?.as_str(), needed)));
        found.into_iter().find(|(_, value, needed)| value != needed)
    }

    /// The largest batch of records that the topic takes.
    pub(crate) fn record_bytes_max(&self) -> usize {
        self.settings.get("max.message.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH_BYTES)
    }
}

/// The settings with which a topic is made.
pub(crate) fn new_topic_settings(settings: &LogSettings, kind: TopicKind) -> Vec<(&'static str, String)> {
    let in_sync = settings.replication.saturating_sub(1).max(1);
    let mut wanted = vec![("min.insync.replicas", in_sync.to_string())];
    match kind {
        TopicKind::Small => wanted.extend([
            ("cleanup.policy", "compact".to_owned()),
            ("segment.bytes", (16 << 20).to_string()),
            ("min.cleanable.dirty.ratio", "0.1".to_owned()),
        ]),
        TopicKind::Control => wanted.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
            ("segment.bytes", (16 << 20).to_string()),
        ]),
        TopicKind::Table => {
            let (policy, retention_ms) = match (settings.is_compacted, settings.retention) {
                (false, Retention::Unlimited) => ("delete", -1),
                (false, Retention::For(time)) => ("delete", i64::try_from(time.as_millis()).unwrap_or(-1)),
                (true, Retention::Unlimited) => ("compact", -1),
                (true, Retention::For(time)) => ("compact,delete", i64::try_from(time.as_millis()).unwrap_or(-1)),
            };
            wanted.extend([
                ("cleanup.policy", policy.to_owned()),
                ("retention.ms", retention_ms.to_string()),
                ("retention.bytes", "-1".to_owned()),
            ]);
        }
    }
    wanted
}

/// The code of a topic to which the account may not do what it must.
pub(crate) const TOPIC_PRIVILEGE: &str = "topic_privilege";
/// The code of a topic that does not have the number of partitions that the configuration says.
const TOPIC_PARTITIONS: &str = "topic_partitions";
/// The code of a topic that forgets what it must keep, or keeps what it should forget.
pub(crate) const TOPIC_CLEANUP: &str = "topic_cleanup";
/// The code of a topic that takes too little at once.
const TOPIC_BATCH_BYTES: &str = "topic_batch_bytes";

/// Why an existing topic can't be used, if so, and that problem's code.
pub(crate) fn refusal(
    settings: &LogSettings,
    wanted: &WantedTopic,
    facts: &TopicFacts,
) -> Option<(&'static str, Error)> {
    let name = &wanted.name;
    if facts.are_hidden() {
        let error = errors::from_code(RDKafkaErrorCode::TopicAuthorizationFailed, &format!("looking at topic {name}"));
        return Some((TOPIC_PRIVILEGE, error));
    }
    if facts.partitions != wanted.partitions {
        let found = format!("topic {name} has {} partitions, {} are needed", facts.partitions, wanted.partitions);
        let hint = match wanted.kind {
            TopicKind::Table => format!(
                "set [log] partitions = {}, or use another prefix: adding partitions would move keys",
                facts.partitions
            ),
            TopicKind::Small | TopicKind::Control => {
                "use another prefix: this topic was made by something else".to_owned()
            }
        };
        return Some((TOPIC_PARTITIONS, Error::refused(found).hint(hint)));
    }
    let policy = facts.settings.get("cleanup.policy").map_or("", String::as_str);
    if wanted.kind == TopicKind::Small && policy != "compact" {
        let found = format!("topic {name} has cleanup.policy={policy}, compact is needed");
        let hint = format!("{} cleanup.policy=compact", alter_command(name));
        return Some((TOPIC_CLEANUP, Error::refused(found).hint(hint)));
    }
    if wanted.kind == TopicKind::Table && facts.is_compacted() && !settings.is_compacted {
        return Some((TOPIC_CLEANUP, compacted(name, policy)));
    }
    if wanted.kind == TopicKind::Control
        && let Some((key, value, needed)) = facts.forgets()
    {
        let found = format!("topic {name} has {key}={value}, {needed} is needed: it must forget nothing");
        return Some((TOPIC_CLEANUP, Error::refused(found).hint(format!("{} {key}={needed}", alter_command(name)))));
    }
    if facts.record_bytes_max() < BATCH_BYTES {
        let found = format!(
            "topic {name} has max.message.bytes={}, at least {BATCH_BYTES} is needed",
            facts.record_bytes_max()
        );
        let hint = format!("{} max.message.bytes=1048588", alter_command(name));
        return Some((TOPIC_BATCH_BYTES, Error::refused(found).hint(hint)));
    }
    None
}

/// E21: compaction drops a delete and keeps its tombstone, which nobody applies: the row would stay in the target for ever.
fn compacted(name: &str, policy: &str) -> Error {
    Error::refused(format!("topic {name} has cleanup.policy={policy}: an apply that is behind would miss deletes"))
        .hint(format!(
            "{} cleanup.policy=delete; rows whose deletes are gone already need a new copy",
            alter_command(name)
        ))
}

/// The beginning of the command that sets a topic's setting.
pub(crate) fn alter_command(topic: &str) -> String {
    format!("kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name {topic} --add-config")
}

/// Looks at topics and makes them. Dropping it blocks for a moment.
pub(crate) struct TopicKeeper {
    settings: Arc<LogSettings>,
    looker: BaseConsumer<BrokerWatch>,
    admin: AdminClient<DefaultClientContext>,
}

impl TopicKeeper {
    pub(crate) fn new(settings: &Arc<LogSettings>) -> Result<Self> {
        let clients = ClientSettings::new(Arc::clone(settings));
        let mut config = clients.looker(Isolation::Committed)?;
        // Without a group it asks for metadata only.
        config.remove("group.id");
        let looker = BaseConsumer::from_config_and_context(&config, BrokerWatch::default())
            .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))?;
        let admin = AdminClient::from_config_and_context(&clients.client()?, DefaultClientContext)
            .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))?;
        Ok(Self { settings: Arc::clone(settings), looker, admin })
    }

    /// The topics that a log needs for these tables.
    pub(crate) fn wanted(
        &self,
        names: &TopicNames,
        table_topics: impl IntoIterator<Item = String>,
    ) -> Vec<WantedTopic> {
        let own = |name, kind| WantedTopic { name, partitions: 1, kind };
        let partitions = self.settings.partitions;
        let tables = table_topics.into_iter().map(|name| WantedTopic { name, partitions, kind: TopicKind::Table });
        let own = [
            own(names.checkpoint(), TopicKind::Small),
            own(names.schemas(), TopicKind::Small),
            own(names.control(), TopicKind::Control),
            own(names.ledger(), TopicKind::Small),
        ];
        own.into_iter().chain(tables).collect()
    }

    /// Makes the topics that are missing and returns what is known of each; refuses what exists with other settings.
    pub(crate) async fn ensure(&self, wanted: &[WantedTopic]) -> Result<Vec<TopicFacts>> {
        let counts = self.partition_counts(wanted)?;
        let missing: Vec<&WantedTopic> =
            wanted.iter().zip(&counts).filter(|(_, count)| count.is_none()).map(|(topic, _)| topic).collect();
        if !missing.is_empty() {
            self.create(&missing).await?;
            self.wait_until_known(&missing).await?;
        }
        let names: Vec<&str> = wanted.iter().map(|topic| topic.name.as_str()).collect();
        let facts = self.facts(&names).await?;
        let mut known = Vec::with_capacity(wanted.len());
        for (topic, facts) in wanted.iter().zip(facts) {
            let facts = facts
                .ok_or_else(|| Error::transient(format!("topic {} vanished while it was looked at", topic.name)))?;
            if let Some((_, refusal)) = refusal(&self.settings, topic, &facts) {
                return Err(refusal);
            }
            known.push(facts);
        }
        Ok(known)
    }

    /// Refuses to read tables whose deletes may be gone. Of topics whose settings are hidden nobody can tell.
    pub(crate) async fn refuse_compacted(&self, topics: &BTreeSet<String>) -> Result<()> {
        if self.settings.is_compacted {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        for (name, facts) in names.iter().zip(self.facts(&names).await?) {
            match facts {
                Some(facts) if facts.are_hidden() => {
                    tracing::warn!(
                        topic = name,
                        "the topic's settings are hidden: were it compacted, deletes would be missed"
                    );
                }
                Some(facts) if facts.is_compacted() => {
                    return Err(compacted(name, facts.settings.get("cleanup.policy").map_or("", String::as_str)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is known of each topic; none for one that does not exist.
    pub(crate) async fn facts(&self, names: &[&str]) -> Result<Vec<Option<TopicFacts>>> {
        let mut counts = Vec::with_capacity(names.len());
        for name in names {
            counts.push(self.partition_count(name)?);
        }
        let existing: Vec<ResourceSpecifier<'_>> = names
            .iter()
            .zip(&counts)
            .filter(|(_, count)| count.is_some())
            .map(|(name, _)| ResourceSpecifier::Topic(name))
            .collect();
        let mut settings = self.describe(&existing).await?.into_iter();
        let facts = counts.into_iter().map(|count| {
            let partitions = count?;
            Some(TopicFacts { partitions, settings: settings.next()? })
        });
        Ok(facts.collect())
    }

    /// Settings of topics or brokers, in the order asked; none at all of what the account may not see.
    pub(crate) async fn describe(&self, what: &[ResourceSpecifier<'_>]) -> Result<Vec<HashMap<String, String>>> {
        if what.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "asking for the settings of topics";
        let answer = self.admin.describe_configs(what, &admin_options()).await;
        let answer = answer.map_err(|error| from_admin(&error, doing))?;
        let mut all = Vec::with_capacity(answer.len());
        for resource in answer {
            let resource = resource.map_err(|code| errors::from_code(code, doing))?;
            let entries = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            all.push(entries.collect());
        }
        if all.len() != what.len() {
            return Err(Error::transient("the cluster left settings of topics out of its answer"));
        }
        Ok(all)
    }

    /// An error, soon, if no broker answers: for questions that a person waits for. Blocks.
    pub(crate) fn check_answers(&self) -> Result<()> {
        self.looker.fetch_metadata(None, SOON).map(drop).map_err(|error| {
            hear(&self.looker);
            errors::from_wait(&error, "looking at the cluster", self.looker.context())
        })
    }

    /// The cluster as it is now, for somebody who waits for the answer.
    pub(crate) fn cluster(&self) -> Result<Metadata> {
        self.metadata(None, "looking at the cluster", CLUSTER_PATIENCE)
    }

    /// Asks in steps, because librdkafka waits for a broker in vain where no broker will ever let it in. Gives up when all
    /// brokers are down: at once if trying again would not help, else after `patience`.
    fn metadata(&self, topic: Option<&str>, doing: &str, patience: Duration) -> Result<Metadata> {
        let begin = Instant::now();
        let mut step = METADATA_STEP;
        block(|| {
            loop {
                let left = ANSWER_TIMEOUT.saturating_sub(begin.elapsed());
                let error = match self.looker.fetch_metadata(topic, step.min(left)) {
                    Ok(metadata) => return Ok(metadata),
                    Err(error) => error,
                };
                hear(&self.looker);
                let watch = self.looker.context();
                let told = errors::from_wait(&error, doing, watch);
                let is_hopeless =
                    watch.has_no_broker() && (told.kind() != ErrorKind::Transient || begin.elapsed() >= patience);
                if !errors::is_wait(&error) || is_hopeless || step >= left {
                    return Err(told);
                }
                step *= 2;
            }
        })
    }

    /// Number of partitions of a topic; none if there is no such topic.
    pub(crate) fn partition_count(&self, topic: &str) -> Result<Option<u32>> {
        let metadata = self.metadata(Some(topic), &format!("looking for topic {topic}"), ANSWER_TIMEOUT)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(errors::from_code(code, &format!("looking for topic {topic}"))),
        }
    }

    fn partition_counts(&self, wanted: &[WantedTopic]) -> Result<Vec<Option<u32>>> {
        wanted.iter().map(|topic| self.partition_count(&topic.name)).collect()
    }

    async fn create(&self, missing: &[&WantedTopic]) -> Result<()> {
        let settings: Vec<_> = missing.iter().map(|topic| new_topic_settings(&self.settings, topic.kind)).collect();
        let mut topics = Vec::with_capacity(missing.len());
        for (topic, settings) in missing.iter().zip(&settings) {
            let replication = TopicReplication::Fixed(i32::from(self.settings.replication));
            let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
            let new = NewTopic::new(&topic.name, partitions, replication);
            topics.push(settings.iter().fold(new, |new, (key, value)| new.set(key, value)));
        }
        let made = self.admin.create_topics(&topics, &admin_options()).await;
        for outcome in made.map_err(|error| from_admin(&error, "creating topics"))? {
            match outcome {
                Ok(name) => tracing::info!(topic = %name, "created topic"),
                // Another process was faster; its settings are looked at like those of any topic.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(errors::from_code(code, &format!("creating topic {name}"))),
            }
        }
        Ok(())
    }

    async fn wait_until_known(&self, topics: &[&WantedTopic]) -> Result<()> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        for topic in topics {
            while self.partition_count(&topic.name)?.is_none() {
                if Instant::now() > deadline {
                    return Err(Error::transient(format!("topic {} was created but does not appear", topic.name)));
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(())
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT)).operation_timeout(Some(ANSWER_TIMEOUT))
}

fn from_admin(error: &KafkaError, doing: &str) -> Error {
    match error {
        KafkaError::AdminOp(code) => errors::from_code(*code, doing),
        _ => errors::from_kafka(error, doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings_for_tests;

    #[test]
    fn names_are_cleaned_as_debezium_does() {
        let names = TopicNames::new("shop");
        for (database, table, expect) in [
            ("inventory", "t_int", "shop.inventory.t_int"),
            ("inventory", "odd-table.name x", "shop.inventory.odd-table.name_x"),
            ("inventory", "таблица", "shop.inventory._______"),
            ("a$b", "c/d", "shop.a_b.c_d"),
        ] {
            assert_eq!(names.table(&TableName::new(database, table)), expect);
        }
        assert_eq!(names.table(&TableName::new("d", &"x".repeat(300))).len(), 249);
    }

    #[test]
    fn two_tables_of_one_topic_are_refused_by_name() {
        let names = TopicNames::new("shop");
        let mut owners = TopicOwners::default();
        owners.claim(&names, &TableName::new("inventory", "col lide")).unwrap();
        owners.claim(&names, &TableName::new("inventory", "col lide")).unwrap();
        let error = owners.claim(&names, &TableName::new("inventory", "col_lide")).unwrap_err().to_string();
        assert!(error.contains("inventory.col lide") && error.contains("inventory.col_lide"), "{error}");
        assert!(error.contains("shop.inventory.col_lide"), "{error}");
        owners.claim(&names, &TableName::new("a", "b_c")).unwrap();
        let error = owners.claim(&names, &TableName::new("a_b", "c")).unwrap_err().to_string();
        assert!(error.contains("shop.a.b_c and shop.a_b.c as the same"), "{error}");
        let error = owners.claim(&names, &TableName::new("a.b", "c")).unwrap_err().to_string();
        assert!(error.contains("shop.a.b_c and shop.a.b.c"), "{error}");
    }

    /// A table's topic has two names behind the prefix, and what Kafka takes as the same then has a `_` between them.
    #[test]
    fn no_table_has_the_name_of_a_topic_of_our_own() {
        let names = TopicNames::new("shop");
        for own in [names.checkpoint(), names.schemas(), names.control(), names.ledger()] {
            let own = own.strip_prefix("shop.").unwrap();
            assert!(own.bytes().all(|byte| byte.is_ascii_lowercase()), "{own}");
        }
    }

    #[test]
    fn topics_that_do_not_fit_are_refused_with_the_remedy() {
        let facts = |partitions, policy: &str, bytes: &str| TopicFacts {
            partitions,
            settings: [("cleanup.policy", policy), ("max.message.bytes", bytes)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        let table = WantedTopic { name: "p.d.t".into(), partitions: 8, kind: TopicKind::Table };
        let small = WantedTopic { name: "p.checkpoint".into(), partitions: 1, kind: TopicKind::Small };
        let settings = settings_for_tests("p");
        let check = |wanted: &WantedTopic, facts: &TopicFacts, words: Option<&str>| match words {
            None => assert!(refusal(&settings, wanted, facts).is_none(), "{wanted:?}"),
            Some(words) => {
                let text = refusal(&settings, wanted, facts).unwrap().1.to_string();
                assert!(text.contains(words), "{text}");
            }
        };
        check(&table, &facts(8, "delete", "1048588"), None);
        check(&table, &facts(4, "delete", "1048588"), Some("set [log] partitions = 4"));
        check(&table, &facts(8, "delete", "1000"), Some("max.message.bytes=1048588"));
        check(&table, &facts(8, "compact", "1048588"), Some("cleanup.policy=delete"));
        check(&table, &facts(8, "compact,delete", "1048588"), Some("cleanup.policy=delete"));
        check(&small, &facts(1, "compact", "1048588"), None);
        check(&small, &facts(1, "delete", "1048588"), Some("cleanup.policy=compact"));
        check(&small, &facts(1, "compact,delete", "1048588"), Some("cleanup.policy=compact"));
        check(&small, &facts(2, "compact", "1048588"), Some("another prefix"));
        let control = WantedTopic { name: "p.control".into(), partitions: 1, kind: TopicKind::Control };
        check(&control, &facts(1, "delete", "1048588"), None);
        check(&control, &facts(1, "compact", "1048588"), Some("cleanup.policy=delete"));
        let mut brief = facts(1, "delete", "1048588");
        brief.settings.insert("retention.ms".into(), "604800000".into());
        check(&control, &brief, Some("retention.ms=-1"));
    }

    #[test]
    fn one_broker_may_be_away_where_there_are_more() {
        for (replication, expect) in [(1, "1"), (2, "1"), (3, "2"), (5, "4")] {
            let settings = LogSettings { replication, ..settings_for_tests("shop") };
            let wanted = new_topic_settings(&settings, TopicKind::Table);
            assert!(wanted.contains(&("min.insync.replicas", expect.to_owned())), "{wanted:?}");
        }
    }
}
