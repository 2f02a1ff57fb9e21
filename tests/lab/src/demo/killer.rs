//! SIGKILLs capture and apply, in turn and sometimes both, and starts them again. Every second kill is aimed: it waits for
//! the moment in which the process has records in flight.
//!
//! Whether a kill hit a batch in flight is told by others than Tailrace: Kafka's coordinator still holds the killed
//! producer's transaction open; PostgreSQL logs that a connection ended with an open transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::SHOP;
use super::board::{Board, Kills, Role};
use super::stage::{PREFIX, Stage};
use crate::process::{Launch, Tailrace};
use crate::writer::Dice;
use crate::{Kafka, Postgres, wait};

const READY_LIMIT: Duration = Duration::from_secs(90);
/// How long SIGTERM may take.
const END_LIMIT: Duration = Duration::from_secs(10);
const AIM_LIMIT: Duration = Duration::from_secs(3);
/// PostgreSQL notices the dead connection when it next looks at it.
const EVIDENCE_LIMIT: Duration = Duration::from_millis(1500);

/// The thread that kills.
pub(super) struct Killer {
    thread: Option<JoinHandle<Result<Processes>>>,
    orders: Sender<u32>,
    flags: Arc<Flags>,
    board: Arc<Board>,
}

#[derive(Default)]
struct Flags {
    is_ready: AtomicBool,
    is_done: AtomicBool,
    must_stop: AtomicBool,
}

/// Capture and apply, alive.
pub(super) struct Processes {
    launches: [Launch; 2],
    running: [Tailrace; 2],
}

/// How one process ended after SIGTERM.
#[derive(Debug, Clone)]
pub(super) struct Exit {
    pub(super) role: Role,
    pub(super) code: Option<i32>,
    pub(super) seconds: f64,
}

struct Round<'a> {
    processes: &'a mut Processes,
    kafka: &'a Kafka,
    postgres: &'a Postgres,
    board: &'a Board,
}

impl Killer {
    /// Starts both processes and waits until capture follows the source; kills nothing yet. Apply has nothing to read
    /// before the first change made a topic.
    pub(super) fn start(stage: &Stage, board: Arc<Board>, seed: u64) -> Result<Killer> {
        let launches = [stage.launch(Role::Capture)?, stage.launch(Role::Apply)?];
        let mut running = [launches[0].spawn()?, launches[1].spawn()?];
        running[0].wait_ready(READY_LIMIT)?;
        for (role, process) in Role::BOTH.into_iter().zip(&running) {
            board.process(role, Some(process.pid()));
        }
        let processes = Processes { launches, running };
        let (orders, receiver) = channel();
        let flags = Arc::new(Flags::default());
        let servers = (stage.kafka.clone(), stage.postgres.clone());
        let context = (Arc::clone(&board), Arc::clone(&flags), Dice::new(seed ^ 0xDEAD));
        let thread = std::thread::spawn(move || kill_in_turn(processes, &receiver, &servers, context));
        Ok(Killer { thread: Some(thread), orders, flags, board })
    }

    /// Whether apply works too.
    pub(super) fn is_ready(&self) -> bool {
        self.flags.is_ready.load(Ordering::SeqCst)
    }

    /// Lets it kill each process so many times at least.
    pub(super) fn begin(&self, kills: u32) {
        // A thread that has failed is reported by `check`.
        let _ = self.orders.send(kills);
    }

    /// Whether it has killed enough.
    pub(super) fn is_done(&self) -> bool {
        self.flags.is_done.load(Ordering::SeqCst)
    }

    /// An error if it has failed.
    pub(super) fn check(&mut self) -> Result<()> {
        if !self.is_done() && self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.join().map(drop);
        }
        Ok(())
    }

    /// The living processes and the number of their predecessors.
    pub(super) fn finish(mut self) -> Result<(Processes, [Kills; 2])> {
        let processes = self.join()?;
        Ok((processes, Role::BOTH.map(|role| self.board.kills(role))))
    }

    fn join(&mut self) -> Result<Processes> {
        let thread = self.thread.take().context("the killer has failed already")?;
        thread.join().ok().context("the killer's thread panicked")?.context("killing and starting again")
    }
}

impl Drop for Killer {
    /// Processes that are left running would go on after a failed demo.
    fn drop(&mut self) {
        self.flags.must_stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Processes {
    /// SIGTERM to both: each must finish its batch and exit.
    pub(super) fn terminate(&mut self) -> Result<Vec<Exit>> {
        let mut exits = Vec::new();
        for (role, process) in Role::BOTH.into_iter().zip(&mut self.running) {
            let begin = Instant::now();
            process.terminate()?;
            let status = process.wait_exit(END_LIMIT)?;
            exits.push(Exit { role, code: status.code(), seconds: begin.elapsed().as_secs_f64() });
        }
        Ok(exits)
    }
}

fn kill_in_turn(
    mut processes: Processes,
    orders: &Receiver<u32>,
    (kafka, postgres): &(Kafka, Postgres),
    (board, flags, mut dice): (Arc<Board>, Arc<Flags>, Dice),
) -> Result<Processes> {
    processes.running[Role::Apply as usize].wait_ready(READY_LIMIT)?;
    flags.is_ready.store(true, Ordering::SeqCst);
    let Some(wanted) = wait_orders(orders, &flags) else { return Ok(processes) };
    for number in 1..=wanted * 5 {
        let missing = |role: Role| {
            let kills = board.kills(role);
            kills.all < wanted || kills.in_flight == 0
        };
        let due: Vec<Role> = Role::BOTH.into_iter().filter(|role| missing(*role)).collect();
        if due.is_empty() || flags.must_stop.load(Ordering::SeqCst) {
            break;
        }
        let both = number % 4 == 0 && due.len() == 2;
        let roles = if both { due } else { vec![*dice.pick(&due)] };
        let mut round = Round { processes: &mut processes, kafka, postgres, board: &board };
        round.play(&roles, number % 2 == 1)?;
        // Life goes on for a while of random length before the next one.
        let pause = Duration::from_millis(300 + dice.below(2200));
        wait::until(pause, || flags.must_stop.load(Ordering::SeqCst));
    }
    flags.is_done.store(true, Ordering::SeqCst);
    Ok(processes)
}

fn wait_orders(orders: &Receiver<u32>, flags: &Flags) -> Option<u32> {
    loop {
        match orders.recv_timeout(Duration::from_millis(50)) {
            Ok(wanted) => return Some(wanted),
            Err(_) if flags.must_stop.load(Ordering::SeqCst) => return None,
            Err(_) => {}
        }
    }
}

impl Round<'_> {
    fn play(&mut self, roles: &[Role], is_aimed: bool) -> Result<()> {
        for role in roles {
            let process = &mut self.processes.running[*role as usize];
            ensure!(process.is_running(), "tailrace {} ended by itself; see its log", role.name());
            if is_aimed {
                aim(*role, process);
            }
            let before = self.dead_transactions()?;
            self.processes.running[*role as usize].kill()?;
            self.board.process(*role, None);
            let is_in_flight = self.hit_in_flight(*role, before)?;
            self.board.killed(*role, is_in_flight);
            let words = if is_in_flight { "with a batch in flight" } else { "between batches" };
            self.board.note(format!("{} killed {words}", role.name()));
        }
        for role in roles {
            let mut process = self.processes.launches[*role as usize].spawn()?;
            self.board.process(*role, Some(process.pid()));
            process.wait_ready(READY_LIMIT).with_context(|| format!("starting {} again", role.name()))?;
            self.processes.running[*role as usize] = process;
        }
        Ok(())
    }

    fn hit_in_flight(&self, role: Role, before: usize) -> Result<bool> {
        match role {
            Role::Capture => {
                let transactions = self.kafka.transactions()?;
                let ours: Vec<_> = transactions.iter().filter(|one| one.id.starts_with(PREFIX)).collect();
                if ours.is_empty() {
                    bail!("Kafka knows no transactional producer of capture's");
                }
                Ok(ours.iter().any(|one| one.is_open()))
            }
            Role::Apply => {
                let mut now = Ok(before);
                wait::until(EVIDENCE_LIMIT, || {
                    now = self.dead_transactions();
                    !matches!(now, Ok(count) if count == before)
                });
                Ok(now? > before)
            }
        }
    }

    /// How often PostgreSQL has logged the end of a connection in the middle of a transaction on the shop.
    fn dead_transactions(&self) -> Result<usize> {
        let log = self.postgres.log_text()?;
        let database = format!("@{SHOP}|");
        let is_ours = |line: &&str| line.contains("with an open transaction") && line.contains(&database);
        Ok(log.lines().filter(is_ours).count())
    }
}

/// Waits for the moment in which the process says that it has records in flight; kills anyway if none comes.
fn aim(role: Role, process: &Tailrace) {
    let metric = format!("tailrace_{}_in_flight_records", role.name());
    let is_busy =
        || process.metrics().ok().and_then(|metrics| metrics.sum(&metric)).is_some_and(|records| records > 0.0);
    // The moment is short: look often.
    wait::until_in_steps(AIM_LIMIT, Duration::from_millis(1), is_busy);
}
