//! What an operator may ask of copies while they run, and the way to those who copy.
//!
//! An order is answered when what follows from it is stored in the ledger, so a pause survives a crash. One that nobody waits for any
//! more is not carried out.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tailrace_contract::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use super::throttle::Throttle;

/// An order is stored by then, or given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Orders that wait.
const ORDERS_MAX: usize = 16;

/// What is asked. Tables are named as in `shop.orders`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// A table whose copy failed, was given up, or has a gap is copied from its beginning.
    Start {
        /// The table.
        table: String,
    },
    /// No further chunk is read.
    Pause {
        /// The table; none: all that are being copied.
        table: Option<String>,
    },
    /// What was paused goes on.
    Resume {
        /// The table; none: all that are paused.
        table: Option<String>,
    },
    /// The copy is given up.
    Cancel {
        /// The table.
        table: String,
    },
    /// A part of a table is copied once more, beside what else is to be copied.
    Recopy {
        /// The table.
        table: String,
        /// The first key; none: from the table's beginning.
        #[serde(default)]
        from: Option<serde_json::Value>,
        /// The last key; none: to the table's end.
        #[serde(default)]
        to: Option<serde_json::Value>,
    },
    /// No more rows a second are copied, until the process ends.
    Throttle {
        /// None: what the configuration says is in force again.
        rows_per_second_max: Option<NonZeroU64>,
    },
}

/// Where operators and those who copy meet. Clones are the same.
#[derive(Clone)]
pub struct Operator {
    orders: mpsc::Sender<Asked>,
    taken: Arc<Mutex<Option<mpsc::Receiver<Asked>>>>,
    throttle: Arc<Throttle>,
}

/// An order, and who waits for the answer.
pub(super) struct Asked {
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Result<String>>,
}

impl Operator {
    /// Nobody has asked for anything yet.
    #[must_use]
    pub fn new(rows_per_second_max: Option<NonZeroU64>) -> Self {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let taken = Arc::new(Mutex::new(Some(taken)));
        Self { orders, taken, throttle: Arc::new(Throttle::new(rows_per_second_max)) }
    }

    /// Asks for something; what is returned says for people what became of it.
    pub async fn ask(&self, order: Order) -> Result<String> {
        if let Order::Throttle { rows_per_second_max } = order {
            return Ok(match self.throttle.set_by_hand(rows_per_second_max) {
                Some(rate) => format!("at most {rate} rows a second are copied, until this process ends"),
                None => "no rate limits the copies".to_owned(),
            });
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            let gone = || Error::refused("this process copies nothing");
            self.orders.send(Asked { order, answer }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| Error::transient("the order was not carried out").hint("ask again"))?
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            Err(Error::transient(
                "nobody could store the order: whoever writes waits for a system that is away, or is behind",
            )
            .hint("look at `tailrace status`, then ask again"))
        })
    }

    /// The orders as they come. They go to whoever asks first.
    pub(super) fn orders(&self) -> Option<mpsc::Receiver<Asked>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The gate before each chunk.
    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }
}
