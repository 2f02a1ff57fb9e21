//! `on_ddl` by table: one waits at a statement until an operator lets it go on, one is left as it is; the others go on.

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;

use super::{LIMIT, end};
use crate::harness::{READY_LIMIT, Scene, TargetKind, wait_until};

/// `tailrace status`: something is degraded.
const DEGRADED: Option<i32> = Some(7);

const TABLES: &str = "
    CREATE TABLE waits (id INT PRIMARY KEY, note VARCHAR(20), qty INT NOT NULL);
    CREATE TABLE stays (id INT PRIMARY KEY, note VARCHAR(20), qty INT NOT NULL)";

/// What the source's tables become, with rows before and behind it.
const STATEMENTS: &str = "
    INSERT INTO waits VALUES (1, 'before', 10), (2, 'before', 20);
    ALTER TABLE waits ADD total BIGINT NOT NULL DEFAULT 7, DROP note;
    INSERT INTO waits VALUES (3, 30, 300);
    UPDATE waits SET total = 77 WHERE id = 2;";

/// The same for the target.
const BY_HAND: [&str; 3] = [
    "ALTER TABLE waits ADD COLUMN total bigint NOT NULL DEFAULT 7",
    "ALTER TABLE waits DROP COLUMN note",
    "ALTER TABLE waits ALTER COLUMN total DROP DEFAULT",
];

#[test]
fn a_table_waits_until_it_is_resumed_and_another_stays_as_it_is() -> Result<()> {
    let scene = Scene::new("ddl_policies")?;
    let table = |name: &str, policy: &str| {
        format!("\n[[table]]\nsource = \"{}.{name}\"\nbackfill = \"off\"\non_ddl = \"{policy}\"\n", scene.database)
    };
    scene.write_config(&format!("{}{}{}", scene.config(), table("waits", "pause"), table("stays", "ignore")))?;
    scene.source(TABLES)?;
    scene.make_target()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.source(STATEMENTS)?;
    wait_paused(&scene, &mut apply)?;
    others_go_on(&scene)?;
    let seen = scene.target_rows("SELECT id, note, qty FROM waits ORDER BY id")?;
    ensure!(seen.len() == 2, "what lies behind the statement is not applied: {seen:?}");

    // It waits as well in the process that comes next, and behind it comes another statement.
    apply.kill()?;
    let mut apply = scene.launch(&["apply"])?.spawn()?;
    wait_paused(&scene, &mut apply)?;
    scene.source("TRUNCATE TABLE waits; INSERT INTO waits VALUES (4, 40, 400)")?;
    others_go_on(&scene)?;
    BY_HAND.iter().try_for_each(|statement| scene.target(statement))?;
    resume(&scene, "ALTER TABLE waits")?;
    wait_until("it stands at the next statement", LIMIT, || {
        Ok(scene.command(&["status"])?.stdout.contains("behind `TRUNCATE TABLE waits`"))
    })?;
    let total = scene.target_number("SELECT sum(total) FROM waits")?;
    ensure!(total == 7 + 77 + 300, "up to the next statement everything is applied: {total}");
    scene.target("TRUNCATE waits")?;
    resume(&scene, "TRUNCATE TABLE waits")?;
    a_table_stays_as_it_is(&scene, &apply)?;
    scene.wait_drained()?;
    scene.source("DROP TABLE stays")?;
    ensure!(scene.ensure_equal()? == 1, "one row is left");
    apply.wait_ready(READY_LIMIT)?;
    let paused = apply.metrics()?.sum("tailrace_apply_table_paused");
    ensure!(paused == Some(0.0), "nothing waits any more: {paused:?}");
    let again = scene.command(&["resume", "--table", &format!("{}.waits", scene.database)])?;
    ensure!(again.code == Some(1) && again.stderr.contains("does not wait at a statement"), "{again:?}");
    end(&mut apply)?;
    end(&mut capture)?;
    scene.finish()
}

/// Without a log all tables wait, since there is one checkpoint.
#[test]
fn a_stream_waits_until_its_table_is_resumed() -> Result<()> {
    check_stream(Scene::new("ddl_waits_embedded")?, &BY_HAND)?;
    let in_file = ["ALTER TABLE waits ADD COLUMN total INTEGER; UPDATE waits SET total = 7", BY_HAND[1]];
    check_stream(Scene::to(TargetKind::Sqlite, "ddl_waits_file")?, &in_file)
}

fn check_stream(scene: Scene, by_hand: &[&str]) -> Result<()> {
    scene.source(TABLES)?;
    scene.make_target()?;
    let mut process = scene.run_embedded()?;
    scene.source(STATEMENTS)?;
    wait_paused(&scene, &mut process)?;
    process.kill()?;
    let mut process = scene.launch(&["run"])?.spawn()?;
    wait_paused(&scene, &mut process)?;
    let marker = scene.mark()?;
    by_hand.iter().try_for_each(|statement| scene.target(statement))?;
    ensure!(scene.target_number(&markers_from(marker))? == 0, "nothing passes a table that waits");
    resume(&scene, "ALTER TABLE waits")?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 3, "all rows");
    process.wait_ready(READY_LIMIT)?;
    end(&mut process)?;
    scene.finish()
}

/// Waits until the table is said to wait, with the statement and the way on.
fn wait_paused(scene: &Scene, process: &mut Tailrace) -> Result<()> {
    let mut last = String::new();
    let found = wait_until("the table waits", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let status = scene.command(&["status"])?;
        last = format!("{status:?}");
        let way_on = format!("tailrace resume --table {}.waits", scene.database);
        let is_told = ["waits at", "behind `ALTER TABLE waits ADD total", "do to", &way_on]
            .iter()
            .all(|words| status.stdout.contains(words));
        let paused = process.metrics().ok().and_then(|metrics| metrics.sum("tailrace_apply_table_paused"));
        Ok(status.code == DEGRADED && is_told && paused == Some(1.0))
    });
    found.context(last)
}

fn others_go_on(scene: &Scene) -> Result<()> {
    let marker = scene.mark()?;
    wait_until("another table goes on", LIMIT, || Ok(scene.target_number(&markers_from(marker))? == 1))
}

fn markers_from(marker: i64) -> String {
    format!("SELECT count(*) FROM {} WHERE id >= {marker}", Scene::MARKERS)
}

fn resume(scene: &Scene, statement: &str) -> Result<()> {
    let resumed = scene.command(&["resume", "--table", &format!("{}.waits", scene.database)])?;
    ensure!(resumed.code == Some(0) && resumed.stdout.contains(statement), "{resumed:?}");
    say(resumed.stdout.trim());
    Ok(())
}

fn a_table_stays_as_it_is(scene: &Scene, apply: &Tailrace) -> Result<()> {
    scene.source(
        "INSERT INTO stays VALUES (1, 'before', 10), (2, 'before', 20);
         ALTER TABLE stays ADD more INT NOT NULL DEFAULT 5, MODIFY qty BIGINT NOT NULL;
         INSERT INTO stays VALUES (3, 'behind', 30, 6);
         UPDATE stays SET note = 'changed', more = 7 WHERE id = 1;
         TRUNCATE TABLE stays;
         INSERT INTO stays VALUES (4, 'last', 40, 8);",
    )?;
    scene.wait_drained()?;
    let rows = scene.target_rows("SELECT concat_ws(' ', id, note, qty) FROM stays ORDER BY id")?;
    let rows: Vec<String> = rows.into_iter().flatten().flatten().collect();
    ensure!(rows == ["1 changed 10", "2 before 20", "3 behind 30", "4 last 40"], "{rows:?}");
    let left_out = apply.metrics()?.sum("tailrace_apply_left_out_total");
    ensure!(left_out == Some(3.0), "values of the column that the target does not have: {left_out:?}");
    Ok(())
}
