//! PostgreSQL as a target: bulk upserts with their progress in one transaction.
