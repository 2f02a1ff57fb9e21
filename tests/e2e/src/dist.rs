//! What is shipped to run it for good: the systemd unit and the container file. Where the program that judges is missing, the
//! test says by name that it is skipped.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::install::has_program;
use lab::say;

use crate::alerts::dist;

#[test]
fn the_systemd_unit_is_valid_and_closed() -> Result<()> {
    if !has_program("systemd-analyze") {
        say("SKIPPED: the_systemd_unit_is_valid_and_closed, because this machine has no systemd-analyze");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("tailrace-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let unit = fs::read_to_string(dist()?.join("tailrace@.service"))?;
    // The program is not installed here; the path of the built one stands for it.
    let binary = lab::process::binary()?.display().to_string();
    ensure!(unit.contains("ExecStart=/usr/local/bin/tailrace "), "{unit}");
    let unit = unit.replace("/usr/local/bin/tailrace", &binary).replace("Documentation=man:systemd.exec(5)\n", "");
    for instance in ["capture", "apply", "run"] {
        let file = folder.join(format!("tailrace@{instance}.service"));
        fs::write(&file, &unit).with_context(|| format!("writing {}", file.display()))?;
        let output = Command::new("systemd-analyze").arg("verify").arg(&file).output().context("systemd-analyze")?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // It also reads the units that this machine has, and complains of those.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("tailrace")).collect();
        ensure!(output.status.success() && ours.is_empty(), "systemd-analyze verify: {said}");
    }
    fs::remove_dir_all(&folder).with_context(|| format!("deleting {}", folder.display()))
}

#[test]
fn the_container_file_builds() -> Result<()> {
    // A release build from nothing takes many minutes: only where it was asked for.
    let name = "the_container_file_builds";
    let Some(engine) = std::env::var_os("TAILRACE_TEST_CONTAINER") else {
        say(&format!("SKIPPED: {name}, because TAILRACE_TEST_CONTAINER names no engine (docker or podman)"));
        return Ok(());
    };
    let folder = dist()?;
    let workspace = folder.parent().context("the workspace's folder")?;
    let mut build = Command::new(&engine);
    build.args(["build", "-f", "dist/Containerfile", "-t", "tailrace-test", "."]).current_dir(workspace);
    ensure!(build.status().context("starting the engine")?.success(), "the image was not built");
    let output = Command::new(&engine).args(["run", "--rm", "--read-only", "tailrace-test", "version"]).output()?;
    ensure!(String::from_utf8_lossy(&output.stdout).starts_with("tailrace "), "{output:?}");
    Ok(())
}
