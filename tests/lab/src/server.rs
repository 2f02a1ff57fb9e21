//! One running server: found or started, killed, started again on the same port and data, removed. What differs between
//! MySQL, MariaDB, Kafka and PostgreSQL is behind `Program`.
//!
//! A server outlives the process that started it. What is known about it lies in a small file of its folder; whoever
//! changes that takes the instance's lock, so two test binaries never start the same instance twice. Nothing here acts
//! on a process or a folder that the laboratory did not create.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::compose::{self, Engine};
use crate::home::Home;
use crate::mariadb::Series;
use crate::process_table::Process;
use crate::state::State;
use crate::{ports, say, wait};

const READY_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What one kind of server needs; the rest is the same for all.
pub(crate) trait Program: Send + Sync {
    /// Word that begins folder and lock names; also the service in docker-compose.yml.
    fn kind(&self) -> &'static str;
    /// Ports of the instance named `main`; others get as many free ones.
    fn main_ports(&self) -> &'static [u16];
    /// User and group that the native server runs as.
    fn user(&self) -> Result<Option<(u32, u32)>>;
    /// Fills the folder of a new native instance.
    fn prepare(&self, home: &Home, folder: &Path, ports: &[u16]) -> Result<()>;
    /// Removes what a killed server left behind and what would keep it from starting.
    fn clear_leftovers(&self, folder: &Path) -> Result<()>;
    /// The native command line; options of the caller come last and win.
    fn command(&self, home: &Home, folder: &Path, ports: &[u16], options: &[String]) -> Result<Command>;
    /// Whether a real answer comes from the port.
    fn answers(&self, port: u16) -> bool;
    /// The signal for an orderly end.
    fn stop_signal(&self) -> &'static str;
}

/// A server of the laboratory.
#[derive(Clone)]
pub struct Server {
    program: Arc<dyn Program>,
    home: Home,
    name: String,
    folder: PathBuf,
}

impl Server {
    /// Finds the instance, or starts it on the data it had, or makes a new one.
    pub(crate) fn up(program: Arc<dyn Program>, name: &str, options: &[&str]) -> Result<Server> {
        let server = Server::named(program, Home::find()?, name)?;
        let _lock = server.lock()?;
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        match server.load()? {
            // Begun by a process that died before the server's first start.
            Some(state) if state.engine == Engine::Native && state.process.is_none() => server.create(options)?,
            Some(state) if state.options != options => bail!(
                "{} exists with the options [{}]: remove it before starting it with [{}]",
                server.label(),
                state.options.join(" "),
                options.join(" ")
            ),
            Some(state) if server.is_running(&state) => server.wait_ready(&state)?,
            Some(state) => server.start_locked(state)?,
            None => server.create(options)?,
        }
        Ok(server)
    }

    /// A new instance with empty data, whatever an earlier run left under this name.
    pub(crate) fn fresh(program: Arc<dyn Program>, name: &str, options: &[&str]) -> Result<Server> {
        Server::named(Arc::clone(&program), Home::find()?, name)?.remove()?;
        Server::up(program, name, options)
    }

    pub(crate) fn named(program: Arc<dyn Program>, home: Home, name: &str) -> Result<Server> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(is_plain) {
            bail!("{name:?} can't name a server: use up to 40 of a-z, 0-9 and -");
        }
        let folder = home.servers().join(format!("{}-{name}", program.kind()));
        Ok(Server { program, home, name: name.to_owned(), folder })
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind and name, for messages.
    pub fn label(&self) -> String {
        format!("{} {}", self.program.kind(), self.name)
    }

    /// The port that clients use; the same for the whole life of the instance.
    pub fn port(&self) -> Result<u16> {
        Ok(self.known()?.ports[0])
    }

    /// Host and port.
    pub fn address(&self) -> Result<String> {
        Ok(format!("127.0.0.1:{}", self.port()?))
    }

    /// The native server's process; `None` in a container or while it is down.
    pub fn pid(&self) -> Result<Option<u32>> {
        Ok(self.known()?.process.filter(|process| process.is_alive()).map(|process| process.pid))
    }

    /// Where the native server keeps its data, log and settings.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Data folder of the native server.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Log of the native server; restarts append.
    pub fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// What it has logged since it was made.
    pub fn log_text(&self) -> Result<String> {
        let state = self.known()?;
        Ok(self.read_log(&state))
    }

    /// What it runs in.
    pub fn engine(&self) -> Result<Engine> {
        Ok(self.known()?.engine)
    }

    /// Ends it as a power cut would: SIGKILL to the server and all of its processes.
    pub fn kill(&self) -> Result<()> {
        let _lock = self.lock()?;
        let state = self.known()?;
        match state.engine {
            Engine::Compose => compose::kill(self.program.kind(), &self.name, &state),
            Engine::Native => state.process.map_or(Ok(()), Process::kill),
        }
    }

    /// An orderly end.
    pub fn stop(&self) -> Result<()> {
        let _lock = self.lock()?;
        let state = self.known()?;
        match state.engine {
            Engine::Compose => compose::stop(self.program.kind(), &self.name, &state),
            Engine::Native => {
                state.process.map_or(Ok(()), |process| process.stop(self.program.stop_signal(), STOP_LIMIT))
            }
        }
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub fn start(&self) -> Result<()> {
        let _lock = self.lock()?;
        let state = self.known()?;
        if self.is_running(&state) { self.wait_ready(&state) } else { self.start_locked(state) }
    }

    /// An orderly end and a start with other options of the caller, on the same port and data.
    pub fn restart_with(&self, options: &[&str]) -> Result<()> {
        self.stop()?;
        let _lock = self.lock()?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let state = State { options, ..self.known()? };
        state.save(&self.folder)?;
        self.start_locked(state)
    }

    /// Ends it and deletes its data. Nothing happens if there is none.
    pub fn remove(&self) -> Result<()> {
        let _lock = self.lock()?;
        let Some(state) = self.load()? else { return self.delete_folder() };
        match state.engine {
            Engine::Compose => compose::remove(self.program.kind(), &self.name, &state)?,
            Engine::Native => state.process.map_or(Ok(()), Process::kill)?,
        }
        self.delete_folder()
    }

    fn lock(&self) -> Result<fs::File> {
        self.home.lock(&format!("{}-{}", self.program.kind(), self.name))
    }

    fn load(&self) -> Result<Option<State>> {
        State::load(&self.folder)
    }

    fn known(&self) -> Result<State> {
        self.load()?.with_context(|| format!("{} was removed", self.label()))
    }

    fn delete_folder(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        assert!(self.folder.starts_with(self.home.servers()), "only folders of the laboratory are deleted");
        fs::remove_dir_all(&self.folder).with_context(|| format!("deleting {}", self.folder.display()))
    }

    fn create(&self, options: Vec<String>) -> Result<()> {
        self.delete_folder()?;
        let state = self.reserve_ports(options)?;
        if state.engine == Engine::Native
            && let Err(error) = self.program.prepare(&self.home, &self.folder, &state.ports)
        {
            self.delete_folder()?;
            return Err(error.context(format!("preparing {}", self.label())));
        }
        self.start_locked(state)
    }

    /// Ports are chosen and written down under one lock for all servers.
    fn reserve_ports(&self, options: Vec<String>) -> Result<State> {
        let _lock = self.home.lock("ports")?;
        let taken = State::taken_ports(&self.home.servers())?;
        let wanted = self.program.main_ports();
        let is_usable = |port: &u16| !taken.contains(port) && ports::is_free(*port);
        let ports = if self.name == "main" && wanted.iter().all(is_usable) {
            wanted.to_vec()
        } else {
            ports::find_free(u16::try_from(wanted.len()).context("a handful of ports")?, &taken)?
        };
        if self.name == "main" && ports != wanted {
            say(&format!("port {} is in use by somebody else: {} takes {}", wanted[0], self.label(), ports[0]));
        }
        fs::create_dir_all(&self.folder).with_context(|| format!("creating {}", self.folder.display()))?;
        let state = State { engine: Engine::choose(), ports, options, process: None };
        state.save(&self.folder)?;
        Ok(state)
    }

    fn is_running(&self, state: &State) -> bool {
        match state.engine {
            Engine::Compose => self.program.answers(state.ports[0]),
            Engine::Native => state.process.is_some_and(Process::is_alive),
        }
    }

    fn start_locked(&self, mut state: State) -> Result<()> {
        match state.engine {
            Engine::Compose => compose::up(self.program.kind(), &self.name, &state, &self.folder)?,
            Engine::Native => {
                self.program.clear_leftovers(&self.folder)?;
                state.process = Some(self.spawn(&state)?);
                state.save(&self.folder)?;
            }
        }
        self.wait_ready(&state)
    }

    /// In a session of its own, so that it survives us and hears nothing of our terminal.
    fn spawn(&self, state: &State) -> Result<Process> {
        let server = self.program.command(&self.home, &self.folder, &state.ports, &state.options)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log()).context("opening the server's log")?;
        let mut command = Command::new("setsid");
        command.arg(server.get_program()).args(server.get_args()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        for (name, value) in server.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some((user, group)) = self.program.user()? {
            command.uid(user).gid(group);
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", self.label()))?;
        let process = Process::find(child.id());
        // Whoever starts a server and lives on must reap it, or a killed server stays in the process table.
        std::thread::spawn(move || child.wait());
        process.with_context(|| format!("{} ended at once{}", self.label(), self.log_tail(state)))
    }

    fn wait_ready(&self, state: &State) -> Result<()> {
        let begin = Instant::now();
        let mut ended = false;
        let answered = wait::until(READY_LIMIT, || {
            ended = state.engine == Engine::Native && !self.is_running(state);
            ended || self.program.answers(state.ports[0])
        });
        if ended {
            bail!("{} ended while it started{}", self.label(), self.log_tail(state));
        }
        if !answered {
            bail!("{} gave no answer in {:?}{}", self.label(), begin.elapsed(), self.log_tail(state));
        }
        Ok(())
    }

    fn read_log(&self, state: &State) -> String {
        match state.engine {
            Engine::Compose => compose::log(self.program.kind(), &self.name, state),
            Engine::Native => {
                fs::read(self.log()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
            }
        }
    }

    fn log_tail(&self, state: &State) -> String {
        let text = self.read_log(state);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n  ");
        format!("; the end of {}:\n  {tail}", self.log().display())
    }
}

/// Removes every server of this laboratory; returns what was removed.
pub fn remove_all() -> Result<Vec<String>> {
    let home = Home::find()?;
    let mut removed = Vec::new();
    let mut folders: Vec<PathBuf> = fs::read_dir(home.servers())
        .context("reading the folder of servers")?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    for folder in folders {
        let label = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((kind, name)) = label.split_once('-') else { continue };
        let Some(program) = program_of(kind) else { continue };
        Server::named(program, home.clone(), name)?.remove()?;
        removed.push(label);
    }
    Ok(removed)
}

fn program_of(kind: &str) -> Option<Arc<dyn Program>> {
    let known: [Arc<dyn Program>; 5] = [
        Arc::new(crate::mysql::Program),
        Arc::new(crate::mariadb::Program { series: Series::Old }),
        Arc::new(crate::mariadb::Program { series: Series::New }),
        Arc::new(crate::kafka::Program),
        Arc::new(crate::postgres::Program),
    ];
    known.into_iter().find(|program| program.kind() == kind)
}
