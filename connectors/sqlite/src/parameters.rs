//! The parameters of many rows in one buffer, which travels to the connection's thread and back.
//!
//! A value costs a copy of its bytes into the buffer; SQLite takes one more when it is bound. Nothing is allocated for it.

use rusqlite::{
    Statement,
    types::{ToSqlOutput, Value, ValueRef},
};
use tokio::sync::mpsc;

/// Parameters of one statement, run after run.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    values: Vec<Parameter>,
    /// Of texts and blobs, one after the other.
    bytes: Vec<u8>,
}

/// Parameters as they come, and their way back for new ones.
pub(crate) struct Pieces {
    pub(crate) taken: mpsc::Receiver<Parameters>,
    pub(crate) give_back: mpsc::Sender<Parameters>,
}

#[derive(Clone, Copy, Debug)]
enum Parameter {
    Null,
    Integer(i64),
    Real(f64),
    /// So many of the next bytes, in UTF-8.
    Text(usize),
    /// So many of the next bytes.
    Blob(usize),
}

impl Parameters {
    pub(crate) fn null(&mut self) {
        self.values.push(Parameter::Null);
    }

    pub(crate) fn integer(&mut self, number: i64) {
        self.values.push(Parameter::Integer(number));
    }

    pub(crate) fn real(&mut self, number: f64) {
        self.values.push(Parameter::Real(number));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.values.push(Parameter::Text(text.len()));
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.values.push(Parameter::Blob(bytes.len()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The first of them, alone.
    pub(crate) fn first(&self) -> Option<Value> {
        Some(match *self.values.first()? {
            Parameter::Null => Value::Null,
            Parameter::Integer(number) => Value::Integer(number),
            Parameter::Real(number) => Value::Real(number),
            Parameter::Text(length) => Value::Text(String::from_utf8(self.bytes.get(..length)?.to_vec()).ok()?),
            Parameter::Blob(length) => Value::Blob(self.bytes.get(..length)?.to_vec()),
        })
    }

    /// What they take in memory, nearly.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.values.len() * size_of::<Parameter>()
    }

    /// Leaves an empty buffer, which keeps its room.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.bytes.clear();
    }

    /// Runs the statement for all of its runs, until one fails; returns the number of rows that were changed.
    fn run(&self, statement: &mut Statement<'_>) -> rusqlite::Result<u64> {
        let width = statement.parameter_count();
        // SQLite would take a missing one for NULL.
        assert_eq!(self.values.len() % width, 0, "every parameter has a value");
        let mut rest = self.bytes.as_slice();
        let mut next = |length: usize| {
            let (bytes, left) = rest.split_at(length);
            rest = left;
            bytes
        };
        let mut changed = 0;
        for run in self.values.chunks_exact(width) {
            for (number, value) in (1..).zip(run) {
                let value = match *value {
                    Parameter::Null => ValueRef::Null,
                    Parameter::Integer(number) => ValueRef::Integer(number),
                    Parameter::Real(number) => ValueRef::Real(number),
                    Parameter::Text(length) => ValueRef::Text(next(length)),
                    Parameter::Blob(length) => ValueRef::Blob(next(length)),
                };
                statement.raw_bind_parameter::<usize, _>(number, ToSqlOutput::Borrowed(value))?;
            }
            changed += statement.raw_execute()? as u64;
        }
        Ok(changed)
    }
}

impl Pieces {
    /// Runs the statement for all that comes, until one run fails: then nothing more is taken, since SQLite may have given up the
    /// transaction. Returns the number of rows that were changed.
    pub(crate) fn run(mut self, statement: &mut Statement<'_>) -> rusqlite::Result<u64> {
        let mut changed = 0;
        while let Some(piece) = self.taken.blocking_recv() {
            changed += piece.run(statement)?;
            // Where nobody wants it, nothing is encoded any more.
            let _ = self.give_back.try_send(piece);
        }
        Ok(changed)
    }
}
