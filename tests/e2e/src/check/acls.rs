//! A broker that lets an account do only what it was allowed: with exactly the printed commands everything works, and what is
//! missing is named, by `check` where it can ask without changing anything, else by the process that needs it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Kafka, KafkaRight, Mysql, Postgres};
use serde_json::Value;

use super::{LIMIT, check, find, with_settings};
use crate::harness::{Addresses, DRAIN_LIMIT, MYSQL_PASSWORD, Scene, Servers, free_port, wait_until};

/// What is found on the way.
pub(super) const LOCKED: &[&str] =
    &["kafka_broker_settings", "kafka_login", "kafka_transaction_timeout", "topic_privilege"];

/// How soon a process must tell what it may not do.
const TOLD_LIMIT: Duration = Duration::from_secs(20);

/// Which rights are taken away, one by one: each operation on each kind of resource, by how its name ends.
const TAKEN: &[(&str, &str, &str)] = &[
    ("cluster", "", "DescribeConfigs"),
    ("group", ".apply", "Read"),
    ("group", ".look", "Read"),
    ("topic", ".orders", "DescribeConfigs"),
    ("topic", ".ledger", "DescribeConfigs"),
    ("topic", ".orders", "Read"),
    ("topic", ".orders", "Write"),
    ("transactional-id", ".capture", "Write"),
    ("topic", ".orders", "Create"),
    // Needed when a table is written for the first time: with the topics its schema was forgotten.
    ("transactional-id", ".prepare", "Write"),
];

#[test]
fn the_printed_acls_suffice_and_each_is_needed() -> Result<()> {
    let port = free_port()?;
    let kafka = Kafka::fresh("check-acls", &words(&broker_options(port, Some(30_000))))?;
    let servers = Servers { mysql: Mysql::up("main")?, kafka: kafka.clone(), postgres: Postgres::up("main")? };
    let scene = Scene::on("check_acls", servers)?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY)")?;
    scene.make_target()?;
    configure(&scene, port)?;
    let found = check(&scene)?;
    ensure!(
        [LOCKED[0], LOCKED[3]].iter().all(|code| found.codes().contains(code)),
        "an account without rights: {found:?}"
    );

    let rights = allow_printed(&scene)?;
    let found = find(&scene, LOCKED[2])?;
    let mend = found.mends("log").concat();
    ensure!(mend.contains("transaction.max.timeout.ms=60000 in server.properties"), "{found:?}");
    kafka.restart_with(&words(&broker_options(port, Some(60_000))))?;
    ensure!(check(&scene)?.problems.is_empty(), "with all rights: {:?}", check(&scene)?);

    let process = scene.run()?;
    scene.source("INSERT INTO orders VALUES (1)")?;
    let has_arrived = || Ok(scene.target_number("SELECT count(*) FROM orders")? == 1);
    wait_until("a change arrives", DRAIN_LIMIT, has_arrived)?;
    let log = process.log_text();
    ensure!(!log.to_lowercase().contains("authorization"), "something is not allowed: {log}");
    drop(process);
    for (kind, end, operation) in TAKEN {
        let is_it =
            |right: &&KafkaRight| right.kind == *kind && right.name.ends_with(end) && right.operation == *operation;
        let right =
            rights.iter().find(is_it).with_context(|| format!("no {operation} on a {kind} {end} in {rights:?}"))?;
        kafka.forbid(right)?;
        is_named(&scene, right).with_context(|| format!("without {right:?}"))?;
        kafka.allow(right)?;
    }
    wait_until("all is well again", DRAIN_LIMIT, || Ok(check(&scene)?.problems.is_empty()))?;

    let config = std::fs::read_to_string(scene.config_file())?;
    scene.write_config(&with_settings(&scene, &config, &[("log.password", "{ env = \"PATH\" }")])?)?;
    find(&scene, LOCKED[1])?;
    scene.finish()?;
    kafka.remove()
}

/// Every right for itself.
fn allow_printed(scene: &Scene) -> Result<Vec<KafkaRight>> {
    let printed = scene.launch(&["check", "--print-grants", "--format", "json"])?.run(LIMIT)?;
    let lists: Vec<Value> = serde_json::from_str(&printed.stdout).with_context(|| format!("no JSON: {printed:?}"))?;
    let list = lists.iter().find(|list| list["place"] == "log").context("a list for the log")?;
    let grants = list["grants"].as_array().context("grants")?;
    let commands = grants.iter().map(|grant| grant["statement"].as_str().context("a command"));
    let commands: Vec<&str> = commands.collect::<Result<_>>()?;
    let running: Vec<_> =
        commands.iter().map(|command| scene.servers.kafka.printed_command(command)).collect::<Result<_>>()?;
    for process in running {
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "a printed command failed: {output:?}");
    }
    Ok(commands.into_iter().flat_map(rights_of).collect())
}

/// Each operation on each resource of a command.
fn rights_of(command: &str) -> Vec<KafkaRight> {
    let words: Vec<&str> = command.split(' ').collect();
    let behind = |name: &str| words.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].to_owned()).collect();
    let (principals, operations): (Vec<String>, Vec<String>) = (behind("--allow-principal"), behind("--operation"));
    let mut resources: Vec<(&str, String)> = Vec::new();
    for kind in ["topic", "group", "transactional-id"] {
        let names: Vec<String> = behind(&format!("--{kind}"));
        resources.extend(names.into_iter().map(|name| (kind, name)));
    }
    if words.contains(&"--cluster") {
        resources.push(("cluster", "kafka-cluster".to_owned()));
    }
    let mut rights = Vec::new();
    for (kind, name) in &resources {
        for operation in &operations {
            rights.push(KafkaRight {
                principal: principals.concat(),
                kind: (*kind).to_owned(),
                name: name.clone(),
                operation: operation.clone(),
            });
        }
    }
    rights
}

fn is_named(scene: &Scene, right: &KafkaRight) -> Result<()> {
    let found = check(scene)?;
    let of_log: Vec<&str> = found.mends("log");
    if !of_log.is_empty() {
        let is_right = |mend: &&str| rights_of(mend).contains(right);
        ensure!(of_log.iter().any(is_right), "check says {found:?}");
        return Ok(());
    }
    if right.operation == "Create" {
        scene.delete_topics()?;
    }
    // What earlier processes said stands in the same log.
    let said = std::fs::read(scene.folder().join("run.log"))?.len();
    let process = scene.launch(&["run"])?.spawn()?;
    let is_told = || process.log_text().get(said..).is_some_and(|log| log.to_lowercase().contains("authorization"));
    let mut id = scene.source_number("SELECT max(id) FROM orders")?;
    wait_until("a process names it", TOLD_LIMIT, || {
        id += 1;
        scene.source(&format!("INSERT INTO orders VALUES ({id}); INSERT INTO e2e_markers () VALUES ()"))?;
        Ok(is_told())
    })?;
    Ok(())
}

/// The tables by name, and the listener that asks for a login.
fn configure(scene: &Scene, port: u16) -> Result<()> {
    let kafka = format!("tailrace@127.0.0.1:{port}");
    let config = scene.config_for(&Addresses { kafka, ..scene.addresses() });
    let password = format!("{{ env = \"{MYSQL_PASSWORD}\" }}");
    let settings = [
        ("log.sasl", "\"SCRAM-SHA-512\""),
        ("log.password", &password),
        ("table.source", "\"$.orders\""),
        ("more.source", "\"$.e2e_markers\""),
    ];
    scene.write_config(&with_settings(scene, &config, &settings)?)
}

/// Whoever comes without a login is an administrator: the laboratory itself.
fn broker_options(port: u16, transaction_ms_max: Option<u32>) -> Vec<String> {
    let sasl = format!(",SASL_PLAINTEXT://127.0.0.1:{port}");
    let mut options = vec![
        format!("listeners=PLAINTEXT://127.0.0.1:{{clients}},CONTROLLER://127.0.0.1:{{controller}}{sasl}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{{clients}}{sasl}"),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"
            .to_owned(),
        "sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;"
            .to_owned(),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        "super.users=User:ANONYMOUS".to_owned(),
    ];
    options.extend(transaction_ms_max.map(|limit| format!("transaction.max.timeout.ms={limit}")));
    options
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}
