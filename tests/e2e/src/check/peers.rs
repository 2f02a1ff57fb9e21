//! Servers that no laboratory of today can start, or that go away in the middle: a proxy lets the real one answer so.

use anyhow::{Context, Result, ensure};
use lab::proxy::Proxy;

use super::{check, find};
use crate::harness::{Addresses, Scene};

/// PostgreSQL before 12 and brokers before 2.5 are packaged nowhere any more that the laboratory installs from: what tells
/// their age is put into the answers of new ones. No server goes away by itself at the one question that matters.
pub(super) const PEERS: &[&str] = &["target_version", "kafka_version", "check_unreachable"];

#[test]
fn old_servers_and_such_that_go_away_are_named() -> Result<()> {
    let scene = Scene::new("check_peers")?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY)")?;
    scene.make_target()?;
    let (kafka, postgres) = (scene.servers.kafka.port()?, scene.servers.postgres.port()?);
    let place = |proxy: &Proxy| format!("127.0.0.1:{}", proxy.port());

    let old = Proxy::start(postgres)?;
    let version =
        scene.target_rows("SHOW server_version")?.concat().into_iter().flatten().next().context("a version")?;
    let told = |version: &str| [b"server_version\0", version.as_bytes()].concat();
    old.rewrite(&told(&version[..2]), &told("11"));
    scene.write_config(&scene.config_for(&Addresses { postgres: place(&old), ..scene.addresses() }))?;
    find(&scene, PEERS[0])?;

    // A broker tells where it is to be found, and its settings by name and value, each behind its length.
    let old = Proxy::start(kafka)?;
    let address = |port: u16| [b"127.0.0.1", &u32::from(port).to_be_bytes()[..]].concat();
    old.rewrite(&address(kafka), &address(old.port()));
    old.rewrite(b"\x1alog.message.timestamp.type\0\x0aCreateTime", b"\x1dinter.broker.protocol.version\0\x072.4-IV1");
    scene.write_config(&scene.config_for(&Addresses { kafka: place(&old), ..scene.addresses() }))?;
    find(&scene, PEERS[1])?;

    let mortal = Proxy::start(postgres)?;
    mortal.refuse_from(b"pg_control_system");
    scene.write_config(&scene.config_for(&Addresses { postgres: place(&mortal), ..scene.addresses() }))?;
    find(&scene, PEERS[2])?;
    ensure!(mortal.trap_sprung(), "the server did not go away");

    scene.write_config(&scene.config())?;
    ensure!(check(&scene)?.codes().is_empty(), "the servers themselves have problems: {:?}", check(&scene)?);
    scene.finish()
}
