//! Systems that are away, and one that is a file.

use anyhow::{Result, ensure};

use super::{LIMIT, find};
use crate::harness::{Scene, TargetKind};

/// What is found where log and target do not answer.
pub(super) const AWAY: &[&str] = &["kafka_unreachable", "target_unreachable"];

/// Of a file, where Tailrace's own tables stand beside the others.
pub(super) const IN_FILE: &str = "target_table_name";

#[test]
fn a_system_that_is_away_hides_no_problem_of_another() -> Result<()> {
    let scene = Scene::new("check_away")?;
    scene.source("CREATE TABLE keyless (a INT)")?;
    let nobody = |config: &str, address: &str| config.replace(address, "127.0.0.1:1");
    let addresses = scene.addresses();
    scene.write_config(&nobody(&nobody(&scene.config(), &addresses.kafka), &addresses.postgres))?;
    let told = scene.launch(&["check"])?.run(LIMIT)?;
    ensure!(told.code == Some(1) && told.stdout.contains("not usable: "), "{told:?}");
    let keyless = format!("source table {}.keyless (table_unsupported)", scene.database);
    ensure!(told.stdout.contains(&keyless), "{keyless} is not found: {told:?}");
    for code in AWAY {
        ensure!(told.stdout.contains(&format!("({code})")), "{code} is not found: {told:?}");
    }
    scene.finish()
}

#[test]
fn a_file_has_a_table_of_that_name_already() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "check_file")?;
    scene.source("CREATE TABLE tailrace_offsets (id INT PRIMARY KEY)")?;
    find(&scene, IN_FILE)?;
    scene.finish()
}
