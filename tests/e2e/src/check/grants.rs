//! With exactly the printed grants everything works; without any one of them `check` names it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Found, LIMIT, check};
use crate::harness::{DRAIN_LIMIT, Scene, Servers, wait_until};

/// The account, on both sides: it owns nothing, and may do nothing that was not granted.
fn account(scene: &Scene) -> String {
    format!("{}_poor", scene.database)
}

/// What is found when something is taken from the account, or kept from it.
pub(super) const RIGHTS: &[&str] = &[
    "privilege",
    "target_own_privilege",
    "target_own_schema",
    "target_privilege",
    "target_row_security",
    "target_schema_create",
    "target_schema_privilege",
    "target_temporary",
];

/// What an administrator may do beside, and what is found then. `$` is the target's schema.
const KEPT: &[(&str, &str)] = &[
    ("ALTER TABLE $.orders ENABLE ROW LEVEL SECURITY", "target_row_security"),
    ("DROP TABLE $.orders", "target_schema_create"),
    ("DROP SCHEMA tailrace CASCADE", "target_own_schema"),
];

/// Mending one thing may show the next: a table that is made is not yet granted.
const ROUNDS: usize = 5;

/// One privilege of one printed statement.
#[derive(Debug)]
struct Right {
    place: String,
    privilege: String,
    /// `ON … TO …`.
    object: String,
}

impl Right {
    fn revoke(&self) -> String {
        format!("REVOKE {} {}", self.privilege, self.object.replacen(" TO ", " FROM ", 1))
    }
}

#[test]
fn the_printed_grants_suffice_and_each_is_needed() -> Result<()> {
    check_grants(Scene::new("grants")?, |_| true)
}

#[test]
fn the_printed_grants_suffice_on_mariadb_and_each_is_needed() -> Result<()> {
    check_grants(Scene::on("grants_mariadb", Servers::shared_mariadb()?)?, |right| right.place == "source")
}

/// With all of them; then without each of those that are to be judged.
fn check_grants(scene: Scene, is_judged: fn(&Right) -> bool) -> Result<()> {
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, v VARCHAR(10))")?;
    scene.make_target()?;
    make_account(&scene)?;
    let (database, whole) =
        (&scene.database, scene.config().replace("://tailrace@", &format!("://{}@", account(&scene))));
    let rule = |table: &str| format!("source = \"{database}.{table}\"\n");
    let tables = format!("{}[[table]]\n{}", rule("orders"), rule("e2e_markers"));
    let exact = whole.replace(&rule("*"), &tables);
    ensure!(exact != whole, "the configuration names its tables otherwise: {whole}");

    // For all tables of the database.
    scene.write_config(&whole)?;
    grant_printed(&scene)?;
    ensure!(check(&scene)?.problems.is_empty(), "with the grants for a database: {:?}", check(&scene)?);

    make_account(&scene)?;
    scene.write_config(&exact)?;
    let rights = grant_printed(&scene)?;
    ensure!(rights.len() == 17, "{} rights were printed: {rights:?}", rights.len());
    ensure!(check(&scene)?.problems.is_empty(), "with all grants: {:?}", check(&scene)?);
    let mut codes = BTreeSet::new();
    for right in rights.iter().filter(|right| is_judged(right)) {
        administrate(&scene, &right.place, &right.revoke())?;
        let found = check(&scene)?;
        ensure!(names(&found, right), "without {right:?} check says {found:?}");
        codes.extend(found.codes().into_iter().map(str::to_owned));
        mend(&scene, found)?;
    }
    for (statement, code) in KEPT {
        scene.administrate_target(&statement.replace('$', &scene.database))?;
        let found = check(&scene)?;
        ensure!(found.codes().contains(code), "after {statement} check says {found:?}");
        codes.extend(found.codes().into_iter().map(str::to_owned));
        mend(&scene, found)?;
    }
    // As the others were made: its owner is who looks at the rows below.
    scene.administrate_target(&format!("ALTER TABLE {}.orders OWNER TO tailrace", scene.database))?;
    let are_all_judged = rights.iter().all(is_judged);
    let missed: Vec<&&str> = RIGHTS.iter().filter(|_| are_all_judged).filter(|code| !codes.contains(**code)).collect();
    ensure!(missed.is_empty(), "nothing that was taken showed as {missed:?}, but as {codes:?}");
    ensure!(check(&scene)?.problems.is_empty(), "after all mending: {:?}", check(&scene)?);

    let process = scene.run()?;
    scene.source("INSERT INTO orders VALUES (1, 'one')")?;
    let has_arrived = || Ok(scene.target_number("SELECT count(*) FROM orders WHERE v = 'one'")? == 1);
    wait_until("a change arrives", DRAIN_LIMIT, has_arrived)?;
    drop(process);
    ensure!(check(&scene)?.problems.is_empty(), "after the run: {:?}", check(&scene)?);

    drop_account(&scene)?;
    scene.finish()
}

/// Runs what `check --print-grants` prints, as an administrator, and returns it one by one. The text says the same.
fn grant_printed(scene: &Scene) -> Result<Vec<Right>> {
    let printed = scene.launch(&["check", "--print-grants", "--format", "json"])?.run(LIMIT)?;
    ensure!(printed.code == Some(0), "{printed:?}");
    let text = scene.launch(&["check", "--print-grants"])?.run(LIMIT)?;
    let lists: Vec<Value> = serde_json::from_str(&printed.stdout).with_context(|| format!("no JSON: {printed:?}"))?;
    let mut rights = Vec::new();
    for list in &lists {
        let place = list["place"].as_str().context("a place")?;
        for grant in list["grants"].as_array().context("grants")? {
            let statement = grant["statement"].as_str().context("a statement")?;
            ensure!(text.stdout.contains(&format!("\n{statement};\n")), "{statement} is not in the text: {text:?}");
            administrate(scene, place, statement)?;
            let Some((privileges, object)) = statement.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON "))
            else {
                continue;
            };
            let right = |privilege: &str| Right {
                place: place.to_owned(),
                privilege: privilege.to_owned(),
                object: format!("ON {object}"),
            };
            rights.extend(privileges.split(", ").map(right));
        }
    }
    Ok(rights)
}

/// Runs what is printed, as the administrators, until nothing is left.
fn mend(scene: &Scene, mut found: Found) -> Result<()> {
    for _ in 0..ROUNDS {
        if found.problems.is_empty() {
            return Ok(());
        }
        for place in ["source", "target"] {
            found.mends(place).into_iter().try_for_each(|mend| administrate(scene, place, mend))?;
        }
        found = check(scene)?;
    }
    ensure!(found.problems.is_empty(), "not mended after {ROUNDS} rounds: {found:?}");
    Ok(())
}

/// Whether a problem gives back what was taken, and nothing else. Names stand in quotes where they need not, and MariaDB has a
/// name of its own for one privilege.
fn names(found: &Found, right: &Right) -> bool {
    let plain = |text: &str| text.replace('"', "").replace("BINLOG MONITOR", "REPLICATION CLIENT");
    let wanted = plain(&format!("GRANT {} {}", right.privilege, right.object));
    found.mends(&right.place).into_iter().any(|mend| plain(mend) == wanted)
}

fn administrate(scene: &Scene, place: &str, statement: &str) -> Result<()> {
    match place {
        "source" => scene.source(statement),
        _ => scene.administrate_target(statement),
    }
}

fn make_account(scene: &Scene) -> Result<()> {
    drop_account(scene)?;
    let account = account(scene);
    scene.source(&format!("CREATE USER {account} IDENTIFIED BY '{}'", lab::TAILRACE_PASSWORD))?;
    // What everybody has by default would hide that a grant is missing.
    scene.administrate_target(&format!(
        "CREATE ROLE {account} LOGIN PASSWORD '{}'; REVOKE ALL ON DATABASE {} FROM PUBLIC",
        lab::TAILRACE_PASSWORD,
        scene.database
    ))
}

fn drop_account(scene: &Scene) -> Result<()> {
    let account = account(scene);
    scene.source(&format!("DROP USER IF EXISTS {account}"))?;
    let query = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{account}'");
    if scene.target_number(&query)? == 1 {
        scene.administrate_target(&format!("DROP OWNED BY {account} CASCADE; DROP ROLE {account}"))?;
    }
    Ok(())
}
