//! MariaDB as the source: what is its own. Whatever both servers share is tested on MySQL.
//!
//! These tests stand in the tree twice: as `mariadb` they ask the system's server, as `mariadb11` one of version 11.

mod history;
mod logins;
mod preflight;
mod refusals;
mod transactions;

use lab::{Mariadb, Mariadb11, Mysql};
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::Database;

static ALONE: Mutex<()> = Mutex::const_new(());

fn server() -> Mysql {
    up("source", &[])
}

fn up(name: &str, options: &[&str]) -> Mysql {
    let up = if is_version_11() { Mariadb11::up_with } else { Mariadb::up_with };
    up(name, options).unwrap()
}

fn is_version_11() -> bool {
    module_path!().ends_with("mariadb11")
}

/// A database on the server that ordinary tests share.
async fn shared(name: &str) -> Database {
    Database::on(server(), name).await
}

/// A database on a server that no other test uses meanwhile: tests change its settings and its history. It logs in compressed
/// form what can be compressed, and encrypts its files.
async fn alone(name: &str) -> (MutexGuard<'static, ()>, Database) {
    let guard = ALONE.lock().await;
    let keys = lab::home::Home::find().unwrap().root().join("binlog.keys");
    std::fs::write(&keys, "1;a7addd9adea9978fda19f21e6be987880e68ac92632ca052e5bb42b1a506939a\n").unwrap();
    let keys = format!("--file-key-management-filename={}", keys.display());
    let options = [
        "--log-bin-compress=ON",
        "--log-bin-compress-min-len=10",
        "--plugin-load-add=file_key_management",
        &keys,
        "--encrypt-binlog=ON",
    ];
    (guard, Database::on(up("source-packed", &options), name).await)
}
