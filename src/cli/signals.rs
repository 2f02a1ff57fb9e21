//! SIGTERM and SIGINT: the first asks to stop, the second ends the process at once.
//!
//! They are heard on a thread of their own: a runtime whose threads are all busy or stuck must still be stoppable. For the same
//! reason the process ends without the exit routines of libraries, which may wait for what is stuck.

use std::{io, sync::mpsc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::ExitCode;
use crate::runtime::Shutdown;

/// After the first signal the process must have ended by then.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Hears signals from now on, for as long as the process lives.
pub(super) fn listen(shutdown: Shutdown, grace: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _guard = runtime.enter();
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? }
    };
    let watch = move || {
        let code = runtime.block_on(async {
            let first = signals.next().await;
            shutdown.request();
            say(move || {
                tracing::info!(signal = first, "asked to stop: finishing the batch; a second signal ends at once")
            });
            outlived(grace, signals.next()).await
        });
        signal_hook::low_level::exit(i32::from(code.code()))
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// The next signal's name. Cancel-safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits until the process has outlived the grace, or a second signal comes.
async fn outlived(grace: Duration, second: impl Future<Output = &'static str>) -> ExitCode {
    // Neither branch is polled again.
    tokio::select! {
        signal = second => {
            say(move || tracing::warn!(signal, "a second signal: ending at once; a restart goes on from the last commit"));
            ExitCode::Killed
        }
        () = tokio::time::sleep(grace) => {
            // A server that does not answer keeps its last batch open. Nothing of it counts, so nothing is wrong.
            say(move || tracing::warn!(?grace, "not stopped in time: ending; a restart goes on from the last commit"));
            ExitCode::Done
        }
    }
}

/// Logs, but does not wait for long: what is stuck may be whoever should read the log.
fn say(log: impl FnOnce() + Send + 'static) {
    const PATIENCE: Duration = Duration::from_millis(500);
    let (done, is_done) = mpsc::sync_channel(1);
    let said = std::thread::Builder::new().spawn(move || {
        log();
        // Nobody may be waiting any more.
        let _ = done.send(());
    });
    if said.is_ok() {
        let _ = is_done.recv_timeout(PATIENCE);
    }
}
