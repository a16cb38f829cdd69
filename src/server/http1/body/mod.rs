//! Takes a body out of the bytes of a connection, and frames one on its way out.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{EMPTY_HEADER, Status, parse_headers};

use super::stream::Buffered;
use crate::request::{Chunks, MalformedChunks};
use crate::server::message::Part;

/// Shorter chunks are gathered, so that a body in chunks of one byte costs no message for each.
const SHORT: usize = 4 * 1024;
/// So much is gathered at the most, and from so many chunks: each costs time, and others wait meanwhile.
const GATHERED: usize = 16 * 1024;
const GATHERED_CHUNKS: usize = 512;
/// The most bytes between two pieces of data, which are a size, its extensions and the trailers.
const MAX_FRAMING: usize = 16 * 1024;
const MOST_TRAILERS: usize = 64;

/// Why a body cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum Malformed {
    #[error(transparent)]
    Chunks(#[from] MalformedChunks),
    #[error("the trailers of a body are malformed")]
    Trailers,
    #[error("the framing of a body is too large")]
    TooLarge,
    #[error("a body broke off")]
    BrokenOff,
}

/// A body that is read.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Everything was taken.
    Over,
    /// So many bytes are left.
    Length(u64),
    Chunks(Box<Chunked>),
    /// It ends with the connection.
    UntilEnd,
    /// It is malformed, and what follows is nobody's.
    Broken(Malformed),
}

/// A body in chunks.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    chunks: Chunks,
    trailers: BytesMut,
    framing: usize,
}

impl Incoming {
    pub(super) fn length(length: u64) -> Self {
        match length {
            0 => Self::Over,
            length => Self::Length(length),
        }
    }

    /// Begins a body in chunks; a server may pad their sizes.
    pub(super) fn chunks(chunks: Chunks) -> Self {
        Self::Chunks(Box::new(Chunked {
            chunks,
            ..Chunked::default()
        }))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Takes the next part out of what was read; `None` when more must be read first. What has failed fails for good.
    pub(super) fn take(
        &mut self,
        input: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Part>, Malformed> {
        let taken = self.try_take(input, eof);
        if let Err(malformed) = taken {
            *self = Self::Broken(malformed);
            return Err(malformed);
        }
        taken
    }

    fn try_take(&mut self, input: &mut BytesMut, eof: bool) -> Result<Option<Part>, Malformed> {
        let part = match self {
            Self::Over => Some(Part::End(None)),
            Self::Broken(malformed) => return Err(*malformed),
            Self::Length(left) if !input.is_empty() => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= here as u64;
                let data = input.split_to(here).freeze();
                if *left == 0 {
                    *self = Self::Over;
                }
                return Ok(Some(Part::Data(data)));
            }
            Self::UntilEnd if !input.is_empty() => Some(Part::Data(input.split().freeze())),
            Self::UntilEnd if eof => Some(Part::End(None)),
            Self::Length(_) | Self::UntilEnd => None,
            Self::Chunks(chunked) => chunked.take(input)?,
        };
        match part {
            None if eof => Err(Malformed::BrokenOff),
            Some(Part::End(trailers)) => {
                *self = Self::Over;
                Ok(Some(Part::End(trailers)))
            }
            part => Ok(part),
        }
    }
}

impl Chunked {
    fn take(&mut self, input: &mut BytesMut) -> Result<Option<Part>, Malformed> {
        let (mut gathered, mut pieces) = (BytesMut::new(), 0);
        while !self.chunks.is_over() {
            let left = usize::try_from(self.chunks.data_left()).unwrap_or(usize::MAX);
            if left == 0 {
                if !self.take_framing(input)? {
                    break;
                }
                continue;
            }
            let here = left.min(input.len());
            let is_short = here < SHORT;
            let fits = gathered.len() + here <= GATHERED && pieces < GATHERED_CHUNKS;
            let has_room = gathered.is_empty() || is_short && fits;
            if here == 0 || !has_room {
                break;
            }
            self.framing = 0;
            self.chunks.take_data(here as u64);
            let data = input.split_to(here);
            if !is_short {
                return Ok(Some(Part::Data(data.freeze())));
            }
            gathered.extend_from_slice(&data);
            pieces += 1;
        }
        if !gathered.is_empty() {
            return Ok(Some(Part::Data(gathered.freeze())));
        }
        if self.chunks.is_over() {
            return Ok(Some(Part::End(self.trailers()?)));
        }
        Ok(None)
    }

    /// Takes what stands before the next data, and returns whether that or the end was reached.
    fn take_framing(&mut self, input: &mut BytesMut) -> Result<bool, Malformed> {
        let mut taken = 0;
        let mut reached = false;
        for &byte in input.iter() {
            if self.chunks.is_in_trailers() {
                self.trailers.extend_from_slice(&[byte]);
            }
            self.chunks.frame(byte)?;
            taken += 1;
            reached = self.chunks.is_over() || self.chunks.data_left() > 0;
            if reached {
                break;
            }
        }
        input.advance(taken);
        self.framing += taken;
        if self.framing > MAX_FRAMING {
            return Err(Malformed::TooLarge);
        }
        Ok(reached)
    }

    fn trailers(&mut self) -> Result<Option<HeaderMap>, Malformed> {
        if self.trailers.len() <= 2 {
            return Ok(None);
        }
        let section = std::mem::take(&mut self.trailers).freeze();
        let mut fields = [EMPTY_HEADER; MOST_TRAILERS];
        let Ok(Status::Complete((_, fields))) = parse_headers(&section, &mut fields) else {
            return Err(Malformed::Trailers);
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Malformed::Trailers);
            };
            trailers.append(name, value);
        }
        Ok(Some(trailers))
    }
}

/// A body that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// There is none, or all of it was written.
    None,
    /// So many bytes are left, as the head said.
    Length(u64),
    Chunks,
    /// The end of the connection ends it.
    UntilEnd,
}

impl Outgoing {
    /// Writes data, of which nothing goes beyond what the head said.
    pub(super) fn put(&mut self, wire: &mut Buffered, data: Bytes) {
        match self {
            Self::None => {}
            Self::UntilEnd => wire.put(data),
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                *left -= here as u64;
                wire.put(data.slice(..here));
            }
            Self::Chunks if data.is_empty() => {}
            Self::Chunks => {
                let mut size = [0; 18];
                wire.put_slice(hex_line(data.len(), &mut size));
                wire.put(data);
                wire.put_slice(b"\r\n");
            }
        }
    }

    /// Writes the end, and returns whether the body was as long as the head said.
    pub(super) fn finish(&mut self, wire: &mut Buffered, trailers: Option<&HeaderMap>) -> bool {
        let whole = !matches!(self, Self::Length(1..));
        if *self == Self::Chunks {
            wire.put_slice(b"0\r\n");
            for (name, value) in trailers.into_iter().flatten() {
                wire.put_slice(name.as_str().as_bytes());
                wire.put_slice(b": ");
                wire.put_slice(value.as_bytes());
                wire.put_slice(b"\r\n");
            }
            wire.put_slice(b"\r\n");
        }
        if *self != Self::UntilEnd {
            *self = Self::None;
        }
        whole
    }
}

/// Writes a chunk's size with its line end.
fn hex_line(size: usize, line: &mut [u8; 18]) -> &[u8] {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1) as usize;
    for (at, place) in line.iter_mut().take(digits).enumerate() {
        let digit = (size >> (4 * (digits - 1 - at))) & 0xf;
        *place = b"0123456789abcdef".get(digit).copied().unwrap_or(b'0');
    }
    for (place, byte) in line.iter_mut().skip(digits).zip(*b"\r\n") {
        *place = byte;
    }
    line.get(..digits + 2).unwrap_or(&[])
}

#[cfg(test)]
mod tests;
