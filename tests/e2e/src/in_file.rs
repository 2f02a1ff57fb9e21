//! A file of SQLite that can't be written for a while, because its disk is full or another process holds its lock: Tailrace says
//! so, waits, and goes on by itself; nothing is lost.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;

use crate::harness::{Ledger, Scene, TargetKind, seed, wait_until};

const PAUSE: Duration = Duration::from_millis(2);
/// How soon it must be seen that the file can't be written, and how soon afterwards everything runs again.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn another_s_lock_is_waited_for() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "file_locked")?;
    let (mut process, ledger) = begin(&scene)?;
    let lock = scene.lock_target()?;
    wait_told(&mut process, "another process holds the file's lock")?;
    wait_written(&ledger)?;
    scene.unlock_target(lock)?;
    end(&scene, process, ledger)?;
    scene.finish()
}

#[test]
fn a_full_disk_is_waited_for() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "file_full")?;
    let Some(disk) = SmallDisk::mount(&scene)? else {
        say("file_full: this account may mount nothing, so no disk can be filled");
        return scene.finish();
    };
    let (mut process, ledger) = begin(&scene)?;
    disk.fill()?;
    wait_told(&mut process, "database or disk is full")?;
    let file = scene.folder().join("target.db");
    let log = process.log_text();
    ensure!(log.contains(&file.display().to_string()), "the log does not name the file: {log}");
    wait_written(&ledger)?;
    disk.make_room()?;
    end(&scene, process, ledger)?;
    scene.finish()
}

/// A writer, and a process that follows it.
fn begin(scene: &Scene) -> Result<(Tailrace, Ledger<'_>)> {
    scene.make_ledger()?;
    scene.make_target()?;
    let process = scene.run_embedded()?;
    let ledger = scene.open_ledger(PAUSE, seed(&scene.database))?;
    let saves = "SELECT max(saves) FROM tailrace_streams";
    wait_until("changes reach the file", LIMIT, || Ok(scene.target_number(saves)? > 20))?;
    Ok((process, ledger))
}

/// Health, metrics and log all tell it; the process lives.
fn wait_told(process: &mut Tailrace, words: &str) -> Result<()> {
    wait_until("health, metrics and log tell what is wrong", LIMIT, || {
        ensure!(process.is_running(), "the process ended: {}", process.log_text());
        let errors = process.metrics()?.labelled("tailrace_errors_total", "kind=\"transient\"").unwrap_or(0.0);
        let log = process.log_text();
        let is_told = log.contains(words) && log.contains("waits and tries again");
        Ok(process.health()?.status != 200 && errors > 0.0 && is_told)
    })
}

/// The source does not wait.
fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let wanted = ledger.transactions() + 200;
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() >= wanted))
}

/// The same process goes on, and everything arrives.
fn end(scene: &Scene, mut process: Tailrace, ledger: Ledger<'_>) -> Result<()> {
    process.wait_ready(LIMIT)?;
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    say(&format!("{}: {transactions} transactions, {rows} rows equal", scene.database));
    process.terminate()?;
    let status = process.wait_exit(LIMIT)?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}

/// A disk of a few megabytes in memory that holds the scene's file. The log lies elsewhere: it must be able to tell.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// None where the account may not mount.
    fn mount(scene: &Scene) -> Result<Option<SmallDisk>> {
        // Beside the scene's folder, which the next run empties even if this one was killed.
        let folder = scene.folder().with_extension("disk");
        fs::create_dir_all(&folder)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&folder).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        symlink(folder.join("target.db"), scene.folder().join("target.db"))?;
        Ok(Some(SmallDisk { folder }))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Takes what is left of it.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let page = [0x2a; 4096];
        while ballast.write_all(&page).is_ok() {}
        let written = ballast.metadata()?.len();
        ensure!(written > 0, "the disk was full before");
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("removing the ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has the file open keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
