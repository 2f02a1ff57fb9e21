//! What librdkafka reports → what the engine decides.
//!
//! The code decides, not the text. What is not listed is refused: an operator must look. A fenced producer is reported as
//! such here, though it may only have been too slow: the writer asks the log who owns it before it blames anybody (see
//! `writer`). librdkafka's texts name brokers, topics and settings, never records; only the value of a wrong setting may
//! be in one, so that text is left out.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tailrace_contract::{Error, ErrorKind};

use crate::watch::{BrokerWatch, Trouble};

/// An error of librdkafka while `doing` something.
pub(crate) fn from_kafka(error: &KafkaError, doing: &str) -> Error {
    match error {
        KafkaError::ClientConfig(_, what, key, _) => {
            return Error::refused(format!("{doing}: {key}: {what}")).hint("correct [log] in the configuration");
        }
        KafkaError::ClientCreation(what) => {
            return Error::refused(format!("{doing}: {what}")).hint("correct [log] in the configuration");
        }
        _ => {}
    }
    let Some(code) = error.rdkafka_error_code() else {
        return Error::refused(format!("{doing}: {error}"));
    };
    from_code(code, doing)
}

/// The same for a call that gave up waiting: the last trouble of the connection says more than "timed out".
pub(crate) fn from_wait(error: &KafkaError, doing: &str, watch: &BrokerWatch) -> Error {
    match watch.trouble() {
        Some(Trouble { code, reason, .. }) if is_wait(error) => {
            let named = from_code(code, doing);
            let message = format!("{}: {}{}", named.message(), essence(&reason), guess(&reason));
            match named.advice() {
                Some(advice) => Error::new(named.kind(), message).hint(advice),
                None => Error::new(named.kind(), message),
            }
        }
        Some(_) | None => from_kafka(error, doing),
    }
}

/// Whether the account lacks a right: librdkafka's words for each kind of resource end so.
pub(crate) fn is_about_rights(error: &Error) -> bool {
    error.message().ends_with("authorization failed")
}

/// Whether a call only gave up waiting.
pub(crate) fn is_wait(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| kind(code) == ErrorKind::Transient)
}

/// What a listener that speaks no TLS does to hands that are to be shaken: whether the client itself takes it for one depends on how
/// fast the connection is closed.
fn guess(reason: &str) -> &'static str {
    let is_closed = reason.contains("SSL connection closed by peer");
    if is_closed { ": connecting to a PLAINTEXT broker listener?" } else { "" }
}

/// A reason without what librdkafka adds for its own users: names of its settings, counts and times.
fn essence(reason: &str) -> &str {
    let end = [", verify that ssl.ca.location", " (after "].iter().filter_map(|words| reason.find(words)).min();
    &reason[..end.unwrap_or(reason.len())]
}

/// An error by its code.
pub(crate) fn from_code(code: RDKafkaErrorCode, doing: &str) -> Error {
    let error = Error::new(kind(code), format!("{doing}: {}", describe(code)));
    match hint(code) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// librdkafka's own words, without the numbers that its `Display` adds.
fn describe(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    text.rsplit_once(" (").map_or(text.clone(), |(_, words)| words.trim_end_matches(')').to_owned())
}

/// The decision.
pub(crate) fn kind(code: RDKafkaErrorCode) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation => ErrorKind::PositionLost,
        // Brokers that are away, restart, elect or are overloaded.
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::BrokerNotAvailable
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::NodeUpdate
        | Code::WaitingForCoordinator
        | Code::WaitCache
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::Outdated
        | Code::Retry
        | Code::UnknownBroker
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::TransactionCoordinatorFenced
        | Code::NotController
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::StaleBrokerEpoch
        | Code::StaleControllerEpoch
        | Code::OffsetNotAvailable
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::ISRInsufficient
        | Code::KafkaStorageError
        | Code::LogDirNotFound
        | Code::ListenerNotFound
        | Code::ReassignmentInProgress
        | Code::ThrottlingQuotaExceeded
        | Code::RebootstrapRequired
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch
        // Bytes damaged on the way are sent or fetched again.
        | Code::InvalidMessage
        | Code::BadMessage
        // A topic that was just made is not known everywhere at once.
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId
        // The state of one producer: a new one starts afresh.
        | Code::ConcurrentTransactions
        | Code::InvalidTransactionalState
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::GaplessGuarantee
        | Code::Inconsistent
        | Code::State
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::QueueFull
        | Code::Conflict => ErrorKind::Transient,
        _ => ErrorKind::Refused,
    }
}

fn hint(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "check the account in log.url, log.password, and that the broker's listener takes [log] sasl"
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
            "check log.url, that the broker runs, and that [log] tls and sasl are what its listener asks for"
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState | Code::SecurityDisabled => {
            "check [log] sasl and tls against the broker's listener"
        }
        Code::SSL => {
            "check [log] tls: the mode, the authority's certificate, and the host name in the broker's certificate"
        }
        Code::TopicAuthorizationFailed => {
            "allow Create, Describe, DescribeConfigs, Read and Write on topics that begin with the log's prefix"
        }
        Code::GroupAuthorizationFailed => "allow Read on groups that begin with the log's prefix",
        Code::ClusterAuthorizationFailed => "allow IdempotentWrite, Create and DescribeConfigs on the cluster",
        Code::TransactionalIdAuthorizationFailed => {
            "allow Describe and Write on transactional ids that begin with the log's prefix"
        }
        Code::InvalidTransactionTimeout => "raise the broker's transaction.max.timeout.ms to at least 60000",
        Code::InvalidReplicationFactor => "lower [log] replication to the number of brokers, or add brokers",
        Code::PolicyViolation => {
            "the cluster's policy forbids this topic: create it by hand with the settings that `check` names"
        }
        Code::InvalidTopic => "rename the table's topic: Kafka takes names that differ only in '.' and '_' as the same",
        Code::UnsupportedVersion | Code::UnsupportedFeature => "use Kafka 2.5 or newer",
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => "raise max.message.bytes of the topic",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_told_from_the_rest() {
        use RDKafkaErrorCode as Code;
        let check = |code, expect| assert_eq!(is_about_rights(&from_code(code, "looking")), expect, "{code:?}");
        for code in [
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
        ] {
            check(code, true);
        }
        check(Code::SaslAuthenticationFailed, false);
        check(Code::UnknownTopicOrPartition, false);
    }

    #[test]
    fn reasons_name_no_settings_of_librdkafka() {
        let check = |reason: &str, expect: &str| assert_eq!(essence(reason), expect);
        check("a:1: refused (after 5ms in state CONNECT)", "a:1: refused");
        check(
            "failed: not verified, verify that ssl.ca.location is correct (install ca-certificates) (after 5ms in state X)",
            "failed: not verified",
        );
        check("1/1 brokers are down", "1/1 brokers are down");
    }
}
