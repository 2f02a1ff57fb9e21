//! What keeps records of given tables from being written: their topics, before the log knows them.
//!
//! A record that is longer than its topic takes stops its table. How long the rows are only a full scan would tell, so a
//! column that may hold more than the topic takes is a warning and no error.

use std::sync::Arc;

use rdkafka::admin::ResourceSpecifier;
use tailrace_contract::{ErrorKind, Problem, Result, Severity};
use tailrace_row::{Column, ColumnType, TableName, TableSchema};

use super::{check_collisions, check_topic, look_at_topics, problem};
use crate::{
    Shared,
    blocking::block,
    config::{BATCH_BYTES, RECORD_BYTES_MAX},
    errors,
    topics::{TopicFacts, TopicKeeper, TopicKind, WantedTopic, alter_command},
};

/// All that is wrong with the topics of these tables.
pub(crate) async fn tables(shared: &Arc<Shared>, schemas: &[Arc<TableSchema>]) -> Result<Vec<Problem>> {
    let keeper = TopicKeeper::new(&shared.settings)?;
    // Those that the log has already come first: they are there to stay.
    let mut names = match block(|| shared.tables()) {
        // Told already, with the log itself.
        Err(error) if errors::is_about_rights(&error) => Vec::new(),
        answer => answer?,
    };
    let configured: Vec<&TableName> = schemas.iter().map(|schema| schema.name()).collect();
    let new = configured.iter().filter(|name| !names.contains(name)).copied().cloned().collect::<Vec<_>>();
    names.extend(new);
    let mut problems = check_collisions(&shared.names, &names);
    let topics: Vec<String> = configured.iter().map(|name| shared.names.table(name)).collect();
    let asked: Vec<&str> = topics.iter().map(String::as_str).collect();
    let facts = look_at_topics(shared, &keeper, &asked, &mut problems).await?;
    let limit_of_new = record_bytes_of_new_topics(&keeper).await?;
    for ((schema, name), facts) in schemas.iter().zip(topics).zip(facts) {
        let wanted = WantedTopic { name, partitions: shared.settings.partitions, kind: TopicKind::Table };
        match facts {
            Some(facts) => {
                problems.extend(check_topic(&shared.settings, &wanted, &facts));
                problems.extend(check_row_bytes(schema, &wanted.name, Limit::of_topic(&wanted.name, &facts)));
            }
            None => problems.extend(check_row_bytes(schema, &wanted.name, Limit::of_cluster(limit_of_new))),
        }
    }
    block(|| drop(keeper));
    Ok(problems)
}

/// The longest batch of records that a topic takes, and how that is changed.
struct Limit {
    setting: &'static str,
    bytes: usize,
    alter: String,
}

impl Limit {
    fn of_topic(topic: &str, facts: &TopicFacts) -> Self {
        Self { setting: "max.message.bytes", bytes: facts.record_bytes_max(), alter: alter_command(topic) }
    }

    /// Of a topic that will be made.
    fn of_cluster(bytes: usize) -> Self {
        let alter = "kafka-configs.sh --bootstrap-server … --alter --entity-type brokers --entity-default --add-config";
        Self { setting: "message.max.bytes", bytes, alter: alter.to_owned() }
    }
}

/// What the cluster gives new topics; where we may not see it, Kafka's default.
async fn record_bytes_of_new_topics(keeper: &TopicKeeper) -> Result<usize> {
    let metadata = keeper.cluster()?;
    let Some(broker) = metadata.brokers().first() else { return Ok(BATCH_BYTES) };
    match keeper.describe(&[ResourceSpecifier::Broker(broker.id())]).await {
        Ok(all) => {
            let limit = all.first().and_then(|settings| settings.get("message.max.bytes")?.parse().ok());
            Ok(limit.unwrap_or(BATCH_BYTES))
        }
        Err(error) if error.kind() == ErrorKind::Refused => Ok(BATCH_BYTES),
        Err(error) => Err(error),
    }
}

fn check_row_bytes(schema: &TableSchema, topic: &str, limit: Limit) -> Option<Problem> {
    if limit.bytes >= RECORD_BYTES_MAX {
        return None;
    }
    // A record of an update holds the row before and after.
    let may_exceed = |column: &&Column| bytes_max(&column.column_type) > limit.bytes / 2;
    let columns: Vec<&str> = schema.columns().iter().filter(may_exceed).map(|column| &*column.name).collect();
    if columns.is_empty() {
        return None;
    }
    let Limit { setting, bytes, alter } = limit;
    let found = format!("{setting}={bytes}, while {} may hold more", columns.join(", "));
    let needed = format!(
        "{setting}={RECORD_BYTES_MAX}, the longest record that Tailrace writes, or rows that are shorter: a longer one stops the \
         table"
    );
    let mend = Some(format!("{alter} {setting}={RECORD_BYTES_MAX}"));
    Some(problem("topic_row_bytes", Severity::Warning, topic, found, needed, mend))
}

/// The longest value of a column that can be long; JSON documents and geometries have no limit of their own.
fn bytes_max(column_type: &ColumnType) -> usize {
    match column_type {
        ColumnType::Text { bytes_max, .. } | ColumnType::Bytes { bytes_max, .. } => *bytes_max as usize,
        ColumnType::Json | ColumnType::Geometry { .. } => usize::MAX,
        // Nine digits, point, sign and exponent: some fifteen characters a number.
        ColumnType::Vector { dimension } => *dimension as usize * 15,
        ColumnType::Integer { .. }
        | ColumnType::Decimal { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Year
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => 0,
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::{Charset, TextForm};

    use super::*;

    #[test]
    fn columns_that_may_exceed_a_topic_are_named() {
        let text = |bytes_max| ColumnType::Text { form: TextForm::Large, bytes_max, charset: Charset::Utf8mb4 };
        let column = |name: &str, column_type| Column { name: name.into(), column_type, nullable: true };
        let columns = vec![
            column("id", ColumnType::Integer { bits: 32, unsigned: false }),
            column("short", text(65_535)),
            column("long", text(16_777_215)),
            column("json", ColumnType::Json),
        ];
        let schema = TableSchema::new(TableName::new("shop", "t"), columns, vec![0]).unwrap();
        let check = |bytes| check_row_bytes(&schema, "p.shop.t", Limit::of_cluster(bytes)).map(|problem| problem.found);
        assert_eq!(check(1_048_588).unwrap(), "message.max.bytes=1048588, while long, json may hold more");
        assert_eq!(check(20_000_000).unwrap(), "message.max.bytes=20000000, while long, json may hold more");
        assert_eq!(check(RECORD_BYTES_MAX), None);
    }
}
