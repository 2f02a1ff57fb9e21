//! Data folders made once and copied for each new server: initialising takes seconds, copying a fraction of one.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::Home;

/// The template's data folder, made by `fill` if there is none yet. A template that was not finished is made anew.
pub(crate) fn ensure(
    home: &Home,
    kind: &str,
    user: Option<(u32, u32)>,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let _lock = home.lock(&format!("template-{kind}"))?;
    let finished = home.template(kind);
    if !finished.join("data").exists() {
        let begun = home.template(&format!("{kind}.begun"));
        if begun.exists() {
            fs::remove_dir_all(&begun).with_context(|| format!("deleting {}", begun.display()))?;
        }
        fs::create_dir_all(&begun).with_context(|| format!("creating {}", begun.display()))?;
        give(&begun, user)?;
        fill(&begun)?;
        fs::rename(&begun, &finished).with_context(|| format!("renaming {}", begun.display()))?;
    }
    Ok(finished.join("data"))
}

/// Copies a template's data into a server's folder and gives that folder to the server's user.
pub(crate) fn copy(data: &Path, folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    give(folder, user)?;
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(data).arg(folder.join("data")).status();
    if !status.context("running cp")?.success() {
        bail!("copying {} to {} failed", data.display(), folder.display());
    }
    Ok(())
}

/// Hands a path to the user that the server runs as.
pub(crate) fn give(path: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let Some((user, group)) = user else { return Ok(()) };
    chown(path, Some(user), Some(group)).with_context(|| format!("giving {} to user {user}", path.display()))
}

/// Deletes files that may be there.
pub(crate) fn remove_files(folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("deleting {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
