//! Kafka as the log: transactional writer, reader, topics, Debezium JSON.
