//! `tailrace reset`: forgetting where capture, or apply, stands, so that the next one begins anew.
//!
//! What is forgotten is found first and told, with what follows from it. Forgetting fences whoever still works on it, and each
//! of its two halves (the checkpoint, the offsets) is done wholly or not at all: killed between them, it can be repeated.
//!
//! A new checkpoint begins a new epoch, above the forgotten one: the log (or the target's ledger) keeps that.

use std::{collections::BTreeMap, sync::Arc};

use tailrace_contract::{Checkpoint, Error, Log, PartitionProgress, Result, Sink, StartAt, fault};
use tailrace_row::TableName;

use crate::{
    config::{Config, moment},
    registry,
    status::{Answer, ProcessState, ProcessStatus, Status, ask},
};

/// What is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Capture's checkpoint in the log.
    Capture,
    /// Apply's offsets in the target.
    Apply,
    /// Both; without a log the stream's checkpoint in the target.
    All,
}

impl What {
    fn has_capture(self) -> bool {
        matches!(self, Self::Capture | Self::All)
    }

    fn has_apply(self) -> bool {
        matches!(self, Self::Apply | Self::All)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Capture's checkpoint; without a log the stream's.
    pub checkpoint: Option<Checkpoint>,
    /// How far each partition is applied.
    pub offsets: Vec<PartitionProgress>,
}

impl Found {
    /// Whether there is nothing to forget.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checkpoint.is_none() && self.offsets.is_empty()
    }

    /// Number of applied partitions by table.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<&TableName, Vec<&PartitionProgress>> {
        let mut tables = BTreeMap::<_, Vec<_>>::new();
        for progress in &self.offsets {
            tables.entry(&progress.partition.table).or_default().push(progress);
        }
        tables
    }
}

/// One reset.
pub struct Reset {
    /// The name that must be typed: the log's prefix, or the stream's.
    pub stream: String,
    what: What,
    config: Config,
    /// None if the log is not touched, or there is none.
    log: Option<Arc<dyn Log>>,
    /// None if the target is not touched.
    sink: Option<Arc<dyn Sink>>,
}

impl Reset {
    /// Connects to nobody yet.
    pub fn new(config: &Config, what: What) -> Result<Self> {
        let is_embedded = config.log.is_none();
        if is_embedded && what != What::All {
            return Err(Error::refused("without [log] the target keeps one checkpoint for everything")
                .hint("write `tailrace reset all`"));
        }
        let touches_log = !is_embedded && what.has_capture();
        Ok(Self {
            stream: config.stream(),
            what,
            log: if touches_log { Some(registry::log(config.log()?)?) } else { None },
            sink: if what.has_apply() { Some(registry::sink(config.target()?)?) } else { None },
            config: config.clone(),
        })
    }

    /// What there is to forget. Refuses while a daemon is seen that works on it.
    pub async fn find(&self) -> Result<Found> {
        self.refuse_while_running().await?;
        let mut found = Found::default();
        if let Some(log) = &self.log {
            found.checkpoint = log.checkpoint().await?;
        }
        if let Some(sink) = &self.sink {
            found.offsets = sink.progress(&self.stream).await?;
            let stream = sink.stream_progress(&self.stream).await?;
            found.checkpoint = found.checkpoint.or(stream.and_then(|stream| Some(stream.checkpoint?.at)));
        }
        Ok(found)
    }

    /// What follows from forgetting, in words.
    #[must_use]
    pub fn consequences(&self) -> Vec<String> {
        let mut told = Vec::new();
        if self.what.has_capture() {
            let whoever = if self.config.log.is_some() { "capture" } else { "run" };
            told.push(match &self.config.source.start {
                StartAt::Now => format!(
                    "the next `tailrace {whoever}` begins at source.start = \"now\": what was changed after the checkpoint \
                     and before that moment is never captured"
                ),
                StartAt::Earliest => format!(
                    "the next `tailrace {whoever}` begins at source.start = \"earliest\": what the source still has is \
                     captured and applied again"
                ),
                StartAt::At(place) => format!("the next `tailrace {whoever}` begins at source.start = \"{place}\""),
                StartAt::Since(micros) => {
                    format!("the next `tailrace {whoever}` begins at source.start = \"{}\"", moment::text(*micros))
                }
            });
        }
        if self.what.has_apply() && self.config.log.is_some() {
            told.push(
                "the next `tailrace apply` applies the log from its very beginning, and refuses if the log has forgotten \
                 that; rows of the target stay, and those that the log names end as the log says"
                    .to_owned(),
            );
        }
        told.push("rows of the target and records of the log stay as they are".to_owned());
        told
    }

    /// Forgets what was found.
    pub async fn forget(&self) -> Result<()> {
        self.refuse_while_running().await?;
        if let Some(log) = &self.log {
            log.forget_checkpoint().await?;
        }
        fault::point("reset.half");
        if let Some(sink) = &self.sink {
            sink.forget(&self.stream).await?;
        }
        Ok(())
    }

    async fn refuse_while_running(&self) -> Result<()> {
        let http = &self.config.http;
        let (capture, apply) = tokio::join!(ask(http.capture), ask(http.apply));
        for status in [&capture, &apply].into_iter().filter_map(|answer| self.ours(answer)) {
            let captures = self.what.has_capture().then_some([&status.capture, &status.embedded]);
            let applies = self.what.has_apply().then_some([&status.apply, &status.embedded]);
            let mut working = captures.into_iter().chain(applies).flatten().flatten();
            if let Some(process) = working.find(|process| process.state != ProcessState::Down) {
                return Err(running(process, &self.stream));
            }
        }
        Ok(())
    }

    fn ours<'a>(&self, answer: &'a Answer) -> Option<&'a Status> {
        match answer {
            Answer::Told(status) if status.stream == self.stream => Some(status),
            Answer::Told(_) | Answer::Nobody(_) | Answer::Stranger(_) => None,
        }
    }
}

fn running(process: &ProcessStatus, stream: &str) -> Error {
    let command = process.command.as_deref().unwrap_or("tailrace");
    Error::refused(format!("`tailrace {command}` of the stream {stream} runs at {}", process.address))
        .hint("stop it first; nothing was forgotten")
}
