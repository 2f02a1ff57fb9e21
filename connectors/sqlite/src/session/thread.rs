//! A connection's own thread: SQLite's calls block, and nothing can stop them.
//!
//! It takes one job after the other and ends, with the connection, when nobody can give it another.

use std::sync::mpsc;

use rusqlite::Connection;
use tailrace_contract::{Error, Result};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The side of those who have something to do.
pub(super) struct Thread {
    jobs: mpsc::SyncSender<Job>,
    /// Answers by going away.
    ended: oneshot::Receiver<()>,
}

impl Thread {
    /// Starts it; `open` makes the connection there.
    pub(super) async fn start(open: impl FnOnce() -> Result<Connection> + Send + 'static) -> Result<Self> {
        let (jobs, received) = mpsc::sync_channel::<Job>(1);
        let (answer, opened) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            // Goes away last, when the file is closed.
            let _end = end;
            match open() {
                Ok(connection) => {
                    let _ = answer.send(Ok(()));
                    received.into_iter().for_each(|job| job(&connection));
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            }
        };
        std::thread::Builder::new()
            .name("sqlite-session".to_owned())
            .spawn(serve)
            .map_err(|error| Error::transient("no thread for a connection to the target").caused_by(error))?;
        opened.await.map_err(gone).flatten()?;
        Ok(Self { jobs, ended })
    }

    /// Hands a job over, which waits for nothing: the one before was answered.
    pub(super) fn give<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>> {
        let (answer, answered) = oneshot::channel();
        let job = move |connection: &Connection| {
            // Who does not wait any more does not use the session any more.
            let _ = answer.send(job(connection));
        };
        self.jobs.try_send(Box::new(job)).map_err(gone)?;
        Ok(answered)
    }

    /// Ends it and waits until the file is closed.
    pub(super) async fn close(self) {
        drop(self.jobs);
        let _ = self.ended.await;
    }
}

pub(super) fn gone<E>(_: E) -> Error {
    Error::transient("the thread of a connection to the target has ended")
}
