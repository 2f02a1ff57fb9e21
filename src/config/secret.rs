//! Secrets and certificates, read where the file names them. What is wrong is told without quoting a secret.

use std::{
    ffi::OsString,
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tailrace_contract::Secret;

/// What lies around the configuration: where relative paths begin, and the environment.
pub(super) struct Surroundings<'a> {
    /// The directory of the configuration file.
    pub directory: &'a Path,
    /// Looks a variable up.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What stands for a secret that is configured but not read.
    pub unread: Option<Secret>,
}

/// What is wrong, and the remedy.
pub(super) type Fault = (String, String);

/// No password is longer.
const SECRET_BYTES_MAX: u64 = 4096;

impl Surroundings<'_> {
    /// A path of the file; a relative one begins at the file's own directory.
    pub(super) fn path(&self, typed: &str) -> PathBuf {
        self.directory.join(typed)
    }

    /// The secret in an environment variable.
    pub(super) fn secret_in_variable(&self, name: &str) -> Result<Secret, Fault> {
        // A name that looks otherwise may be the password itself, put there by mistake.
        let is_upper_case = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let shown = if !name.is_empty() && name.bytes().all(is_upper_case) { name } else { "named here" };
        let fault = |what: &str| {
            let remedy = "set it where tailrace is started, or use { file = \"PATH\" }";
            (format!("the environment variable {shown} {what}"), remedy.to_owned())
        };
        let is_possible = !name.is_empty() && !name.contains(['=', '\0']);
        let found = is_possible.then(|| (self.variable)(name)).flatten().ok_or_else(|| fault("is not set"))?;
        match found.into_string() {
            Ok(secret) if secret.is_empty() => Err(fault("is empty")),
            Ok(secret) => Ok(Secret::new(secret)),
            Err(_) => Err(fault("is not UTF-8 text")),
        }
    }

    /// The secret in a file: its only line.
    pub(super) fn secret_in_file(&self, typed: impl AsRef<Path>) -> Result<Secret, Fault> {
        let path = self.directory.join(typed);
        let shown = path.display();
        let file = open_private(&path)?;
        let mut text = String::new();
        file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| {
            (format!("{shown} can't be read: {error}"), "write the password into it as text".to_owned())
        })?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() || secret.contains('\n') || text.len() as u64 > SECRET_BYTES_MAX {
            let fault = format!("{shown} does not hold exactly one line of text");
            return Err((fault, "write the password, and nothing else, into it".to_owned()));
        }
        Ok(Secret::new(secret.to_owned()))
    }

    /// A certificate's path, if it can be read.
    pub(super) fn readable_path(&self, typed: &str) -> Result<PathBuf, Fault> {
        let path = self.path(typed);
        open(&path)?;
        Ok(path)
    }

    /// A private key's path, if it can be read, and by us alone.
    pub(super) fn private_path(&self, typed: &str) -> Result<PathBuf, Fault> {
        let path = self.path(typed);
        open_private(&path)?;
        Ok(path)
    }
}

fn open(path: &Path) -> Result<File, Fault> {
    let shown = path.display();
    let remedy = "name a file that the account of tailrace may read".to_owned();
    let metadata =
        std::fs::metadata(path).map_err(|error| (format!("{shown} can't be read: {error}"), remedy.clone()))?;
    if !metadata.is_file() {
        return Err((format!("{shown} is not a file"), remedy));
    }
    File::open(path).map_err(|error| (format!("{shown} can't be read: {error}"), remedy))
}

fn open_private(path: &Path) -> Result<File, Fault> {
    let shown = path.display();
    let file = open(path)?;
    let mode = file.metadata().map_or(0o777, |metadata| metadata.permissions().mode());
    if mode & 0o077 == 0 {
        return Ok(file);
    }
    Err((format!("{shown} is open to other accounts (mode {:04o})", mode & 0o7777), format!("run chmod 600 {shown}")))
}
