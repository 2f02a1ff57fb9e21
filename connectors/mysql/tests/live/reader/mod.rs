//! Readers of tables. The oracle is the change stream: the same row must be the same image by both.

mod kit;
