//! Packets out of a byte stream: read in big chunks into one reused buffer, handed out in place.
//!
//! A packet is a frame (3 bytes length, 1 byte number, payload); a frame of 2^24 - 1 bytes is continued by the next one, and
//! the payloads are joined here by moving them together inside the buffer. The sum: one `read` per 256 KiB and no copy for
//! packets under 16 MiB, but for the rest of a packet that the chunk cut.
//!
//! The buffer grows only to what a frame declares (16 MiB at most ahead of the data) and shrinks when the giant is gone.
//! Nothing is lost when a pending read is dropped: received bytes are kept in here.

use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::cursor::Malformed;

const CHUNK_BYTES: usize = 256 << 10;
const HEADER_BYTES: usize = 4;
const FRAME_BYTES_MAX: usize = 0xff_ffff;

/// The largest packet that a server can send: `replica_max_allowed_packet` ends at 1 GiB.
const PACKET_BYTES_MAX: usize = (1 << 30) + (1 << 20);

/// The receiving half of a connection.
pub(crate) struct PacketReader {
    /// Always initialised up to its length, so that reading into it clears nothing.
    storage: Vec<u8>,
    start: usize,
    end: usize,
    /// The packet at `start` as far as its frames were joined: payload bytes, and where its next frame begins (from `start`).
    joined: Option<Joined>,
    /// Bytes of the packet handed out last, frames and all.
    handed_out: usize,
    next_number: u8,
}

struct Joined {
    payload_bytes: usize,
    next_frame: usize,
}

impl PacketReader {
    pub(crate) fn new() -> Self {
        Self { storage: vec![0; CHUNK_BYTES], start: 0, end: 0, joined: None, handed_out: 0, next_number: 0 }
    }

    /// The next packet, if it is here completely. It stays in place until the next call.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Range<usize>>, Malformed> {
        self.start += std::mem::take(&mut self.handed_out);
        loop {
            let (payload_bytes, at) = match &self.joined {
                Some(joined) => (joined.payload_bytes, joined.next_frame),
                None => (0, 0),
            };
            let Some((frame_bytes, number)) = self.frame_header(at) else { return Ok(None) };
            if payload_bytes + frame_bytes > PACKET_BYTES_MAX {
                return Err(Malformed::new("packet: it is longer than a server may send"));
            }
            let frame_end = at + HEADER_BYTES + frame_bytes;
            if self.start + frame_end > self.end {
                return Ok(None);
            }
            if number != self.next_number {
                return Err(Malformed::new("packet number: packets were lost or swapped"));
            }
            self.next_number = number.wrapping_add(1);
            if at > 0 {
                let frame = self.start + at + HEADER_BYTES..self.start + frame_end;
                self.storage.copy_within(frame, self.start + HEADER_BYTES + payload_bytes);
            }
            let payload_bytes = payload_bytes + frame_bytes;
            if frame_bytes < FRAME_BYTES_MAX {
                self.joined = None;
                self.handed_out = frame_end;
                let payload = self.start + HEADER_BYTES;
                return Ok(Some(payload..payload + payload_bytes));
            }
            self.joined = Some(Joined { payload_bytes, next_frame: frame_end });
        }
    }

    /// The bytes of the packet handed out last.
    #[inline]
    pub(crate) fn bytes(&self, packet: &Range<usize>) -> &[u8] {
        &self.storage[packet.clone()]
    }

    /// Receives what is there, at least one byte unless the peer has closed: then 0.
    pub(crate) async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        self.make_room();
        let received = stream.read(&mut self.storage[self.end..]).await?;
        self.end += received;
        Ok(received)
    }

    /// Whether received bytes wait to be parsed.
    pub(crate) fn has_bytes(&self) -> bool {
        self.start + self.handed_out < self.end
    }

    /// The number that the next packet in either direction must have.
    pub(crate) fn next_number(&self) -> u8 {
        self.next_number
    }

    pub(crate) fn set_next_number(&mut self, number: u8) {
        self.next_number = number;
    }

    /// Length and number of the frame that begins `at` bytes behind the packet's start.
    fn frame_header(&self, at: usize) -> Option<(usize, u8)> {
        let header = self.storage[self.start..self.end].get(at..at + HEADER_BYTES)?;
        Some((u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize, header[3]))
    }

    /// Makes room for the frame that is being received, or at least for some bytes.
    fn make_room(&mut self) {
        self.start += std::mem::take(&mut self.handed_out);
        let at = self.joined.as_ref().map_or(0, |joined| joined.next_frame);
        let wanted = at + HEADER_BYTES + self.frame_header(at).map_or(0, |(length, _)| length);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let is_cramped = self.storage.len() - self.start < wanted || self.storage.len() - self.end < CHUNK_BYTES / 4;
        if self.start > 0 && is_cramped {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let needed = (self.start + wanted).max(CHUNK_BYTES).max(self.end + 1);
        if self.storage.len() < needed {
            self.storage.resize(needed, 0);
        } else if self.start == 0 && self.storage.len() > needed {
            self.storage.truncate(needed);
            self.storage.shrink_to(needed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[number], payload].concat()
    }

    /// Hands the bytes over in pieces of `step` and returns the packets.
    async fn read_all(mut bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut reader = PacketReader::new();
        let mut packets = Vec::new();
        loop {
            while let Some(packet) = reader.next()? {
                packets.push(reader.bytes(&packet).to_vec());
            }
            let (now, later) = bytes.split_at(step.min(bytes.len()));
            bytes = later;
            let mut now = now;
            while !now.is_empty() {
                reader.fill(&mut now).await.unwrap();
                while let Some(packet) = reader.next()? {
                    packets.push(reader.bytes(&packet).to_vec());
                }
            }
            if bytes.is_empty() {
                assert!(!reader.has_bytes());
                return Ok(packets);
            }
        }
    }

    #[tokio::test]
    async fn packets_come_whole_however_they_are_cut() {
        let packets: Vec<Vec<u8>> = (0..600usize).map(|n| vec![u8::try_from(n % 251).unwrap(); n * 7 % 1000]).collect();
        let numbers = (0..=255u8).cycle();
        let bytes: Vec<u8> = numbers.zip(&packets).flat_map(|(number, payload)| frame(number, payload)).collect();
        for step in [1, 3, 4, 5, 1000, bytes.len()] {
            assert_eq!(read_all(&bytes, step).await.unwrap(), packets, "in steps of {step}");
        }
    }

    #[tokio::test]
    async fn frames_of_16_mib_are_joined_also_when_the_last_is_empty() {
        for (size, frames) in [(FRAME_BYTES_MAX - 1, 1), (FRAME_BYTES_MAX, 2), (FRAME_BYTES_MAX * 2 + 5, 3)] {
            let payload: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut bytes = Vec::new();
            let mut chunks: Vec<&[u8]> = payload.chunks(FRAME_BYTES_MAX).collect();
            if chunks.len() < frames {
                chunks.push(&[]);
            }
            for (number, chunk) in (0u8..).zip(&chunks) {
                bytes.extend(frame(number, chunk));
            }
            bytes.extend(frame(u8::try_from(frames).unwrap(), b"next"));
            let packets = read_all(&bytes, 100_000).await.unwrap();
            assert_eq!((packets.len(), &packets[1][..]), (2, &b"next"[..]));
            assert!(packets[0] == payload, "{size} bytes");
        }
    }

    #[tokio::test]
    async fn the_buffer_shrinks_after_a_giant() {
        let giant = frame(0, &vec![7; 10 << 20]);
        let mut reader = PacketReader::new();
        let mut stream = &giant[..];
        while reader.next().unwrap().is_none() {
            reader.fill(&mut stream).await.unwrap();
        }
        assert!(reader.storage.len() > 10 << 20);
        let mut stream = &frame(1, b"x")[..];
        assert!(reader.next().unwrap().is_none());
        reader.fill(&mut stream).await.unwrap();
        assert_eq!(reader.storage.len(), CHUNK_BYTES);
        assert!(reader.next().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_lost_packet_is_noticed() {
        let bytes = [frame(0, b"a"), frame(2, b"b")].concat();
        assert!(read_all(&bytes, 100).await.is_err());
    }
}
