//! How the process ends: the one table of exit codes that help, supervisors and tests go by.

use tailrace_contract::ErrorKind;

/// What the exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or stopped as asked.
    Done = 0,
    /// Failed or refused: an operator must act, and the message says how.
    Refused = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The log (of the source, or ours) no longer holds what comes after our position.
    PositionLost = 3,
    /// At least one table has stopped.
    TableFailed = 4,
    /// Bytes that contradict themselves.
    Corrupt = 5,
    /// Another process took over.
    Fenced = 6,
    /// Of `status`: it goes on, but not wholly.
    Degraded = 7,
    /// Of `status`: a part is not running.
    Down = 8,
    /// A panic. The runtime of the language sets this code.
    Bug = 101,
    /// A second signal.
    Killed = 130,
}

impl ExitCode {
    /// All codes, in order.
    pub const ALL: [Self; 11] = [
        Self::Done,
        Self::Refused,
        Self::Usage,
        Self::PositionLost,
        Self::TableFailed,
        Self::Corrupt,
        Self::Fenced,
        Self::Degraded,
        Self::Down,
        Self::Bug,
        Self::Killed,
    ];

    /// The code as the system knows it.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for a person.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or stopped as asked",
            Self::Refused => "failed or refused: the message says how to go on",
            Self::Usage => "the command line or the configuration is wrong",
            Self::PositionLost => "the log no longer holds our position; nothing was skipped",
            Self::TableFailed => "a table has stopped; with a log the others went on",
            Self::Corrupt => "corrupt bytes; nothing was applied from them",
            Self::Fenced => "another process took over: DO NOT RESTART, two would take turns for ever",
            Self::Degraded => "of `status`: degraded; a part waits, a table has stopped, or a system does not answer",
            Self::Down => "of `status`: down; capture or apply is not running, or has failed",
            Self::Bug => "a bug in Tailrace: it panicked, and the log names the place",
            Self::Killed => "ended at once by a second signal",
        }
    }
}

impl From<ErrorKind> for ExitCode {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Transient | ErrorKind::Refused => Self::Refused,
            ErrorKind::PositionLost => Self::PositionLost,
            ErrorKind::TableFailed => Self::TableFailed,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Fenced => Self::Fenced,
            ErrorKind::Cancelled => Self::Done,
        }
    }
}

/// The table of exit codes that `--help` ends with.
pub(super) fn table() -> String {
    let line = |code: &ExitCode| format!("  {:>3}  {}\n", code.code(), code.meaning());
    format!("Exit codes:\n{}", ExitCode::ALL.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_code() {
        for (kind, code) in [
            (ErrorKind::Transient, 1),
            (ErrorKind::Refused, 1),
            (ErrorKind::PositionLost, 3),
            (ErrorKind::TableFailed, 4),
            (ErrorKind::Corrupt, 5),
            (ErrorKind::Fenced, 6),
            (ErrorKind::Cancelled, 0),
        ] {
            assert_eq!(ExitCode::from(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn readme_lists_every_code() {
        let readme = include_str!("../../README.md");
        for code in ExitCode::ALL.iter().filter(|code| **code != ExitCode::Bug) {
            assert!(readme.contains(&format!("\n| {} | ", code.code())), "{code:?}");
        }
    }
}
