//! The same types and values as Debezium's JDBC sink reads them from the topics, into tables that it makes itself by the
//! schemas in the records. `sink_limits` lists what it can't carry.

use anyhow::{Context, Result, ensure};
use lab::Connect;

use super::catalog::{Group, groups};
use super::mariadb::groups_of_mariadb;
use super::sink_limits::{LIMITS, What, altered, carried, declared, target_form};
use super::tables::{Compared, mysql_name, wait_equal_while};
use super::{
    LENIENT, columns_of, create_keyed, create_plain, delete, insert, keyed, keyed_name, keys, move_keys, plain, update,
};
use crate::consumers::jdbc_sink;
use crate::harness::{DRAIN_LIMIT, Scene, Servers, Texts, free_port, wait_until};

#[test]
fn every_value_of_every_type_arrives_by_debeziums_sink() -> Result<()> {
    let scene = Scene::new("every_type_sink")?;
    let stops = stops(&groups())?;
    check(&scene, &carried(groups()), &stops)?;
    println!("{} stops", stops.len());
    scene.finish()
}

#[test]
fn every_value_of_mariadbs_types_arrives_by_debeziums_sink() -> Result<()> {
    let scene = Scene::on("every_type_sink_mariadb", Servers::shared_mariadb()?)?;
    check(&scene, &carried(groups_of_mariadb()), &[])?;
    scene.finish()
}

/// A table of its own whose changes end the task of a connector of its own.
struct Stop {
    table: String,
    statements: String,
    error: &'static str,
    properties: fn(Properties) -> Properties,
}

type Properties = Vec<(&'static str, String)>;

/// One for each entry, with the first of its columns and of its values.
fn stops(groups: &[Group]) -> Result<Vec<Stop>> {
    let mut stops = Vec::new();
    for limit in LIMITS {
        let column = limit.columns[0];
        let row = groups.iter().flat_map(|group| &group.rows).find(|row| row.name == column);
        let row = row.with_context(|| format!("{column}: {}", limit.reason))?;
        let table = format!("stop_{}", stops.len());
        let (key, value, change, error) = match limit.what {
            What::Alters(_) => continue,
            What::StopsAt(literals, error) => {
                let value = literals.iter().find(|literal| row.values.contains(literal)).or(row.values.first());
                ("id", value.copied().unwrap_or_default(), String::new(), error)
            }
            What::StopsInKey(error) => ("v, id", row.values[0], format!("DELETE FROM {table};"), error),
        };
        let declared = row.declared;
        let statements = format!(
            "CREATE TABLE {table} (id INT NOT NULL, v {declared} NOT NULL, PRIMARY KEY ({key}));
             INSERT INTO {table} VALUES (1, {value}); {change}"
        );
        stops.push(Stop { table, statements, error, properties: |properties| properties });
    }
    // Connect's own converter of headers makes a map of the key that a key change tells, which is none if its columns differ
    // in type.
    stops.push(Stop {
        table: "stop_header".to_owned(),
        statements: "CREATE TABLE stop_header (a INT, b VARCHAR(10), PRIMARY KEY (a, b));
                     INSERT INTO stop_header VALUES (1, 'x'); UPDATE stop_header SET a = 2"
            .to_owned(),
        error: "No schema defined for value of map field: \"__debezium.",
        properties: |mut properties| {
            properties.retain(|(key, _)| *key != "header.converter");
            properties
        },
    });
    Ok(stops)
}

fn check(scene: &Scene, groups: &[Group], stops: &[Stop]) -> Result<()> {
    scene.write_config(&scene.config().replace("prefix = ", "schemas = true\nprefix = "))?;
    let mut compared = Vec::new();
    for group in groups {
        scene.source(&format!("{LENIENT} {}", create_plain(group)))?;
        compared.push(plain(group));
        if let Some(keyed) = keyed(group) {
            scene.source(&format!("{LENIENT} {}", create_keyed(group)))?;
            compared.push(keyed);
        }
    }
    for column in compared.iter_mut().flat_map(|table| &mut table.columns) {
        let row = groups.iter().flat_map(|group| &group.rows).find(|row| columns_of(row).contains(&column.name));
        column.target_form = target_form(column.rule);
        column.altered = row.map_or(column.altered, |row| altered(row.name));
    }
    let _capture = scene.capture()?;
    change(scene, groups, insert)?;
    for stop in stops {
        scene.source(&format!("{LENIENT} {}", stop.statements))?;
    }
    // A sink looks for new topics every five minutes only.
    let topics = compared.len() + stops.len();
    wait_until("all topics are there", DRAIN_LIMIT, || Ok(scene.table_topics()?.len() == topics))?;

    let mut connect = start(scene, &compared, stops)?;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'stop\\_%'";
    wait_until("the sink has made its tables", DRAIN_LIMIT, || {
        connect.check(&scene.prefix)?;
        Ok(usize::try_from(scene.target_number(tables)?)? == compared.len())
    })?;
    let mut wait = |stage: &str| wait_equal_while(scene, stage, &compared, || connect.check(&scene.prefix));
    wait("after INSERT")?;
    check_declared_types(scene, groups)?;
    // MariaDB's zero has no sign.
    if scene.servers.mysql.flavor().scheme() == "mysql" {
        check_altered(scene, groups)?;
    }
    for (stage, statements) in [
        ("after UPDATE", update as fn(&Group) -> String),
        ("after UPDATE of keys", move_keys),
        ("after DELETE", delete),
    ] {
        change(scene, groups, statements)?;
        wait(stage)?;
    }
    for stop in stops {
        let connector = connector_of(scene, stop);
        wait_until(&format!("{connector} stops: {}", stop.error), DRAIN_LIMIT, || {
            // Why it could not make a table it says before the task's failure.
            Ok(connect.failure(&connector)?.is_some() && connect.log().contains(stop.error))
        })
        .with_context(|| format!("{} says: {:?}", stop.statements, connect.failure(&connector)))?;
    }
    Ok(())
}

fn change(scene: &Scene, groups: &[Group], statements: fn(&Group) -> String) -> Result<()> {
    groups.iter().try_for_each(|group| scene.source(&format!("{LENIENT} BEGIN; {} COMMIT", statements(group))))
}

fn connector_of(scene: &Scene, stop: &Stop) -> String {
    format!("{}-{}", scene.prefix, stop.table)
}

/// One worker: a connector for all tables, and one for each of those that stop it.
fn start(scene: &Scene, compared: &[Compared], stops: &[Stop]) -> Result<Connect> {
    // The sink makes its tables, named as the source's.
    let own = [
        ("schema.evolution", "basic"),
        ("transforms", "table"),
        ("transforms.table.type", "org.apache.kafka.connect.transforms.RegexRouter"),
        ("transforms.table.regex", ".*\\.(.*)"),
        ("transforms.table.replacement", "$1"),
    ];
    let sink = |name: &str, topics: &[&str]| {
        let own = own.map(|(key, value)| (key, value.to_owned()));
        anyhow::Ok(jdbc_sink(scene, name, topics)?.into_iter().chain(own).collect::<Properties>())
    };
    let topics: Vec<String> = compared.iter().map(|table| scene.topic(&table.name)).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut connectors = vec![sink(&scene.prefix, &topics)?];
    for stop in stops {
        connectors.push((stop.properties)(sink(&connector_of(scene, stop), &[&scene.topic(&stop.table)])?));
    }
    let connectors: Vec<_> = connectors.iter().map(Vec::as_slice).collect();
    Connect::start(&scene.servers.kafka, scene.folder(), free_port()?, &connectors)
}

/// The types that the sink chose.
fn check_declared_types(scene: &Scene, groups: &[Group]) -> Result<()> {
    let query = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull \
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = 'public' AND a.attnum > 0 AND c.relkind = 'r'";
    let rows = scene.target_rows(query)?;
    let check = |table: &str, column: &str, declared: &str, is_required: bool| {
        let is_it = |row: &&Texts| row[0].as_deref() == Some(table) && row[1].as_deref() == Some(column);
        let row = rows.iter().find(is_it).with_context(|| format!("the sink has no {table}.{column}"))?;
        let expect = [Some(declared), Some(if is_required { "t" } else { "f" })];
        ensure!(row[2..].iter().map(Option::as_deref).eq(expect), "{table}.{column}: {row:?} is not {expect:?}");
        anyhow::Ok(())
    };
    for group in groups {
        for row in &group.rows {
            let declared =
                declared(&row.shape).with_context(|| format!("{}: the sink has no type for it", row.name))?;
            for (place, name) in columns_of(row).iter().enumerate() {
                check(group.name, name, &declared, place > 0)?;
            }
            if row.is_key {
                check(&keyed_name(group), row.name, &declared, true)?;
            }
        }
        ensure!(keys(group).count() > 0 || keyed(group).is_none(), "{} has keys", group.name);
    }
    Ok(())
}

/// Every entry about altered values is met by one of them, in each of its columns.
fn check_altered(scene: &Scene, groups: &[Group]) -> Result<()> {
    for limit in LIMITS {
        let What::Alters(alter) = limit.what else { continue };
        for name in limit.columns {
            let group = groups.iter().find(|group| group.rows.iter().any(|row| row.name == *name));
            let group = group.with_context(|| format!("no column {name}: {}", limit.reason))?;
            let rule = group.rows.iter().find(|row| row.name == *name).context("found above")?.rule;
            let query = format!("SELECT {} FROM {}", rule.of_mysql(&mysql_name(name)), mysql_name(group.name));
            let texts = scene.source_rows(&query)?.into_iter().flatten().flatten();
            let values = texts.map(|text| rule.read(&text)).collect::<Result<Vec<String>>>()?;
            let is_met = values.iter().any(|value| alter(value.clone()) != *value);
            ensure!(is_met, "{name} has no value that is altered: {}", limit.reason);
        }
    }
    Ok(())
}
