//! One transactional producer: begin, send, empty the queue, commit or abort. Its calls block.
//!
//! 1. Every record's delivery report is looked at. One failed delivery fails the transaction, and a commit is sent only
//!    when as many records were acknowledged as were sent.
//! 2. The queue is emptied by our own polls before the commit: left to itself the client waits out 100 ms in every commit
//!    that finds a record in flight. The polls don't wait but are pauses apart, because a poll of the client counts its
//!    waiting in whole milliseconds and spends the rest of the last one spinning.
//! 3. A full queue is back-pressure: send polls until there is room. Deliveries that time out (a broker is away) end that.
//! 4. The outcome of a commit that was sent and not answered is unknown. It is asked again for a while; then the error is
//!    transient and the writer is dropped: the next one's `init_transactions` decides, and the checkpoint in the log tells.
//! 5. A transaction that grows older than three quarters of its time limit is given up here, before the broker aborts it and
//!    fences us. Capture splits transactions by time, so this is a guard, not a path.
//! 6. After a commit is answered the broker still writes its markers. The first partition of a transaction that is begun
//!    meanwhile is refused, and the client tries it again after a fixed 20 ms. So a moment is waited here instead.
//!
//! With feature `faults` the point `kafka.commit_sent` is reached when the client's log says that the request which ends the
//! transaction was written to the socket, while the answer is still awaited.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer, ProducerContext},
};
use tailrace_contract::{Error, ErrorKind, Result};

use crate::{
    config::{ANSWER_TIMEOUT, ClientSettings, TRANSACTION_TIMEOUT},
    errors,
    watch::BrokerWatch,
};

/// One step of waiting for acknowledgements.
const PAUSE: Duration = Duration::from_micros(300);
/// The client counts its own waiting in milliseconds.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// What the markers of a small transaction take, as a rule.
const MARKERS_TIME: Duration = Duration::from_millis(4);
/// After so many records the delivery reports that came meanwhile are looked at.
const RECORDS_BETWEEN_POLLS: u64 = 256;
/// How long dropping may take to tell the broker that the open transaction is aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);
/// One try of it; reports that came meanwhile are taken before the next.
const ABORT_STEP: Duration = Duration::from_secs(1);

/// A record to send.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) key: &'a [u8],
    /// None: a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
}

/// The producer and its open transaction.
pub(crate) struct Transaction {
    producer: BaseProducer<ProducerWatch>,
    state: TransactionState,
    /// Records sent in all transactions.
    sent: u64,
    committed_at: Option<Instant>,
    /// Whether a commit ended with an answer that tells nothing.
    is_doubtful: bool,
}

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransactionState {
    /// None is open: set by opening, by a commit and by an abort.
    Closed,
    /// Set by the first record.
    Open { since: Instant },
    /// Set by an error after which the producer is of no use but to abort.
    Failed,
}

impl Transaction {
    /// Connects and becomes the only producer of this transactional id: older ones are fenced, what they left open is aborted.
    pub(crate) fn open(clients: &ClientSettings, transactional_id: &str) -> Result<Self> {
        let doing = "taking over as the log's writer";
        let config = clients.producer(transactional_id)?;
        let producer: BaseProducer<ProducerWatch> =
            BaseProducer::from_config_and_context(&config, ProducerWatch::default())
                .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while let Err(error) = producer.init_transactions(remaining(deadline)) {
            producer.poll(Duration::ZERO);
            if !is_retriable(&error) || Instant::now() >= deadline {
                return Err(errors::from_wait(&error, doing, &producer.context().brokers));
            }
        }
        Ok(Self { producer, state: TransactionState::Closed, sent: 0, committed_at: None, is_doubtful: false })
    }

    /// Sends a record in the open transaction, which is begun if there is none.
    pub(crate) fn send(&mut self, outgoing: Outgoing<'_>) -> Result<()> {
        self.begin()?;
        let record = BaseRecord::to(outgoing.topic).partition(outgoing.partition).key(outgoing.key);
        let mut record = BaseRecord { payload: outgoing.value, headers: outgoing.headers, ..record };
        while let Err((error, returned)) = self.producer.send(record) {
            const DOING: &str = "sending a record";
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {}
                Some(RDKafkaErrorCode::Fatal) => return Err(self.fail(self.gave_up(RDKafkaErrorCode::Fatal, DOING))),
                Some(_) | None => return Err(self.fail(errors::from_kafka(&error, DOING))),
            }
            record = returned;
            self.wait_for_reports();
            self.check_deliveries()?;
            self.check_age()?;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(RECORDS_BETWEEN_POLLS) {
            self.producer.poll(Duration::ZERO);
            self.check_deliveries()?;
        }
        Ok(())
    }

    /// Whether records were sent that are not committed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, TransactionState::Open { .. })
    }

    /// Begins a transaction if none is open.
    pub(crate) fn begin(&mut self) -> Result<()> {
        match self.state {
            TransactionState::Open { .. } => return Ok(()),
            TransactionState::Failed => return Err(Error::transient("the log's writer failed before; open a new one")),
            TransactionState::Closed => {}
        }
        if let Some(rest) = self.committed_at.and_then(|at| MARKERS_TIME.checked_sub(at.elapsed())) {
            std::thread::park_timeout(rest);
        }
        self.producer
            .begin_transaction()
            .map_err(|error| self.fail(errors::from_kafka(&error, "beginning a transaction")))?;
        self.state = TransactionState::Open { since: Instant::now() };
        Ok(())
    }

    /// Waits until every record is acknowledged.
    pub(crate) fn drain(&mut self) -> Result<()> {
        // Deliveries time out by themselves after ANSWER_TIMEOUT; this only ends the wait if that failed.
        let deadline = Instant::now() + ANSWER_TIMEOUT + ANSWER_TIMEOUT / 2;
        while self.producer.in_flight_count() > 0 {
            self.wait_for_reports();
            self.check_deliveries()?;
            if Instant::now() > deadline {
                let error = self.gave_up(RDKafkaErrorCode::OperationTimedOut, "waiting for acknowledgements");
                return Err(self.fail(error));
            }
        }
        let acknowledged = self.producer.context().acknowledged.load(Ordering::Acquire);
        if acknowledged != self.sent {
            let what = format!("{acknowledged} of {} records were acknowledged", self.sent);
            return Err(self.fail(Error::transient(what)));
        }
        Ok(())
    }

    /// Makes what was sent visible. The queue must have been emptied.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.check_age()?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while let Err(error) = self.commit_once(deadline) {
            self.producer.poll(Duration::ZERO);
            if !is_retriable(&error) || Instant::now() >= deadline {
                let error = self.judge_commit(&error);
                return Err(self.fail(error));
            }
        }
        self.state = TransactionState::Closed;
        self.committed_at = Some(Instant::now());
        Ok(())
    }

    /// A broker that is asked to end a transaction while another producer takes its id over may answer with no more than
    /// UNKNOWN_SERVER_ERROR. Whether it was that, the writer asks the log.
    fn judge_commit(&mut self, error: &KafkaError) -> Error {
        let doing = "committing to Kafka";
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Unknown) {
            self.is_doubtful = true;
            return Error::transient(format!("{doing}: the broker answered with an unknown server error"));
        }
        errors::from_wait(error, doing, &self.producer.context().brokers)
    }

    /// Whether the broker may have fenced us without saying so.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    #[cfg(not(feature = "faults"))]
    fn commit_once(&self, deadline: Instant) -> std::result::Result<(), KafkaError> {
        self.producer.commit_transaction(remaining(deadline))
    }

    /// The client's log lines come through its queue, so a second thread polls while the commit waits for its answer. On a
    /// busy machine the answer may overtake the line: then the point is reached before the answer is acted upon.
    #[cfg(feature = "faults")]
    fn commit_once(&self, deadline: Instant) -> std::result::Result<(), KafkaError> {
        let context = self.producer.context();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let is_polling = std::sync::Barrier::new(2);
        context.is_committing.store(true, Ordering::Release);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                is_polling.wait();
                while !is_over.load(Ordering::Acquire) {
                    self.wait_for_reports();
                }
            });
            is_polling.wait();
            let outcome = self.producer.commit_transaction(remaining(deadline));
            is_over.store(true, Ordering::Release);
            outcome
        });
        if outcome.is_ok() {
            // At most one line a poll, and few lines a commit.
            (0..100).for_each(|_| self.producer.poll(Duration::ZERO));
        }
        context.is_committing.store(false, Ordering::Release);
        outcome
    }

    /// Tells the broker to forget the open transaction, so that readers need not wait for its time limit. Best effort.
    pub(crate) fn abort(&mut self) {
        if self.state == TransactionState::Closed {
            return;
        }
        self.state = TransactionState::Closed;
        self.producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + ABORT_TIMEOUT;
        while let Err(error) = self.abort_once(deadline) {
            if !is_retriable(&error) || Instant::now() >= deadline {
                tracing::debug!(%error, "an open transaction could not be aborted; the broker will do it by its time limit");
                break;
            }
        }
    }

    fn abort_once(&self, deadline: Instant) -> std::result::Result<(), KafkaError> {
        // The abort itself takes no reports, and does not begin before those of all that was purged are taken.
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.wait_for_reports();
        }
        self.producer.abort_transaction(remaining(deadline).min(ABORT_STEP))
    }

    /// Takes a report if there is one, else waits a little.
    fn wait_for_reports(&self) {
        let in_flight = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        if self.producer.in_flight_count() == in_flight {
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Waits, taking what the client says meanwhile.
    pub(crate) fn idle(&self, time: Duration) {
        self.producer.poll(time);
    }

    fn check_deliveries(&mut self) -> Result<()> {
        let failure = self.producer.context().failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failure {
            None => Ok(()),
            Some(failure) => {
                let doing = format!("sending to {}[{}]", failure.topic, failure.partition);
                let error = self.gave_up(failure.code, &doing);
                Err(self.fail(error))
            }
        }
    }

    fn check_age(&mut self) -> Result<()> {
        match self.state {
            TransactionState::Open { since } if since.elapsed() > TRANSACTION_TIMEOUT * 3 / 4 => {
                let age = since.elapsed().as_secs();
                Err(self.fail(Error::transient(format!("the open transaction is {age} s old and was given up"))))
            }
            TransactionState::Open { .. } | TransactionState::Closed | TransactionState::Failed => Ok(()),
        }
    }

    /// An error by its code, with the connection's last trouble if it is about waiting.
    fn gave_up(&self, code: RDKafkaErrorCode, doing: &str) -> Error {
        // A producer that was fenced or failed for good reports purged records: the reason is the fatal error.
        let code = self.producer.client().fatal_error().map_or(code, |(fatal, _)| fatal);
        errors::from_wait(&KafkaError::MessageProduction(code), doing, &self.producer.context().brokers)
    }

    fn fail(&mut self, error: Error) -> Error {
        self.state = TransactionState::Failed;
        error
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.abort();
    }
}

/// What the client says by itself.
#[derive(Default)]
struct ProducerWatch {
    brokers: BrokerWatch,
    acknowledged: AtomicU64,
    failure: Mutex<Option<DeliveryFailure>>,
    #[cfg(feature = "faults")]
    is_committing: std::sync::atomic::AtomicBool,
}

/// The first delivery that failed.
#[derive(Clone, Debug)]
struct DeliveryFailure {
    code: RDKafkaErrorCode,
    topic: Arc<str>,
    partition: i32,
}

impl ClientContext for ProducerWatch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        #[cfg(feature = "faults")]
        if message.contains("Sent EndTxnRequest") && self.is_committing.swap(false, Ordering::AcqRel) {
            tailrace_contract::fault::point("kafka.commit_sent");
        }
        self.brokers.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.brokers.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for ProducerWatch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Release);
            }
            Err((error, message)) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert_with(|| DeliveryFailure {
                    code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
                    topic: message.topic().into(),
                    partition: message.partition(),
                });
            }
        }
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(TIMEOUT_MIN)
}

/// Whether the same call may be made again with the same producer.
fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort(),
        _ => error.rdkafka_error_code().is_some_and(|code| errors::kind(code) == ErrorKind::Transient),
    }
}
