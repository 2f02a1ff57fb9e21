//! Many writers at once, with statements of a test's own. They outlive their server: after an error of the connection they connect again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::writer::Dice;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use super::Scene;

const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Makes the next statements.
pub(crate) trait Make: Fn(&mut Dice) -> String + Clone + Send + 'static {}

impl<F: Fn(&mut Dice) -> String + Clone + Send + 'static> Make for F {}

/// Running writers.
pub(crate) struct Crowd<'a> {
    scene: &'a Scene,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Scene {
    /// Begins to write with so many connections, each as fast as the server answers but for a pause.
    pub(crate) fn open_crowd(&self, writers: u64, pause: Duration, seed: u64, make: impl Make) -> Result<Crowd<'_>> {
        let url = format!("{}/{}", self.servers.mysql.admin_url()?, self.database);
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let start = |writer| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            self.sql.spawn(write(url.clone(), (Dice::new(seed.wrapping_add(writer)), make.clone()), pause, stop, done))
        };
        let tasks = (0..writers).map(start).collect();
        Ok(Crowd { scene: self, stop, done, tasks })
    }
}

impl Crowd<'_> {
    /// How often a writer's statements were all done.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Ends it after the statements in progress.
    pub(crate) fn close(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.scene.sql.run(async {
            for task in self.tasks {
                task.await.context("a writer of the crowd")?;
            }
            anyhow::Ok(())
        })?;
        Ok(self.done.load(Ordering::SeqCst))
    }
}

async fn write(
    url: String,
    (mut dice, make): (Dice, impl Make),
    pause: Duration,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) {
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        if connection.is_none() {
            connection = Conn::from_url(&url).await.ok();
        }
        let Some(open) = &mut connection else {
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        };
        let is_open = match open.query_drop(make(&mut dice)).await {
            Ok(()) => {
                done.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(pause).await;
                true
            }
            // Keys that are taken and deadlocks are part of it.
            Err(mysql_async::Error::Server(_)) => open.query_drop("ROLLBACK").await.is_ok(),
            Err(_) => false,
        };
        if !is_open {
            connection = None;
        }
    }
}
