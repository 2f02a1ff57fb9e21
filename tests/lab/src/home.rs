//! Where the laboratory keeps things: installed programs, templates of data folders, running servers, locks. Always
//! outside the repository, so that a clean checkout stays clean and a second checkout finds what the first installed.
//!
//! Locks are file locks: the kernel releases them when their holder dies, however it dies.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder that holds everything of the laboratory.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// `TAILRACE_LAB_HOME`, else the user's cache folder; for root a folder that the servers' own users can enter.
    pub fn find() -> Result<Home> {
        let root = match std::env::var_os("TAILRACE_LAB_HOME") {
            Some(chosen) => PathBuf::from(chosen),
            None if is_root() => PathBuf::from("/var/cache/tailrace-lab"),
            None => user_cache()?.join("tailrace-lab"),
        };
        if !root.is_absolute() {
            bail!("TAILRACE_LAB_HOME is {}: it must be an absolute path", root.display());
        }
        Home::at(root)
    }

    /// A home in a folder of the caller's choice.
    pub fn at(root: PathBuf) -> Result<Home> {
        for folder in ["install", "template", "servers", "locks"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        }
        if is_root() {
            check_enterable(&root)?;
        }
        Ok(Home { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Programs fetched by the laboratory.
    pub fn install(&self, program: &str) -> PathBuf {
        self.root.join("install").join(program)
    }

    /// An initialised data folder, copied for each new server.
    pub fn template(&self, kind: &str) -> PathBuf {
        self.root.join("template").join(kind)
    }

    /// The folder of all servers.
    pub fn servers(&self) -> PathBuf {
        self.root.join("servers")
    }

    /// Takes a lock by name and holds it until the returned file is dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join("locks").join(name);
        let file = File::create(&path).with_context(|| format!("creating the lock {}", path.display()))?;
        file.lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(file)
    }
}

/// Whether this process may install packages and change users.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// User and group that a server runs as: most refuse root. `None` where we are an ordinary user already.
pub fn server_user(name: &str) -> Result<Option<(u32, u32)>> {
    if !is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name));
    let ids = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Ok(Some(ids.with_context(|| format!("this machine has no user {name} to run a server as"))?))
}

fn user_cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Ok(PathBuf::from(cache));
    }
    let home = std::env::var_os("HOME").context("neither HOME nor TAILRACE_LAB_HOME is set: set one of them")?;
    Ok(PathBuf::from(home).join(".cache"))
}

/// Servers of root's laboratory run as other users: each folder on the way must let them pass.
fn check_enterable(root: &Path) -> Result<()> {
    for folder in root.ancestors() {
        let mode = fs::metadata(folder).with_context(|| format!("looking at {}", folder.display()))?.mode();
        if mode & 0o001 == 0 {
            bail!(
                "{} can't be entered by the users that the servers run as: choose another TAILRACE_LAB_HOME, or chmod o+x {0}",
                folder.display()
            );
        }
    }
    Ok(())
}
