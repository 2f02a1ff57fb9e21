//! Damaged recordings for every parser of bytes from outside.
//!
//! A target is a parser's entry and the inputs that it is fed with, as real servers wrote them. The stable test (`tests/damage.rs`)
//! damages those at random, a million times each, and demands: no panic, an end, and no more memory than the input's length
//! allows. The fuzz targets (`tests/fuzz`) feed the same entries under coverage guidance.

mod allocations;
mod damage;
mod inputs;

pub use allocations::{Counting, most_since, start_counting};
pub use damage::Dice;
use tailrace_kafka::hostile as topics;
use tailrace_mysql::hostile;

/// A parser's entry and what to feed it with.
pub struct Target {
    /// As in the names of tests and fuzz targets.
    pub name: &'static str,
    /// Takes any bytes.
    pub entry: fn(&[u8]),
    /// Undamaged inputs.
    pub inputs: fn() -> Vec<Vec<u8>>,
    /// Most bytes of memory that an input of so many bytes may take.
    pub memory_max: fn(usize) -> usize,
}

/// What an input that declares nothing may take: buffers of a reader, and some bytes for each of its own.
const ROOM: usize = 1 << 20;

/// All parsers.
pub const TARGETS: [Target; 14] = [
    // A packet says its length, up to 16 MiB, before it comes.
    Target {
        name: "packets",
        entry: hostile::packets,
        inputs: inputs::packets,
        memory_max: |bytes| (17 << 20) + 64 * bytes,
    },
    // MariaDB's rows may be compressed, at most by 1032.
    Target {
        name: "events",
        entry: hostile::events,
        inputs: inputs::events,
        memory_max: |bytes| 4 * ROOM + 1_100 * bytes,
    },
    Target {
        name: "first_phase",
        entry: hostile::first_phase,
        inputs: inputs::first_phases,
        memory_max: |bytes| 4 * ROOM + 1_100 * bytes,
    },
    Target {
        name: "table_map",
        entry: hostile::table_map,
        inputs: inputs::table_maps,
        memory_max: |bytes| ROOM + 200 * bytes,
    },
    Target { name: "json", entry: hostile::json, inputs: inputs::documents, memory_max: |bytes| ROOM + 64 * bytes },
    // A container that a change leads into is held entry by entry.
    Target {
        name: "json_changes",
        entry: hostile::json_changes,
        inputs: inputs::json_changes,
        memory_max: |bytes| ROOM + 500 * bytes,
    },
    Target {
        name: "prepared",
        entry: hostile::prepared,
        inputs: inputs::prepared,
        memory_max: |bytes| ROOM + 200 * bytes,
    },
    Target {
        name: "witness",
        entry: hostile::witness,
        inputs: inputs::witnesses,
        memory_max: |bytes| ROOM + 64 * bytes,
    },
    // Names of a byte or two are held each in its own place.
    Target { name: "memory", entry: hostile::memory, inputs: inputs::memories, memory_max: |bytes| ROOM + 64 * bytes },
    Target { name: "gtids", entry: hostile::gtids, inputs: inputs::gtids, memory_max: |bytes| ROOM + 200 * bytes },
    Target {
        name: "statement",
        entry: hostile::statement,
        inputs: inputs::statements,
        memory_max: |bytes| ROOM + 200 * bytes,
    },
    Target {
        name: "compressed",
        entry: hostile::compressed,
        inputs: inputs::compressed,
        memory_max: |bytes| ROOM + 1_100 * bytes,
    },
    Target {
        name: "records",
        entry: topics::records,
        inputs: topics::written_records,
        memory_max: |bytes| ROOM + 64 * bytes,
    },
    Target {
        name: "documents",
        entry: topics::documents,
        inputs: topics::written_documents,
        memory_max: |bytes| ROOM + 64 * bytes,
    },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
