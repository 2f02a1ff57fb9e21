//! Every supported type with its edge values, from MySQL's INSERT to PostgreSQL's SELECT, judged by what both print.
//!
//! `catalog` lists types and values, `rules` how they are compared, `readers` reads all of them back, `proven` compares them by
//! the product's own `proof`, `planted` shows that it sees the smallest difference of each type. `by_hand` has the other target
//! types that may take them, `refused` what no PostgreSQL type can hold, `policies` what lets that through, `in_file` what
//! becomes of all of them in SQLite. A change's *before* is proven twice: key changes and deletes find their rows by it, and
//! each record in the topics must show as before what the record before it showed as after.

mod befores;
mod by_hand;
mod catalog;
mod exact;
mod in_file;
mod in_sink;
mod losses;
mod mariadb;
mod planted;
mod policies;
mod proven;
mod readers;
mod refused;
mod rules;
mod sink_limits;
mod tables;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;

use self::catalog::{Group, TypeRow, groups};
use self::mariadb::groups_of_mariadb;
use self::readers::Readers;
use self::rules::Rule;
use self::tables::{Asked, Compared, mysql_name, wait_equal};
use crate::harness::{Scene, Servers, TargetKind, Texts};

/// Literals of instants name their zone where the server takes that. Strict modes would refuse ENUM's index 0 and dates of the year 0.
const LENIENT: &str = "SET sql_mode = '', time_zone = '+00:00';";

#[test]
fn every_value_of_every_type_arrives() -> Result<()> {
    check_by_kafka(Scene::new("every_type")?, &groups())
}

#[test]
fn every_value_of_mariadbs_types_arrives() -> Result<()> {
    check_by_kafka(Scene::on("every_type_mariadb", Servers::shared_mariadb()?)?, &groups_of_mariadb())
}

#[test]
fn every_value_of_mariadb_11s_types_arrives() -> Result<()> {
    check_by_kafka(Scene::on("every_type_mariadb11_log", Servers::shared_mariadb11()?)?, &groups_of_mariadb())
}

fn check_by_kafka(scene: Scene, groups: &[Group]) -> Result<()> {
    let compared = check_by_log(&scene, groups, check_target_types)?;
    let mut changes = 0;
    for table in &compared {
        changes += befores::check(&scene, &scene.topic(&table.name))?;
    }
    println!("{changes} changes");
    scene.finish()
}

/// The same without a log. There is no record to look at: a before is proven by the rows that it finds.
#[test]
fn every_value_of_every_type_arrives_embedded() -> Result<()> {
    let scene = Scene::new("every_type_embedded")?;
    check_embedded(&scene, &groups(), check_target_types)?;
    scene.finish()
}

#[test]
fn every_value_of_mariadb_11s_types_arrives_embedded() -> Result<()> {
    let scene = Scene::on("every_type_mariadb11", Servers::shared_mariadb11()?)?;
    check_embedded(&scene, &groups_of_mariadb(), check_target_types)?;
    scene.finish()
}

/// All groups by way of a log; returns their tables.
fn check_by_log(scene: &Scene, groups: &[Group], check_types: CheckTypes) -> Result<Vec<Compared>> {
    let compared = stage(scene, groups, check_types)?;
    let mut capture = scene.capture()?;
    let mut apply = begin_apply(scene, &scene.config())?;
    change_and_compare(scene, groups, &compared, readers_of(scene, TargetKind::Postgres)?)?;
    end(&mut capture)?;
    end(&mut apply)?;
    Ok(compared)
}

/// All groups without a log.
fn check_embedded(scene: &Scene, groups: &[Group], check_types: CheckTypes) -> Result<()> {
    let compared = stage(scene, groups, check_types)?;
    let mut process = scene.run_embedded()?;
    change_and_compare(scene, groups, &compared, readers_of(scene, TargetKind::Sqlite)?)?;
    end(&mut process)
}

/// Readers where the target is of that kind: each pair of systems is read once, since the way there changes nothing.
fn readers_of(scene: &Scene, target_kind: TargetKind) -> Result<Option<Readers>> {
    (scene.target_kind == target_kind).then(|| Readers::begin(scene)).transpose()
}

/// Judges the types that the target's tables got.
type CheckTypes = fn(&Scene, &[Group]) -> Result<()>;

/// Makes the tables of all groups on both sides.
fn stage(scene: &Scene, groups: &[Group], check_types: CheckTypes) -> Result<Vec<Compared>> {
    let mut compared = Vec::new();
    for group in groups {
        scene.source(&format!("{LENIENT} {}", create_plain(group)))?;
        compared.push(plain(group));
        if let Some(keyed) = keyed(group) {
            scene.source(&format!("{LENIENT} {}", create_keyed(group)))?;
            compared.push(keyed);
        }
    }
    scene.make_target()?;
    check_types(scene, groups)?;
    Ok(compared)
}

/// Writes every value in inserts, updates, key changes and deletes, and waits for each stage to be equal on both sides.
fn change_and_compare(
    scene: &Scene,
    groups: &[Group],
    compared: &[Compared],
    mut readers: Option<Readers>,
) -> Result<()> {
    let tables: Vec<&str> = compared.iter().map(|table| table.name.as_str()).collect();
    for (stage, statements, is_read) in [
        ("after INSERT", insert as fn(&Group) -> String, true),
        ("after UPDATE", update, false),
        ("after UPDATE of keys", move_keys, true),
        ("after DELETE", delete, false),
    ] {
        for group in groups {
            scene.source(&format!("{LENIENT} BEGIN; {} COMMIT", statements(group)))?;
        }
        wait_equal(scene, stage, compared)?;
        proven::check_equal(scene, stage, &tables)?;
        if let Some(readers) = readers.as_mut().filter(|_| is_read) {
            readers.check(scene, stage)?;
        }
        // MariaDB's reader is asked for no bounds of ENUM and SET here.
        if stage == "after UPDATE of keys" && scene.servers.mysql.flavor().scheme() == "mysql" {
            let keyed: Vec<String> = groups.iter().filter_map(keyed).map(|table| table.name).collect();
            proven::check_keys(scene, &keyed.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
    }
    planted::check(scene, groups)?;
    let rows = groups.iter().flat_map(|group| &group.rows);
    let values: usize = rows.clone().map(|row| row.values.len()).sum();
    let (types, tables, target) = (rows.count(), compared.len(), scene.target_kind);
    println!(
        "matrix: {types} types, {values} values in {tables} tables, each inserted, updated, moved and deleted, into {target:?}"
    );
    Ok(())
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(crate::harness::READY_LIMIT)?;
    ensure!(status.code() == Some(0), "a process ended with {status}");
    Ok(())
}

/// Apply that soon sees a table which comes into the log while it runs.
fn begin_apply(scene: &Scene, config: &str) -> Result<Tailrace> {
    scene.write_config(&format!("{config}\n[apply]\ndiscovery_interval = \"100ms\"\n"))?;
    scene.launch(&["apply"])?.spawn()
}

/// The three columns of a type.
fn columns_of(row: &TypeRow) -> [String; 3] {
    [row.name.to_owned(), format!("{}_w", row.name), format!("{}_d", row.name)]
}

fn plain(group: &Group) -> Compared {
    let columns = group.rows.iter().flat_map(|row| columns_of(row).map(|name| Asked::plain(&name, row.rule)));
    Compared { name: group.name.to_owned(), columns: columns.collect() }
}

fn keyed(group: &Group) -> Option<Compared> {
    let mut columns: Vec<Asked> = keys(group).map(|row| Asked::plain(row.name, row.rule)).collect();
    if columns.is_empty() {
        return None;
    }
    columns.push(Asked::plain("rev", Rule::Whole));
    Some(Compared { name: keyed_name(group), columns })
}

fn keyed_name(group: &Group) -> String {
    format!("{}_key", group.name)
}

fn keys(group: &Group) -> impl Iterator<Item = &TypeRow> {
    group.rows.iter().filter(|row| row.is_key)
}

fn create_plain(group: &Group) -> String {
    let columns = group.rows.iter().map(|row| {
        let [nullable, wanted, default] = columns_of(row).map(|name| mysql_name(&name));
        let (declared, first) = (row.declared, row.values[0]);
        format!(
            "{nullable} {declared} NULL, {wanted} {declared} NOT NULL, {default} {declared} NOT NULL DEFAULT ({first})"
        )
    });
    let columns: Vec<String> = columns.collect();
    format!("CREATE TABLE {} (id INT NOT NULL PRIMARY KEY, {})", mysql_name(group.name), columns.join(", "))
}

fn create_keyed(group: &Group) -> String {
    let columns: Vec<String> =
        keys(group).map(|row| format!("{} {} NOT NULL", mysql_name(row.name), row.declared)).collect();
    let names: Vec<String> = keys(group).map(|row| mysql_name(row.name)).collect();
    // The key's order differs from the table's.
    let reversed: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    format!(
        "CREATE TABLE {} (rev INT NOT NULL, {}, id INT NOT NULL, PRIMARY KEY ({}, id))",
        mysql_name(&keyed_name(group)),
        columns.join(", "),
        reversed.join(", ")
    )
}

/// Every value once, and one row more for NULL.
fn row_count(group: &Group) -> usize {
    group.rows.iter().map(|row| row.values.len() + 1).max().unwrap_or(0)
}

/// The value that a nullable column has in a row at a stage; behind the last one comes NULL.
fn nullable_value(row: &TypeRow, place: usize) -> &'static str {
    row.values.get(place % (row.values.len() + 1)).copied().unwrap_or("NULL")
}

fn value(row: &TypeRow, place: usize) -> &'static str {
    row.values[place % row.values.len()]
}

fn insert(group: &Group) -> String {
    let mut statements = Vec::new();
    for id in 0..row_count(group) {
        let names = group.rows.iter().flat_map(|row| columns_of(row).into_iter().take(2)).map(|name| mysql_name(&name));
        let values = group.rows.iter().flat_map(|row| [nullable_value(row, id), value(row, id + 1)]);
        statements.push(insert_row(group.name, names.collect(), values.collect(), id));
        if keys(group).next().is_some() {
            let names = keys(group).map(|row| mysql_name(row.name)).chain(["rev".to_owned()]).collect();
            let values = keys(group).map(|row| value(row, id)).chain(["0"]).collect();
            statements.push(insert_row(&keyed_name(group), names, values, id));
        }
    }
    statements.concat()
}

fn insert_row(table: &str, names: Vec<String>, values: Vec<&str>, id: usize) -> String {
    format!("INSERT INTO {} (id, {}) VALUES ({id}, {});\n", mysql_name(table), names.join(", "), values.join(", "))
}

/// Each row takes the values of the next.
fn update(group: &Group) -> String {
    let mut statements = Vec::new();
    for id in 0..row_count(group) {
        let set = group.rows.iter().map(|row| {
            let [nullable, wanted, _] = columns_of(row).map(|name| mysql_name(&name));
            format!("{nullable} = {}, {wanted} = {}", nullable_value(row, id + 1), value(row, id + 2))
        });
        let set: Vec<String> = set.collect();
        statements.push(format!("UPDATE {} SET {} WHERE id = {id};\n", mysql_name(group.name), set.join(", ")));
        if keys(group).next().is_some() {
            statements.push(format!("UPDATE {} SET rev = 1 WHERE id = {id};\n", mysql_name(&keyed_name(group))));
        }
    }
    statements.concat()
}

/// Each key takes the values of the next; `id` keeps them apart.
fn move_keys(group: &Group) -> String {
    if keys(group).next().is_none() {
        return String::new();
    }
    let update = |id| {
        let set: Vec<String> =
            keys(group).map(|row| format!("{} = {}", mysql_name(row.name), value(row, id + 1))).collect();
        format!("UPDATE {} SET {} WHERE id = {id};\n", mysql_name(&keyed_name(group)), set.join(", "))
    };
    (0..row_count(group)).map(update).collect()
}

fn delete(group: &Group) -> String {
    let mut statements = format!("DELETE FROM {} WHERE id % 2 = 0;", mysql_name(group.name));
    if keys(group).next().is_some() {
        statements.push_str(&format!("DELETE FROM {} WHERE id % 2 = 1;", mysql_name(&keyed_name(group))));
    }
    statements
}

/// The types that `tailrace schema --apply` chose.
fn check_target_types(scene: &Scene, groups: &[Group]) -> Result<()> {
    let query = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull \
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = current_schema() AND a.attnum > 0 AND c.relkind = 'r'";
    let rows = scene.target_rows(query)?;
    let found = |table: &str, column: &str| {
        let is_it = |row: &&Texts| row[0].as_deref() == Some(table) && row[1].as_deref() == Some(column);
        let row = rows.iter().find(is_it).with_context(|| format!("the target has no {table}.{column}"))?;
        anyhow::Ok((row[2].clone().unwrap_or_default(), row[3].as_deref() == Some("t")))
    };
    for group in groups {
        for row in &group.rows {
            for (place, name) in columns_of(row).iter().enumerate() {
                let (found, is_required) = found(group.name, name)?;
                ensure!(found == row.target, "{} {name}: {} became {found}", group.name, row.declared);
                ensure!(is_required == (place > 0), "{} {name}: NOT NULL is {is_required}", group.name);
            }
        }
    }
    Ok(())
}
