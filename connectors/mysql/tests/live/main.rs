//! The source against real servers. The oracle is what the server itself prints.

mod flow;
mod harness;
