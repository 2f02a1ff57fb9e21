//! Tailrace's engine.
