//! How it is going: what `tailrace status` prints, and `/status` of a daemon in the same structure.
//!
//! A daemon tells what it knows of itself (`own`), with the help of a task that looks at source and log from outside
//! (`watch`). The command asks the daemons (`ask`) and the systems themselves (`survey`), so that it works when everything
//! is down: each part that does not answer says so, and the rest is shown. Nobody is fenced, nothing is made or changed.

mod ask;
mod document;
mod own;
mod survey;
mod watch;

pub use ask::{Answer, ask};
pub use document::{
    BackfillStatus, CopyStatus, ErrorStatus, Lag, MetStatus, Overall, PartStatus, PartitionStatus, PolicyStatus,
    PositionStatus, ProcessState, ProcessStatus, Status, SystemStatus, TableState, TableStatus, Throughput,
};
pub use own::About;
pub use survey::Survey;
pub use watch::{Looks, Watch};
