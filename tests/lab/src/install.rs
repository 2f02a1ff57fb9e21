//! Getting what the servers and the build need: Debian packages, a folder with MySQL, Kafka's jars. Each step is told
//! before it is done; what is there already is not touched.
//!
//! Packages need root. Without it nothing is tried: the error holds the commands for somebody who may. A half-finished
//! download is never taken for a finished one: folders get their names when they are complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::compose::Engine;
use crate::home::{Home, is_root};
use crate::{mariadb as mariadb_server, postgres as postgres_server, say};

const MIRROR: &str = "http://deb.debian.org/debian";
const MYSQL_PACKAGE: &str = "mysql-server-core";
const KAFKA_JARS: &str = include_str!("../server/pom.xml");
const CONNECT_JARS: &str = include_str!("../server/connect.xml");

/// What building the workspace takes beyond a Rust toolchain, most of it for librdkafka and its TLS.
const BUILD_PACKAGES: [&str; 8] = ["gcc", "g++", "make", "perl", "pkg-config", "libc6-dev", "libssl-dev", "zlib1g-dev"];

/// MySQL, unless it runs in a container.
pub fn mysql() -> Result<()> {
    if Engine::choose() == Engine::Native { mysql_programs() } else { Ok(()) }
}

/// MySQL's folder, wherever the server runs: `mysqlbinlog` lies in it.
pub fn mysql_programs() -> Result<()> {
    debian("mysql", "MySQL", "sid", MYSQL_PACKAGE, &[])
}

/// MariaDB 11, unless it runs in a container.
pub fn mariadb11() -> Result<()> {
    if Engine::choose() == Engine::Native { mariadb11_programs() } else { Ok(()) }
}

/// MariaDB 11's folder, wherever the server runs: with the plugins for logins, and with `mariadb-binlog`.
pub fn mariadb11_programs() -> Result<()> {
    debian("mariadb11", "MariaDB 11", "trixie", "mariadb-server-core", &["mariadb-server", "mariadb-client"])
}

/// A whole Debian in a folder of its own, with a package of that release. More packages are only unpacked, into its folder
/// `unpacked`: they would start a service.
fn debian(program: &str, what: &str, release: &str, package: &str, unpacked: &[&str]) -> Result<()> {
    let home = Home::find()?;
    let folder = home.install(program);
    if folder.exists() {
        return Ok(());
    }
    let _lock = home.lock(&format!("install-{program}"))?;
    if folder.exists() {
        return Ok(());
    }
    let begun = home.install(&format!("{program}.begun"));
    let root = begun.display().to_string();
    let include = format!("--include={package}");
    let words = ["debootstrap", "--variant=minbase", &include, release, &root, &debian_mirror()].map(str::to_owned);
    if !is_root() {
        bail!(
            "{what} is not installed for the laboratory and this is not root. Run the same once as root, with \
             TAILRACE_LAB_HOME={}",
            home.root().display()
        );
    }
    packages(&format!("{what}'s folder is made with debootstrap"), &["debootstrap"])?;
    remove_folder(&begun)?;
    run(&format!("{what} from Debian {release}, into a folder of its own (0.3 to 0.6 GB)"), &words, None)?;
    if !unpacked.is_empty() {
        let words = ["chroot", &root, "apt-get", "download", "-qq"].into_iter().chain(unpacked.iter().copied());
        let words: Vec<String> = words.map(str::to_owned).collect();
        run(&format!("more of {what}, only unpacked"), &words, None)?;
        unpack(&begun, &begun.join("unpacked"))?;
    }
    fs::rename(&begun, &folder).with_context(|| format!("renaming {}", begun.display()))
}

/// Unpacks the packages that lie in a folder, and deletes them.
fn unpack(folder: &Path, into: &Path) -> Result<()> {
    let files = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten();
    let archives: Vec<PathBuf> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    for archive in archives {
        let words = ["dpkg-deb", "-x", &archive.display().to_string(), &into.display().to_string()].map(str::to_owned);
        run("unpacking one", &words, None)?;
        fs::remove_file(&archive).with_context(|| format!("deleting {}", archive.display()))?;
    }
    Ok(())
}

/// `mariadb-install-db` needs it; it moved from the server's package to that of the clients, which the former does not ask for.
const PRINT_DEFAULTS: &str = "my_print_defaults";

/// MariaDB's server, unless it runs in a container. The package with the program has no service that would be started; the
/// plugin for logins by ed25519 lies in the package that has one, so that is only unpacked.
pub fn mariadb() -> Result<()> {
    if Engine::choose() == Engine::Native { mariadb_programs() } else { Ok(()) }
}

/// MariaDB's programs, wherever the server runs: `mariadb-binlog` is among them.
pub fn mariadb_programs() -> Result<()> {
    let home = Home::find()?;
    let folder = home.install("mariadb");
    if mariadb_server::program().is_ok() && has_program(PRINT_DEFAULTS) && folder.exists() {
        return Ok(());
    }
    let _lock = home.lock("install-mariadb")?;
    if mariadb_server::program().is_err() || !has_program(PRINT_DEFAULTS) {
        packages("MariaDB's server (without a service of its own)", &["mariadb-server-core", "mariadb-client-core"])?;
    }
    if folder.exists() {
        return Ok(());
    }
    let begun = home.install("mariadb.begun");
    remove_folder(&begun)?;
    fs::create_dir_all(&begun).with_context(|| format!("creating {}", begun.display()))?;
    let download = ["apt-get", "download", "-qq", "mariadb-server", "mariadb-client"].map(str::to_owned);
    run("MariaDB's plugins and client programs, only unpacked (10 MB)", &download, Some(&begun))?;
    unpack(&begun, &begun)?;
    fs::rename(&begun, &folder).with_context(|| format!("renaming {}", begun.display()))
}

/// Kafka's jars and what runs them, unless it runs in a container.
pub fn kafka() -> Result<()> {
    if Engine::choose() == Engine::Compose { Ok(()) } else { jars("kafka", "Kafka's jars (45 MB)", KAFKA_JARS) }
}

/// The jars of Kafka Connect and of Debezium's JDBC sink, and what runs them: wherever the broker runs.
pub fn connect() -> Result<()> {
    jars("connect", "the jars of Kafka Connect and of Debezium's JDBC sink (60 MB)", CONNECT_JARS)
}

/// The jars that a pom names, in `libs` of the program's folder.
fn jars(program: &str, what: &str, pom: &str) -> Result<()> {
    let home = Home::find()?;
    let folder = home.install(program);
    let file = folder.join("pom.xml");
    let is_current = || fs::read_to_string(&file).is_ok_and(|text| text == pom);
    if is_current() && has_program("java") {
        return Ok(());
    }
    let _lock = home.lock(&format!("install-{program}"))?;
    if !has_program("java") {
        packages("Kafka runs on Java", &["default-jre-headless"])?;
    }
    if is_current() {
        return Ok(());
    }
    if !has_program("mvn") {
        packages("jars are fetched by Maven", &["maven"])?;
    }
    let begun = home.install(&format!("{program}.begun"));
    remove_folder(&begun)?;
    fs::create_dir_all(&begun).with_context(|| format!("creating {}", begun.display()))?;
    fs::write(begun.join("pom.xml"), pom).context("writing the pom.xml")?;
    let libs = format!("-DoutputDirectory={}", begun.join("libs").display());
    let words = ["mvn", "-q", "-B", "dependency:copy-dependencies", &libs].map(str::to_owned);
    run(what, &words, Some(&begun)).with_context(|| format!("without a Maven repository there is no {program}"))?;
    remove_folder(&folder)?;
    fs::rename(&begun, &folder).with_context(|| format!("renaming {}", begun.display()))
}

/// Why MySQL can't be had on this machine; none if it can.
pub fn missing_for_mysql() -> Option<String> {
    let is_there = || Home::find().is_ok_and(|home| home.install("mysql").exists());
    if Engine::choose() == Engine::Compose || is_root() || is_there() {
        return None;
    }
    Some("there is no MySQL in the laboratory, and this is not root, who could install it".to_owned())
}

/// Why Kafka or PostgreSQL can't be had on this machine; none if they can.
pub fn missing_for_kafka() -> Option<String> {
    if Engine::choose() == Engine::Compose || is_root() {
        return None;
    }
    if !has_program("java") {
        return Some("there is no Java, and this is not root, who could install it".to_owned());
    }
    postgres_server::programs()
        .err()
        .map(|_| "there is no PostgreSQL, and this is not root, who could install it".to_owned())
}

/// PostgreSQL's server, unless it runs in a container.
pub fn postgres() -> Result<()> {
    if Engine::choose() == Engine::Compose || postgres_server::programs().is_ok() {
        return Ok(());
    }
    let _lock = Home::find()?.lock("install-postgres")?;
    packages(
        "PostgreSQL's server (Debian also makes its own cluster on 5432; the laboratory does not use it)",
        &["postgresql"],
    )
}

/// The folder of Prometheus's programs, unpacked from Debian's package without installing it.
pub fn prometheus() -> Result<PathBuf> {
    let home = Home::find()?;
    let folder = home.install("prometheus");
    let programs = folder.join("usr/bin");
    if folder.exists() {
        return Ok(programs);
    }
    let _lock = home.lock("install-prometheus")?;
    if folder.exists() {
        return Ok(programs);
    }
    if !has_program("apt-get") || !has_program("dpkg-deb") {
        bail!(
            "the tests of metrics and alerts unpack Debian's package prometheus, and this machine has no apt-get or dpkg-deb"
        );
    }
    let begun = home.install("prometheus.begun");
    remove_folder(&begun)?;
    fs::create_dir_all(&begun).with_context(|| format!("creating {}", begun.display()))?;
    let download = ["apt-get", "download", "-qq", "prometheus"].map(str::to_owned);
    let why = "Prometheus's server and promtool, into a folder of their own (20 MB)";
    if run(why, &download, Some(&begun)).is_err() {
        // The lists of packages may be old, or missing.
        let _lock = home.lock("apt")?;
        run(why, &["apt-get", "update", "-qq"].map(str::to_owned), None)?;
        run(why, &download, Some(&begun))?;
    }
    unpack(&begun, &begun)?;
    fs::rename(&begun, &folder).with_context(|| format!("renaming {}", begun.display()))?;
    Ok(programs)
}

/// Compiler, make and libraries for the build.
pub fn build_tools() -> Result<()> {
    packages("the build needs a C compiler and OpenSSL's headers (librdkafka)", &BUILD_PACKAGES)
}

/// Installs those packages that are missing.
pub fn packages(why: &str, names: &[&str]) -> Result<()> {
    let missing: Vec<String> = names.iter().filter(|name| !is_installed(name)).map(|name| (*name).to_owned()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !has_program("apt-get") {
        bail!("{why}: install {} (this machine has no apt-get), or run a Docker engine", missing.join(" "));
    }
    let update = ["apt-get", "update", "-qq"].map(str::to_owned);
    let mut install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"].map(str::to_owned).to_vec();
    install.extend(missing);
    if !is_root() {
        bail!("{why}, and this is not root. Run as root:\n  {}\n  {}", update.join(" "), install.join(" "));
    }
    let _lock = Home::find()?.lock("apt")?;
    run(why, &update, None)?;
    run(why, &install, None)
}

/// Whether a program is on the path.
pub fn has_program(name: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status}", package]).stderr(Stdio::null());
    query.output().is_ok_and(|output| output.stdout == b"installed")
}

/// Tells what is going to happen, does it, and tells how long it took. The program's own words appear only if it fails.
fn run(why: &str, words: &[String], folder: Option<&Path>) -> Result<()> {
    say(&format!("{why}:\n  {}", words.join(" ")));
    let begin = Instant::now();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = command.output().with_context(|| format!("running {}", words[0]))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        bail!("{} failed:\n  {}", words.join(" "), lines[lines.len().saturating_sub(30)..].join("\n  "));
    }
    say(&format!("  done in {:.1} s", begin.elapsed().as_secs_f64()));
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("deleting {}", path.display()))?;
    }
    Ok(())
}

/// The Debian mirror of this machine's own package sources, which may be the only one it can reach.
fn debian_mirror() -> String {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        texts.extend(folder.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()));
    }
    mirror_in(&texts.join("\n")).unwrap_or_else(|| MIRROR.to_owned())
}

fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_package_sources() {
        let both = "# deb http://old/debian x main\nTypes: deb\nURIs: http://mirror.example/debian-security\nURIs: http://mirror.example/debian/\n";
        assert_eq!(mirror_in(both).as_deref(), Some("http://mirror.example/debian/"));
        let classic = "deb [signed-by=/k.gpg] https://other.example/debian bookworm main";
        assert_eq!(mirror_in(classic).as_deref(), Some("https://other.example/debian"));
        assert_eq!(mirror_in("deb http://archive.ubuntu.com/ubuntu noble main"), None);
    }
}
