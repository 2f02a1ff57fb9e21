//! The events of a compressed transaction, one after the other.
//!
//! Bytes are unpacked 128 KiB at a time and handed out in place; room for more is taken only while an event that is longer comes
//! out. So memory is bounded by the packed bytes (they lie in the connection's buffer, at most 1 GiB), the longest event, and
//! zstd's window: 2 MiB with the server's default level, 128 MiB with the highest; a stream that asks for a larger one is refused.
//!
//! The packed bytes are given again with each call: nothing of them is kept here.

use std::ops::Range;

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{
    HEADER_BYTES,
    payload::{Packing, Payload},
};
use crate::protocol::Malformed;

/// What is unpacked at once: a block of zstd.
const CHUNK_BYTES: usize = 128 << 10;

/// The largest window that a server's levels use.
const WINDOW_LOG_MAX: u32 = 27;

/// The longest event: `max_allowed_packet` ends at 1 GiB, to which a server adds what surrounds the row.
const EVENT_BYTES_MAX: usize = (1 << 30) + (1 << 20);

/// What is kept for the next transaction.
const KEPT_BYTES: usize = 4 << 20;

const SHORT: Malformed = Malformed::new("compressed transaction: it ends early");
const LONG: Malformed = Malformed::new("compressed transaction: it unpacks to more than it declares");

/// Unpacks one transaction at a time.
#[derive(Default)]
pub(crate) struct Unpacker {
    packing: Option<Packing>,
    /// Made for the first compressed transaction and used again.
    zstd: Option<DCtx<'static>>,
    /// Packed bytes that are used up.
    read: usize,
    /// Bytes that are still to come out.
    left: u64,
    /// Always initialised up to its length.
    storage: Vec<u8>,
    /// The event handed out last, and where what is unpacked ends.
    event: Range<usize>,
    end: usize,
}

impl Unpacker {
    /// Another transaction begins.
    pub(crate) fn begin(&mut self, payload: &Payload) {
        if self.zstd.as_ref().is_some_and(|zstd| zstd.sizeof() > KEPT_BYTES) {
            self.zstd = None;
        }
        if self.storage.len() > KEPT_BYTES {
            self.storage = Vec::new();
        }
        let zstd = self.zstd.get_or_insert_with(DCtx::create);
        let is_ready = zstd.reset(ResetDirective::SessionOnly).is_ok()
            && zstd.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).is_ok();
        assert!(is_ready, "a decoder between two streams takes its parameters");
        self.packing = Some(payload.packing);
        self.left = payload.unpacked_bytes;
        (self.read, self.event, self.end) = (0, 0..0, 0);
    }

    /// The next event, without checksum; `None` once all have come and nothing is left over.
    pub(crate) fn next(&mut self, packed: &[u8]) -> Result<Option<&[u8]>, Malformed> {
        self.event.start = self.event.end;
        loop {
            let there = &self.storage[self.event.start..self.end];
            let wanted = match event_bytes(there)? {
                Some(size) if size <= there.len() => {
                    self.event.end = self.event.start + size;
                    return Ok(Some(&self.storage[self.event.clone()]));
                }
                Some(size) => size,
                None => HEADER_BYTES,
            };
            if (wanted - there.len()) as u64 > self.left {
                return if there.is_empty() { self.finish(packed).map(|()| None) } else { Err(SHORT) };
            }
            self.unpack(packed, wanted)?;
        }
    }

    /// The event handed out last.
    pub(crate) fn event(&self) -> &[u8] {
        &self.storage[self.event.clone()]
    }

    /// Unpacks more of an event of so many bytes.
    fn unpack(&mut self, packed: &[u8], wanted: usize) -> Result<(), Malformed> {
        if self.event.start > 0 {
            self.storage.copy_within(self.event.start..self.end, 0);
            self.end -= self.event.start;
            self.event = 0..0;
        }
        if self.end + CHUNK_BYTES > self.storage.len() {
            // Twice as much as has come out, at most: a size that an event only declares costs nothing.
            let room = wanted.max(CHUNK_BYTES).min(self.end * 2) + CHUNK_BYTES;
            self.storage.resize(room.max(self.storage.len()), 0);
        }
        let room = self.storage.len() - self.end;
        let room = usize::try_from(self.left).map_or(room, |left| left.min(room));
        let came_out = self.produce(packed, self.end..self.end + room)?;
        self.end += came_out;
        self.left -= came_out as u64;
        Ok(())
    }

    /// Fills as much of the storage as the next packed bytes give; at least one byte is used up or comes out.
    fn produce(&mut self, packed: &[u8], into: Range<usize>) -> Result<usize, Malformed> {
        let into = &mut self.storage[into];
        let rest = packed.get(self.read..).ok_or(SHORT)?;
        let (used, came_out) = match self.packing {
            Some(Packing::None) => {
                let length = rest.len().min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                (length, length)
            }
            Some(Packing::Zstd) => {
                let zstd = self.zstd.as_mut().expect("invariant: made at the begin");
                let (mut from, mut to) = (InBuffer::around(rest), OutBuffer::around(into));
                zstd.decompress_stream(&mut to, &mut from)
                    .map_err(|_| Malformed::new("compressed transaction: what zstd finds in it"))?;
                (from.pos(), to.pos())
            }
            None => unreachable!("a transaction is begun before it is unpacked"),
        };
        self.read += used;
        if used == 0 && came_out == 0 { Err(SHORT) } else { Ok(came_out) }
    }

    /// All that was declared came out: no more may be there.
    fn finish(&mut self, packed: &[u8]) -> Result<(), Malformed> {
        if self.left > 0 {
            return Err(SHORT);
        }
        if self.storage.is_empty() {
            self.storage.resize(CHUNK_BYTES, 0);
        }
        while self.read < packed.len() {
            if self.produce(packed, 0..1)? > 0 {
                return Err(LONG);
            }
        }
        Ok(())
    }
}

/// The size of the event that begins there, once its header is there.
fn event_bytes(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    const SIZE_AT: usize = 9;
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
    let size = header[SIZE_AT..].first_chunk().map(|size| u32::from_le_bytes(*size) as usize);
    match size {
        Some(size) if (HEADER_BYTES..=EVENT_BYTES_MAX).contains(&size) => Ok(Some(size)),
        Some(_) | None => Err(Malformed::new("compressed transaction: the size of an event in it")),
    }
}

#[cfg(test)]
mod tests {
    use zstd_safe::CCtx;

    use super::*;

    /// An event of so many bytes.
    fn event(size: usize) -> Vec<u8> {
        let mut event: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        event[9..13].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        event
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
        CCtx::create().compress(&mut packed, bytes, 3).unwrap();
        packed
    }

    fn unpack(
        unpacker: &mut Unpacker,
        packing: Packing,
        packed: &[u8],
        declared: usize,
    ) -> Result<Vec<usize>, Malformed> {
        unpacker.begin(&Payload { packing, packed_at: 0, unpacked_bytes: declared as u64 });
        let mut sizes = Vec::new();
        while let Some(found) = unpacker.next(packed)? {
            assert!(*found == event(found.len()));
            sizes.push(found.len());
        }
        Ok(sizes)
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let mut unpacker = Unpacker::default();
        for sizes in [vec![19, 20, 300], vec![CHUNK_BYTES; 3], vec![3 << 20, 19, 5 << 20, 100_000], vec![]] {
            let bytes: Vec<u8> = sizes.iter().flat_map(|size| event(*size)).collect();
            for (packing, packed) in [(Packing::Zstd, pack(&bytes)), (Packing::None, bytes.clone())] {
                assert_eq!(unpack(&mut unpacker, packing, &packed, bytes.len()).unwrap(), sizes, "{packing:?}");
                assert!(unpacker.storage.len() <= 6 << 20, "{} bytes", unpacker.storage.len());
            }
        }
        let two = [pack(&event(50)), pack(&event(60))].concat();
        assert_eq!(unpack(&mut unpacker, Packing::Zstd, &two, 110).unwrap(), [50, 60], "two frames");
    }

    /// Each ends by name, and what was refused leaves nothing behind.
    #[test]
    fn bombs_and_torn_bytes_are_refused() {
        let mut unpacker = Unpacker::default();
        let bytes = [event(5000), event(700)].concat();
        let packed = pack(&bytes);
        let mut refused = |packed: &[u8], declared: usize, what: &str| {
            assert!(unpack(&mut unpacker, Packing::Zstd, packed, declared).is_err(), "{what}");
            assert_eq!(unpack(&mut unpacker, Packing::Zstd, &pack(&event(30)), 30).unwrap(), [30], "after {what}");
        };
        refused(&packed, bytes.len() + 1, "less than declared");
        refused(&packed, 5000, "more than declared");
        refused(&packed, bytes.len() - 1, "an event cut by the declared end");
        refused(&[&packed[..], &pack(&event(40))].concat(), bytes.len(), "a second frame too many");
        refused(&[&packed[..], b"xyz"].concat(), bytes.len(), "bytes behind the frame");
        for cut in 0..packed.len() {
            refused(&packed[..cut], bytes.len(), "a cut");
        }
        let huge = [&event(30)[..9], &u32::MAX.to_le_bytes(), &event(30)[13..]].concat();
        refused(&pack(&huge), huge.len(), "an event of 4 GiB");
        let tiny = [&event(30)[..9], &18_u32.to_le_bytes(), &event(30)[13..]].concat();
        refused(&pack(&tiny), tiny.len(), "an event shorter than its header");
        let bomb = pack(&vec![0; 64 << 20]);
        refused(&bomb, 64 << 20, "64 MiB of nothing");
        assert!(unpacker.storage.len() <= KEPT_BYTES);
    }

    /// The frame's header asks for 256 MiB, and nothing is taken for it.
    #[test]
    fn a_window_beyond_any_level_is_refused() {
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x90, 0x01, 0x00, 0x00];
        let mut unpacker = Unpacker::default();
        assert!(unpack(&mut unpacker, Packing::Zstd, &header, 100).is_err());
        assert!(unpacker.zstd.as_ref().is_some_and(|zstd| zstd.sizeof() < KEPT_BYTES));
    }
}
