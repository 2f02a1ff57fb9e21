//! The only place that writes to standard output and, beside the log, to standard error.

use std::io::{self, Write as _};

/// Writes what the command was asked for. A reader that went away (`| head`) is no failure.
pub(super) fn print(text: &str) -> io::Result<()> {
    print_to_reader(text).map(drop)
}

/// The same for what goes on: tells whether anybody still reads.
pub(super) fn print_to_reader(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Tells a person what is wrong before there is a log. If even that fails, the exit code must do.
pub(super) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}
