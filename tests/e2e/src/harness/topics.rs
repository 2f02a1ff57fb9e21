//! Topics of a scene: which there are, and their removal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

const LIMIT: Duration = Duration::from_secs(30);

/// Names that begin so.
pub(super) fn names(kafka: &Kafka, prefix: &str) -> Result<Vec<String>> {
    let metadata = admin(kafka)?.inner().fetch_metadata(None, LIMIT).context("asking Kafka for its topics")?;
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

/// Deletes every topic whose name begins so.
pub(super) fn delete(kafka: &Kafka, prefix: &str) -> Result<()> {
    ensure!(prefix.starts_with("e2e-"), "only topics of these tests are deleted");
    let names = names(kafka, prefix)?;
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(admin(kafka)?.delete_topics(&names, &options)).context("deleting topics")?;
    for result in results {
        result.map_err(|(name, code)| anyhow::anyhow!("deleting topic {name}: {code}"))?;
    }
    Ok(())
}

fn admin(kafka: &Kafka) -> Result<AdminClient<DefaultClientContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address()?);
    config.create().context("making a Kafka client")
}
