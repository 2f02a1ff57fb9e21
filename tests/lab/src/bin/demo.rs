//! The demo as a program: `cargo x demo` builds and starts it. Exit code 0: everything held; 1: something did not, or the
//! demo could not be played.

use std::process::ExitCode;

use lab::demo::{self, Options};
use lab::say;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            say(&format!("{error:#}; see cargo x demo --help"));
            return ExitCode::from(2);
        }
    };
    let outcome = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(demo::run(&options)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("the demo could not be played: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
