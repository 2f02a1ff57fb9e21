//! librdkafka's settings, each with the reason why it is not left at its default.
//!
//! Memory: librdkafka's queues are our memory. The producer holds at most 32 MB of records that are not acknowledged. A
//! reader holds one queue for all its partitions, and what a fetch brings beyond it; the client counts keys and values
//! only, and its own 300 bytes a record come on top. A fetch is limited by its compressed size, and change records shrink
//! to a tenth and less: so fetches are kept small, or each would bring tens of megabytes.
//!
//! Time: a broker that does not answer shows as a transient error after [`ANSWER_TIMEOUT`]. A transaction that is neither
//! committed nor aborted within [`TRANSACTION_TIMEOUT`] is aborted by the broker; until then it hides what other writers
//! append to the same partitions, so it is kept short.

use std::{sync::Arc, time::Duration};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use tailrace_contract::{Endpoint, Error, LogSettings, Result, TlsMode};

/// How long one question to the brokers may take, reconnecting included.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How old a transaction may become before the broker aborts it and fences us.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Records that the producer holds until they are acknowledged, in kilobytes.
pub(crate) const PRODUCER_QUEUE_KBYTES: usize = 32 * 1024;
/// No record may be larger: it would never fit into the producer's queue beside others.
pub(crate) const RECORD_BYTES_MAX: usize = 24 << 20;
/// What a topic must allow, because batches of records grow up to it.
pub(crate) const BATCH_BYTES: usize = 1_000_000;
/// Fetched records of one reader that wait to be read, in kilobytes; no fetch is sent while there are more.
const CONSUMER_QUEUE_KBYTES: usize = 3 * 1024;
/// What fetches from all partitions may bring at once, unpacked, in kilobytes.
const FETCH_KBYTES: usize = 2 * 1024;
/// How much larger a fetch is once it is unpacked, as a rule.
const COMPRESSION_RATIO: usize = 10;

/// Makes the settings of all clients of one log.
#[derive(Clone)]
pub(crate) struct ClientSettings {
    settings: Arc<LogSettings>,
}

/// Which records a consumer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Only those of committed transactions.
    Committed,
    /// All of them; for asking how long a partition is.
    Uncommitted,
}

impl ClientSettings {
    /// Takes checked settings.
    pub(crate) fn new(settings: Arc<LogSettings>) -> Self {
        Self { settings }
    }

    /// What all clients share.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let settings = &*self.settings;
        let mut config = ClientConfig::new();
        let first = &settings.endpoint;
        let mut brokers = vec![format!("{}:{}", bracketed(&first.host), first.port)];
        brokers.extend(settings.more_brokers.iter().cloned());
        config.set("bootstrap.servers", brokers.join(","));
        config.set("client.id", "tailrace");
        // A broker that restarts is found again within a second, not ten.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        // A connection on which nothing comes back is given up before ANSWER_TIMEOUT.
        config.set("socket.timeout.ms", "20000").set("socket.keepalive.enable", "true");
        // Topics are made with our settings or not at all, also where brokers would make them by themselves.
        config.set("allow.auto.create.topics", "false");
        config.set_log_level(RDKafkaLogLevel::Info);
        set_security(&mut config, first, settings.sasl_mechanism.as_deref())?;
        Ok(config)
    }

    /// The one transactional producer.
    pub(crate) fn producer(&self, transactional_id: &str) -> Result<ClientConfig> {
        let mut config = self.client()?;
        config.set("transactional.id", transactional_id).set("enable.idempotence", "true").set("acks", "all");
        config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        config.set("message.timeout.ms", ANSWER_TIMEOUT.as_millis().to_string());
        config.set("request.timeout.ms", "15000");
        config.set("compression.type", "lz4");
        config.set("linger.ms", "1");
        config.set("batch.size", BATCH_BYTES.to_string());
        config.set("batch.num.messages", "100000");
        config.set("message.max.bytes", (RECORD_BYTES_MAX + BATCH_BYTES).to_string());
        config.set("queue.buffering.max.kbytes", PRODUCER_QUEUE_KBYTES.to_string());
        config.set("queue.buffering.max.messages", "500000");
        if cfg!(feature = "faults") {
            // Tells when the request that ends a transaction was written to the socket: see `transaction`.
            config.set("debug", "protocol").set_log_level(RDKafkaLogLevel::Debug);
        }
        Ok(config)
    }

    /// A consumer of chosen partitions without a group: for metadata, watermarks and the small topics.
    pub(crate) fn looker(&self, isolation: Isolation) -> Result<ClientConfig> {
        let mut config = self.client()?;
        config.set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        );
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true").set("check.crcs", "true");
        // A question on the connection of a fetch waits behind it, and so does the end of a partition.
        config.set("fetch.wait.max.ms", "10").set("fetch.error.backoff.ms", "50");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        // Needed for assigning partitions; nothing is ever committed under it.
        config.set("group.id", format!("{}.look", self.settings.prefix));
        Ok(config)
    }

    /// The reader of `partitions` partitions; its group only shows lag.
    pub(crate) fn reader(&self, group: &str, partitions: usize) -> Result<ClientConfig> {
        let mut config = self.looker(Isolation::Committed)?;
        config.set("group.id", group).set("statistics.interval.ms", "1000").set("fetch.wait.max.ms", "500");
        config.set("queued.max.messages.kbytes", CONSUMER_QUEUE_KBYTES.to_string());
        let fetch = FETCH_KBYTES * 1024 / COMPRESSION_RATIO / partitions.max(1);
        config.set("fetch.message.max.bytes", fetch.max(16 * 1024).to_string());
        // A record larger than this comes alone all the same.
        config.set("fetch.max.bytes", (1 << 20).to_string());
        // The default waits a second after a queue was full, in which a fast target would idle.
        config.set("fetch.queue.backoff.ms", "5");
        Ok(config)
    }
}

fn set_security(config: &mut ClientConfig, endpoint: &Endpoint, sasl_mechanism: Option<&str>) -> Result<()> {
    let tls = &endpoint.tls;
    let (is_encrypted, verifies_authority, verifies_host) = match tls.mode {
        TlsMode::Disabled => (false, false, false),
        TlsMode::Required => (true, false, false),
        TlsMode::VerifyCa => (true, true, false),
        TlsMode::VerifyFull => (true, true, true),
    };
    config.set(
        "security.protocol",
        match (is_encrypted, sasl_mechanism.is_some()) {
            (false, false) => "plaintext",
            (false, true) => "sasl_plaintext",
            (true, false) => "ssl",
            (true, true) => "sasl_ssl",
        },
    );
    if is_encrypted {
        config.set("enable.ssl.certificate.verification", verifies_authority.to_string());
        config.set("ssl.endpoint.identification.algorithm", if verifies_host { "https" } else { "none" });
        for (key, file) in [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ] {
            let Some(file) = file else { continue };
            let path = file.to_str().ok_or_else(|| {
                Error::refused(format!("the path of {key} is not UTF-8")).hint("move the file to another folder")
            })?;
            config.set(key, path);
        }
    }
    if let Some(mechanism) = sasl_mechanism {
        let password = endpoint.password.as_ref().ok_or_else(|| {
            Error::refused(format!("SASL mechanism {mechanism} needs a password"))
                .hint("name the account in log.url and set log.password")
        })?;
        config.set("sasl.mechanism", mechanism).set("sasl.username", &endpoint.user);
        config.set("sasl.password", password.expose());
    }
    Ok(())
}

/// An IPv6 address stands in brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings_for_tests;

    fn check(mode: TlsMode, sasl: Option<&str>, expect: &[(&str, Option<&str>)]) {
        let mut settings = settings_for_tests("shop");
        settings.endpoint.tls.mode = mode;
        settings.endpoint.tls.ca = Some("ca.pem".into());
        settings.endpoint.user = "tailrace".to_owned();
        settings.endpoint.password = Some(tailrace_contract::Secret::new("hunter2".to_owned()));
        settings.sasl_mechanism = sasl.map(str::to_owned);
        let config = ClientSettings::new(Arc::new(settings)).client().unwrap();
        for (key, value) in expect {
            assert_eq!(config.get(key), *value, "{key} with {mode:?}");
        }
    }

    #[test]
    fn no_mode_is_weaker_than_asked() {
        let (verify, host) = ("enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm");
        check(TlsMode::Disabled, None, &[("security.protocol", Some("plaintext")), (verify, None)]);
        check(TlsMode::Disabled, Some("PLAIN"), &[("security.protocol", Some("sasl_plaintext"))]);
        check(
            TlsMode::Required,
            None,
            &[("security.protocol", Some("ssl")), (verify, Some("false")), (host, Some("none"))],
        );
        check(TlsMode::VerifyCa, None, &[(verify, Some("true")), (host, Some("none"))]);
        check(
            TlsMode::VerifyFull,
            Some("SCRAM-SHA-512"),
            &[
                ("security.protocol", Some("sasl_ssl")),
                (verify, Some("true")),
                (host, Some("https")),
                ("ssl.ca.location", Some("ca.pem")),
                ("sasl.mechanism", Some("SCRAM-SHA-512")),
                ("sasl.username", Some("tailrace")),
            ],
        );
    }

    #[test]
    fn all_settings_are_known_to_librdkafka() {
        let clients = ClientSettings::new(Arc::new(settings_for_tests("shop")));
        for config in [
            clients.client(),
            clients.producer("shop.capture"),
            clients.looker(Isolation::Uncommitted),
            clients.reader("shop.apply", 32),
        ] {
            config.unwrap().create_native_config().unwrap();
        }
    }

    #[test]
    fn fetches_share_what_they_may_bring() {
        let clients = ClientSettings::new(Arc::new(settings_for_tests("shop")));
        for partitions in [0, 1, 8, 12] {
            let config = clients.reader("shop.apply", partitions).unwrap();
            let fetch: usize = config.get("fetch.message.max.bytes").unwrap().parse().unwrap();
            assert!(fetch * partitions <= FETCH_KBYTES * 1024 / COMPRESSION_RATIO, "{partitions}");
        }
    }
}
