//! Tailrace's engine: it knows no vendor.
//!
//! Code map: `run` assembles one process from `config`, by `registry`, the only file that names connectors. `capture` moves
//! changes from a source to the log, `apply` from the log to a target; they don't know each other; `embedded` joins their
//! halves where there is no log. `mapping` says which table goes where, `preflight` what keeps a configuration from working,
//! `status` how it is going, `tail` what passes, `reset` forgets, `import_offset` takes over from Debezium. `control` serves
//! health and metrics, `runtime` holds tasks, shutdown and retry, `telemetry` every metric.

pub mod apply;
pub mod backfill;
pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod embedded;
#[cfg(feature = "faults")]
pub mod faults;
pub mod import_offset;
pub mod mapping;
pub mod preflight;
pub mod registry;
pub mod reset;
pub mod run;
pub mod runtime;
pub mod state;
pub mod status;
pub mod tail;
pub mod telemetry;
pub mod windows;
