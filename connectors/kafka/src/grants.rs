//! The least that an account needs to write and read the log: what `tailrace check --print-grants` shows, as commands of
//! Kafka's own tool.
//!
//! Read and Write include Describe. Topics of a whole database are named by how they begin.

use tailrace_contract::{Grant, TableFilter, TablePattern};

use crate::topics::{TopicNames, cleaned};

/// What Tailrace does to each topic of its own: makes it, compares its settings, writes and reads it.
const TOPIC_OPERATIONS: &[&str] = &["Create", "DescribeConfigs", "Read", "Write"];

/// The commands.
pub(crate) fn least(user: &str, names: &TopicNames, group: &str, filter: &TableFilter) -> Vec<Grant> {
    let add = |operations: &[&str], resources: String, reason| Grant {
        statement: command(user, operations, &resources),
        reason,
    };
    let own = [names.checkpoint(), names.schemas(), names.control(), names.ledger()];
    let ids = [names.writer_id(), names.preparer_id()];
    let mut grants = vec![
        Grant { statement: for_cluster(user), reason: "checks the brokers' version and limits" },
        add(TOPIC_OPERATIONS, named("topic", &own), "keeps the checkpoint, the schemas, the barriers and the ledger"),
        add(
            &["Write"],
            named("transactional-id", &ids),
            "writes records and checkpoint together, and fences an older capture",
        ),
        add(&["Read"], named("group", &[group.to_owned(), names.looker_group()]), "shows its lag, and looks at topics"),
    ];
    let tables = filter.patterns.iter().filter_map(|pattern| match pattern {
        TablePattern::Table(name) => Some(names.table(name)),
        TablePattern::Database(_) => None,
    });
    let tables: Vec<String> = tables.collect();
    if !tables.is_empty() {
        grants.push(add(TOPIC_OPERATIONS, named("topic", &tables), "writes and reads the tables' records"));
    }
    for pattern in &filter.patterns {
        if let TablePattern::Database(database) = pattern {
            let begins = cleaned(&format!("{}.{database}.", names.prefix()));
            let resources = format!("{} --resource-pattern-type prefixed", named("topic", &[begins]));
            grants.push(add(TOPIC_OPERATIONS, resources, "writes and reads the records of the database's tables"));
        }
    }
    grants
}

/// What lets the account do all that Tailrace does to a topic.
pub(crate) fn for_topic(user: &str, topic: &str) -> String {
    command(user, TOPIC_OPERATIONS, &named("topic", &[topic.to_owned()]))
}

/// What lets the account look at topics as a member of a group.
pub(crate) fn for_group(user: &str, group: &str) -> String {
    command(user, &["Read"], &named("group", &[group.to_owned()]))
}

/// What lets the account see the brokers' settings.
pub(crate) fn for_cluster(user: &str) -> String {
    command(user, &["DescribeConfigs"], " --cluster")
}

/// An account that a certificate names stands as `…`.
fn command(user: &str, operations: &[&str], resources: &str) -> String {
    let operations: String = operations.iter().map(|operation| format!(" --operation {operation}")).collect();
    let principal = if user.is_empty() { "User:…".to_owned() } else { quoted(&format!("User:{user}")) };
    format!("kafka-acls.sh --bootstrap-server … --add --allow-principal {principal}{operations}{resources}")
}

/// Names of topics hold nothing that a shell takes for its own.
fn named(kind: &str, names: &[String]) -> String {
    names.iter().map(|name| format!(" --{kind} {name}")).collect()
}

fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || ":._-@".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use tailrace_row::TableName;

    use super::*;

    #[test]
    fn commands_name_the_topics_and_nothing_more() {
        let patterns = vec![
            TablePattern::Table(TableName::new("shop", "orders")),
            TablePattern::Table(TableName::new("shop", "two words")),
            TablePattern::Database("c€m".into()),
        ];
        let found = least("tail'race", &TopicNames::new("p"), "p.apply", &TableFilter { patterns });
        let found: Vec<&str> = found
            .iter()
            .map(|grant| {
                grant
                    .statement
                    .strip_prefix(r"kafka-acls.sh --bootstrap-server … --add --allow-principal 'User:tail'\''race' ")
                    .unwrap()
            })
            .collect();
        const ALL: &str = "--operation Create --operation DescribeConfigs --operation Read --operation Write";
        assert_eq!(
            found,
            [
                "--operation DescribeConfigs --cluster",
                &format!("{ALL} --topic p.checkpoint --topic p.schemas --topic p.control --topic p.ledger"),
                "--operation Write --transactional-id p.capture --transactional-id p.prepare",
                "--operation Read --group p.apply --group p.look",
                &format!("{ALL} --topic p.shop.orders --topic p.shop.two_words"),
                &format!("{ALL} --topic p.c_m. --resource-pattern-type prefixed"),
            ]
        );
        assert!(
            least("", &TopicNames::new("p"), "p.apply", &TableFilter { patterns: Vec::new() })[0]
                .statement
                .contains("--allow-principal User:… --operation")
        );
    }
}
