//! TLS of all three systems at once: `verify-full` lets changes through between servers that hold the right certificates, and
//! `tailrace check` names each wrong one.
//!
//! The servers are the test's own. MySQL and PostgreSQL change the certificate that they show; the broker has a listener for
//! each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::tls::{Identity, file};
use lab::{Flavor, Kafka, Mariadb, Mysql, Postgres, TAILRACE_PASSWORD};
use serde_json::Value;

use crate::harness::{Addresses, Scene, Servers, free_port};

/// Far above what an answer takes: nothing may hang.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
const PLACES: [&str; 3] = ["source", "log", "target"];

/// A listener of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Plain,
    Ssl,
    SaslSsl,
    Elsewhere,
    Expired,
}

#[test]
fn verified_servers_pass_and_each_wrong_one_is_named() -> Result<()> {
    check_stage(Stage::start("tls", Mysql::fresh)?)
}

#[test]
fn verified_servers_pass_with_mariadb_and_each_wrong_one_is_named() -> Result<()> {
    check_stage(Stage::start("tls-mariadb", Mariadb::fresh)?)
}

fn check_stage(stage: Stage) -> Result<()> {
    flows(&stage)?;
    refuses(&stage)?;
    stage.finish()
}

/// Capture writes through the listener with TLS, apply reads through the one that asks for a login too.
fn flows(stage: &Stage) -> Result<()> {
    let scene = &stage.scene;
    scene.source("CREATE TABLE guarded (id INT PRIMARY KEY, v VARCHAR(20)); ALTER USER tailrace REQUIRE SSL")?;
    stage.configure(Listener::Ssl, "authority.pem", TAILRACE_PASSWORD)?;
    scene.make_target()?;
    ensure!(stage.check()?.is_empty(), "right certificates are no problem: {:?}", stage.check()?);
    let capture = scene.capture()?;
    stage.configure(Listener::SaslSsl, "authority.pem", TAILRACE_PASSWORD)?;
    ensure!(stage.check()?.is_empty(), "a right password is no problem: {:?}", stage.check()?);
    let apply = scene.apply()?;
    scene.source("INSERT INTO guarded VALUES (1, 'a'), (2, 'b'); UPDATE guarded SET v = 'c' WHERE id = 2")?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 2, "both rows arrived");
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE NOT ssl AND application_name LIKE 'tailrace%'";
    ensure!(scene.target_number(plain)? == 0, "a connection to the target is not encrypted");
    drop((capture, apply));
    Ok(())
}

/// One fault at all three systems, one run of `check`.
fn refuses(stage: &Stage) -> Result<()> {
    stage.configure(Listener::Ssl, "stranger.pem", TAILRACE_PASSWORD)?;
    stage.ensure_all_refused("an unknown authority", ["UnknownIssuer"; 3])?;
    stage.show("elsewhere.pem")?;
    stage.configure(Listener::Elsewhere, "authority.pem", TAILRACE_PASSWORD)?;
    stage.ensure_all_refused("another host's certificate", ["not valid for name"; 3])?;
    stage.show("expired.pem")?;
    stage.configure(Listener::Expired, "authority.pem", TAILRACE_PASSWORD)?;
    stage.ensure_all_refused("an expired certificate", ["certificate expired"; 3])?;
    stage.show("server.pem")?;
    stage.configure(Listener::SaslSsl, "authority.pem", "a wrong password")?;
    let problems = stage.check()?;
    ensure!(problems.len() == 1 && told(&problems[0], "found").contains("SCRAM-SHA-512"), "{problems:?}");

    // The shared PostgreSQL has no TLS; MySQL goes without if its certificate is none, MariaDB if it is told so.
    let mysql = &stage.scene.servers.mysql;
    match mysql.flavor() {
        Flavor::Mysql => {
            stage.mysql.show_nothing()?;
            mysql.stop()?;
            mysql.start()?;
        }
        Flavor::Mariadb | Flavor::Mariadb11 => mysql.restart_with(&["--skip-ssl"])?,
    }
    let postgres = Postgres::up("main")?.address()?;
    stage.configure_at(Addresses { postgres, ..stage.addresses(Listener::Plain)? }, "authority.pem", None)?;
    stage.ensure_all_refused("servers without TLS", ["offers no TLS", "PLAINTEXT", "no protected connection"])
}

/// Servers with certificates, and a scene on them.
struct Stage {
    scene: Scene,
    mysql: Identity,
    postgres: Identity,
    listeners: Vec<u16>,
}

impl Stage {
    fn start(name: &str, fresh: fn(&str, &[&str]) -> Result<Mysql>) -> Result<Stage> {
        let identity = |system: &str, user: &str| Identity::new(&format!("{name}-{system}"), user);
        let (mysql, postgres) = (identity("mysql", "nobody")?, identity("postgres", "postgres")?);
        let broker = identity("kafka", "nobody")?;
        let listeners = (0..4).map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
        let options = broker_options(&broker, &listeners)?;
        let of_mysql = [option("--ssl-cert", mysql.certificate()), option("--ssl-key", mysql.key())];
        let of_postgres = [
            "ssl=on".to_owned(),
            option("ssl_cert_file", postgres.certificate()),
            option("ssl_key_file", postgres.key()),
        ];
        let servers = Servers {
            mysql: fresh(name, &words(&of_mysql))?,
            kafka: Kafka::fresh(name, &words(&options))?,
            postgres: Postgres::fresh(name, &words(&of_postgres))?,
        };
        Ok(Stage { scene: Scene::on(&name.replace('-', "_"), servers)?, mysql, postgres, listeners })
    }

    /// MySQL and PostgreSQL show another certificate from now on.
    fn show(&self, certificate: &str) -> Result<()> {
        // MySQL reloads no certificate that is expired, and PostgreSQL some time later. A start takes any, at once.
        let Servers { mysql, postgres, .. } = &self.scene.servers;
        self.mysql.show(certificate)?;
        self.postgres.show(certificate)?;
        mysql.stop()?;
        postgres.stop()?;
        mysql.start()?;
        postgres.start()
    }

    fn addresses(&self, listener: Listener) -> Result<Addresses> {
        let addresses = self.scene.addresses();
        let port = |index: usize| self.listeners.get(index).copied().context("a listener's port");
        let kafka = match listener {
            Listener::Plain => addresses.kafka.clone(),
            Listener::Ssl => format!("127.0.0.1:{}", port(0)?),
            Listener::SaslSsl => format!("tailrace@127.0.0.1:{}", port(1)?),
            Listener::Elsewhere => format!("127.0.0.1:{}", port(2)?),
            Listener::Expired => format!("127.0.0.1:{}", port(3)?),
        };
        Ok(Addresses { kafka, ..addresses })
    }

    /// All three with `verify-full`, trusting this authority.
    fn configure(&self, listener: Listener, authority: &str, password: &str) -> Result<()> {
        let password = (listener == Listener::SaslSsl).then_some(password);
        self.configure_at(self.addresses(listener)?, authority, password)
    }

    fn configure_at(&self, addresses: Addresses, authority: &str, password: Option<&str>) -> Result<()> {
        let protected = format!(r#"tls = {{ mode = "verify-full", ca = "{}" }}"#, file(authority).display());
        let mut config: String = self
            .scene
            .config_for(&addresses)
            .lines()
            .map(|line| if line.starts_with("tls = ") { protected.clone() + "\n" } else { line.to_owned() + "\n" })
            .collect();
        ensure!(config.matches("verify-full").count() == PLACES.len(), "each system is verified: {config}");
        if let Some(password) = password {
            let secret = self.scene.folder().join("kafka.password");
            fs::write(&secret, password)?;
            fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
            let login =
                format!("sasl = \"SCRAM-SHA-512\"\npassword = {{ file = \"{}\" }}\nprefix = ", secret.display());
            config = config.replace("prefix = ", &login);
        }
        self.scene.write_config(&config)
    }

    /// The errors that `tailrace check` finds, which takes no longer than it may.
    fn check(&self) -> Result<Vec<Value>> {
        let finished = self.scene.launch(&["check", "--format", "json"])?.run(CHECK_LIMIT)?;
        let found: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished:?}"))?;
        let problems = found["problems"].as_array().context("no problems in the JSON")?.iter();
        let problems: Vec<Value> = problems.filter(|problem| problem["severity"] == "error").cloned().collect();
        ensure!(finished.code == Some(i32::from(!problems.is_empty())), "ended with {:?}: {problems:?}", finished.code);
        Ok(problems)
    }

    /// Each system is reported once, with these words and with advice.
    fn ensure_all_refused(&self, fault: &str, words: [&str; 3]) -> Result<()> {
        let problems = self.check()?;
        ensure!(problems.len() == PLACES.len(), "{fault}: {problems:?}");
        for ((place, words), problem) in PLACES.iter().zip(words).zip(&problems) {
            let is_named = told(problem, "place") == *place && told(problem, "found").contains(words);
            ensure!(is_named, "{fault} at the {place} is not told by {words:?}: {problem}");
            ensure!(!told(problem, "mend").is_empty(), "{fault} at the {place} comes without advice: {problem}");
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let Servers { mysql, kafka, postgres } = &self.scene.servers;
        let (mysql, kafka, postgres) = (mysql.clone(), kafka.clone(), postgres.clone());
        self.scene.finish()?;
        mysql.remove()?;
        kafka.remove()?;
        postgres.remove()
    }
}

fn told<'a>(problem: &'a Value, field: &str) -> &'a str {
    problem[field].as_str().unwrap_or_default()
}

fn broker_options(identity: &Identity, ports: &[u16]) -> Result<Vec<String>> {
    let names = ["SSL", "SASL_SSL", "ELSEWHERE", "EXPIRED"];
    let protected: String = names.iter().zip(ports).map(|(name, port)| format!(",{name}://127.0.0.1:{port}")).collect();
    let mut options = vec![
        format!("listeners=PLAINTEXT://127.0.0.1:{{clients}},CONTROLLER://127.0.0.1:{{controller}}{protected}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{{clients}}{protected}"),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,\
         ELSEWHERE:SSL,EXPIRED:SSL"
            .to_owned(),
        "sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;"
            .to_owned(),
    ];
    for (scope, certificate) in
        [("", "server.pem"), ("listener.name.elsewhere.", "elsewhere.pem"), ("listener.name.expired.", "expired.pem")]
    {
        options.push(format!("{scope}ssl.keystore.type=PEM"));
        options.push(format!("{scope}{}", option("ssl.keystore.location", identity.keystore(certificate)?)));
    }
    Ok(options)
}

fn option(name: &str, path: PathBuf) -> String {
    format!("{name}={}", path.display())
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}
