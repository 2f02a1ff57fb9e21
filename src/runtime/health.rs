//! How each part of the process is doing: set by the part, read by the control endpoint. No part reads it to decide.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How one part is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartState {
    /// Set when the part is made: it has not reached its servers yet.
    Starting,
    /// Set when its servers answer: it does its work.
    Running,
    /// Set after a transient error: it tries again. Holds what it waits for.
    Waiting(String),
    /// Set when a table stopped: the others go on. Holds the error.
    Degraded(String),
    /// Set before the part ends for good. Holds the error.
    Failed(String),
}

impl PartState {
    /// The state in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting(_) => "waiting",
            Self::Degraded(_) => "degraded",
            Self::Failed(_) => "failed",
        }
    }

    /// What it waits for, or what went wrong.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Running => None,
            Self::Waiting(reason) | Self::Degraded(reason) | Self::Failed(reason) => Some(reason),
        }
    }

    fn severity(&self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Starting => 1,
            Self::Waiting(_) => 2,
            Self::Degraded(_) => 3,
            Self::Failed(_) => 4,
        }
    }
}

/// The states of all parts.
#[derive(Debug, Default)]
pub struct Health {
    parts: Mutex<BTreeMap<&'static str, PartState>>,
}

impl Health {
    /// No part yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The part is now in that state.
    pub fn set(&self, part: &'static str, state: PartState) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, state);
    }

    /// All parts, ordered by name.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, PartState)> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(part, state)| (*part, state.clone())).collect()
    }

    /// The part that is worst off, and how it is doing; none if there is no part yet.
    #[must_use]
    pub fn worst(&self) -> Option<(&'static str, PartState)> {
        self.parts().into_iter().max_by_key(|(_, state)| state.severity())
    }

    /// Whether every part runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        !parts.is_empty() && parts.values().all(|state| *state == PartState::Running)
    }
}
