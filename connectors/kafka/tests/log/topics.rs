//! How topics are made, and which existing ones are refused.

use std::{slice, sync::Arc, time::Duration};

use tailrace_contract::{Error, ErrorKind, Log, LogSettings, LogStart, Retention, Severity};
use tailrace_kafka::KafkaLog;
use tailrace_row::{Column, ColumnType, TableName, TableSchema};

use crate::support::{broker, raw, settings, table};

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_with_the_documented_settings() {
    let kafka = broker();
    let week = Duration::from_secs(7 * 86_400);
    let log = KafkaLog::new(LogSettings { retention: Retention::For(week), ..settings(&kafka) }).unwrap();
    log.prepare(&[table("orders")]).await.unwrap();
    let prefix = log.name();
    let check = async |topic: String, expect: &[(&str, &str)]| {
        let found = raw::topic_settings(&kafka, &topic).await;
        for (key, value) in expect {
            assert_eq!(found.get(*key).map(String::as_str), Some(*value), "{key} of {topic}");
        }
    };
    let small = [("cleanup.policy", "compact"), ("min.insync.replicas", "1"), ("segment.bytes", "16777216")];
    check(format!("{prefix}.checkpoint"), &small).await;
    check(format!("{prefix}.schemas"), &small).await;
    check(format!("{prefix}.ledger"), &small).await;
    let table_topic = [
        ("cleanup.policy", "delete"),
        ("min.insync.replicas", "1"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "-1"),
        ("max.message.bytes", "1048588"),
    ];
    check(format!("{prefix}.shop.orders"), &table_topic).await;
    let lanes = log.partitions(&[TableName::new("shop", "orders"), TableName::new("shop", "none")]).await.unwrap();
    assert_eq!(
        lanes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["shop.orders[0]", "shop.orders[1]", "shop.orders[2]"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_topics_are_made_when_asked_for() {
    let kafka = broker();
    let week = Retention::For(Duration::from_secs(7 * 86_400));
    for (retention, expect) in [(Retention::Unlimited, "compact"), (week, "compact,delete")] {
        let log = KafkaLog::new(LogSettings { is_compacted: true, retention, ..settings(&kafka) }).unwrap();
        log.prepare(&[table("orders")]).await.unwrap();
        let found = raw::topic_settings(&kafka, &format!("{}.shop.orders", log.name())).await;
        assert_eq!(found["cleanup.policy"], expect);
        assert!(log.check().await.unwrap().is_empty(), "what we made needs no mending");
    }
}

fn refused(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word} in {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_topics_that_do_not_fit_are_refused() {
    let kafka = broker();
    let good = settings(&kafka);
    let orders = table("orders");
    let topic = format!("{}.shop.orders", good.prefix);
    raw::create_topic(&kafka, &topic, 5, &[]).await;
    let log = KafkaLog::new(good).unwrap();
    let error = log.prepare(slice::from_ref(&orders)).await.unwrap_err();
    refused(&error, &[&topic, "has 5 partitions, 3 are needed", "set [log] partitions = 5"]);

    for small in ["checkpoint", "schemas"] {
        let good = settings(&kafka);
        let topic = format!("{}.{small}", good.prefix);
        raw::create_topic(&kafka, &topic, 1, &[("cleanup.policy", "delete")]).await;
        let log = KafkaLog::new(good).unwrap();
        let words = [topic.as_str(), "cleanup.policy=delete", "--add-config cleanup.policy=compact"];
        refused(&log.prepare(slice::from_ref(&orders)).await.unwrap_err(), &words);
        refused(&log.open_writer().await.err().unwrap(), &words);
        let problems = log.check().await.unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].code, problems[0].severity), ("topic_cleanup", Severity::Error));
    }
}

/// E21: a reader that is slower than the cleaner would see a tombstone without its delete.
#[tokio::test(flavor = "multi_thread")]
async fn e21_compacted_topics_are_neither_written_nor_read() {
    let kafka = broker();
    let orders = table("orders");
    for policy in ["compact", "compact,delete"] {
        let good = settings(&kafka);
        let topic = format!("{}.shop.orders", good.prefix);
        raw::create_topic(&kafka, &topic, 3, &[("cleanup.policy", policy)]).await;
        let words = [topic.as_str(), "would miss deletes", "--add-config cleanup.policy=delete"];
        let log = KafkaLog::new(good).unwrap();
        refused(&log.prepare(slice::from_ref(&orders)).await.unwrap_err(), &words);
        let lane = (crate::reading::partition("orders"), LogStart::Earliest);
        refused(&log.open_reader(slice::from_ref(&lane)).await.err().unwrap(), &words);
        let problems = log.check_tables(slice::from_ref(&orders)).await.unwrap();
        assert!(problems.iter().any(|it| (it.code, it.severity) == ("topic_cleanup", Severity::Error)), "{problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_would_share_a_topic_are_refused() {
    let log = KafkaLog::new(settings(&broker())).unwrap();
    let (one, other) = (table("col lide"), table("col_lide"));
    let names = ["shop.col lide", "shop.col_lide"];
    refused(&log.prepare(&[Arc::clone(&one), Arc::clone(&other)]).await.unwrap_err(), &names);
    // Also if the other one is in the log already, from an earlier configuration.
    log.prepare(&[one]).await.unwrap();
    refused(&log.prepare(slice::from_ref(&other)).await.unwrap_err(), &names);
    let mut opened = log.open_writer().await.unwrap();
    let batch = crate::support::batch(&other, 1, &[crate::support::Change::Insert(1, "one")]);
    refused(&opened.writer.append(&batch).await.unwrap_err(), &names);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_refused() {
    let log = KafkaLog::new(settings(&broker())).unwrap();
    let column = Column { name: "v".into(), column_type: ColumnType::Year, nullable: true };
    let schema = TableSchema::new(TableName::new("shop", "keyless"), vec![column], vec![]).unwrap();
    refused(&log.prepare(&[std::sync::Arc::new(schema)]).await.unwrap_err(), &["shop.keyless", "add a primary key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_is_wrong_all_at_once() {
    let kafka = broker();
    let good = settings(&kafka);
    assert_eq!(KafkaLog::new(good.clone()).unwrap().check().await.unwrap(), [], "a new log needs nothing");
    let log = KafkaLog::new(LogSettings { replication: 3, ..good.clone() }).unwrap();
    let codes = |problems: &[tailrace_contract::Problem]| problems.iter().map(|p| p.code).collect::<Vec<_>>();
    assert_eq!(codes(&log.check().await.unwrap()), ["kafka_brokers"]);

    KafkaLog::new(good.clone()).unwrap().prepare(&[table("orders")]).await.unwrap();
    let log = KafkaLog::new(LogSettings { partitions: 7, replication: 2, ..good.clone() }).unwrap();
    let problems = log.check().await.unwrap();
    assert_eq!(codes(&problems), ["kafka_brokers", "topic_partitions"], "{problems:?}");
    let log = KafkaLog::new(LogSettings { retention: Retention::For(Duration::from_secs(60)), ..good }).unwrap();
    let problems = log.check().await.unwrap();
    assert_eq!(codes(&problems), ["topic_retention"], "{problems:?}");
    assert_eq!(problems[0].severity, Severity::Warning, "{problems:?}");
    assert!(problems[0].mend.as_ref().unwrap().contains("retention.ms=60000"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_a_problem_and_no_panic() {
    let kafka = broker();
    let mut nowhere = settings(&kafka);
    nowhere.endpoint.port = 1;
    let log = KafkaLog::new(nowhere).unwrap();
    let problems = log.check().await.unwrap();
    assert_eq!(problems[0].code, "kafka_unreachable");
    assert!(problems[0].found.contains("127.0.0.1:1"), "{problems:?}");
}
