//! Keeps the beginning of a request's body, so that an idempotent request can be retried, and so that a short body is known to be
//! whole before it is sent.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;

use super::client::Client;
use super::failure::Failure;
use super::outbound;
use super::server::Server;
use super::state::Exchange;
use crate::server::message::Part;

/// How much of a body is kept.
pub(super) const KEPT_BYTES: u64 = 64 * 1024;

/// Small parts hold the buffers that they were read in.
const MOST_PARTS: usize = 64;

/// How much is read before it is known where it goes to, beside the last part.
const READ_FIRST: u64 = KEPT_BYTES / 4;

/// What was sent of a body.
#[derive(Debug, Default)]
pub(super) struct Replay {
    parts: Vec<Bytes>,
    bytes: u64,
    end: Option<Option<HeaderMap>>,
    /// Whether there was more than is kept.
    is_cut: bool,
}

impl Replay {
    /// Records a part that is sent.
    fn keep(&mut self, part: &Bytes) {
        self.bytes += part.len() as u64;
        if self.bytes > KEPT_BYTES || self.parts.len() == MOST_PARTS {
            self.give_up();
        } else {
            self.parts.push(part.clone());
        }
    }

    /// Records the end that is sent.
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.end = Some(trailers.cloned());
    }

    /// Keeps nothing any more: the request will not be sent again.
    pub(super) fn give_up(&mut self) {
        self.is_cut = true;
        self.parts = Vec::new();
    }

    /// Counts a part of the body, and keeps it unless nothing will be sent again; returns what a server is to get.
    pub(super) fn take(
        &mut self,
        exchange: &mut Exchange,
        max_body_bytes: u64,
        part: Part,
    ) -> Result<Part, Failure> {
        Ok(match part {
            Part::Data(data) => {
                exchange.body_bytes += data.len() as u64;
                if exchange.body_bytes > max_body_bytes {
                    return Err(Failure::BodyTooLarge);
                }
                if !self.is_cut {
                    self.keep(&data);
                }
                Part::Data(data)
            }
            Part::End(trailers) => {
                let trailers = trailers.and_then(|trailers| {
                    outbound::trailers(&exchange.generation.identities, trailers)
                });
                self.end(trailers.as_ref());
                Part::End(trailers)
            }
        })
    }

    /// Takes what has come already of a body whose length is unknown: that of most calls of gRPC is whole when its head is read.
    pub(super) fn read_first(
        &mut self,
        client: &mut Client<'_>,
        exchange: &mut Exchange,
        max_body_bytes: u64,
    ) -> Result<(), Failure> {
        // A part of HTTP/2 has a limit, so that all of them are kept.
        let Client::Http2(stream) = client else {
            return Ok(());
        };
        let mut cx = Context::from_waker(Waker::noop());
        while self.end.is_none() && self.bytes < READ_FIRST && self.parts.len() < MOST_PARTS / 2 {
            let Poll::Ready(part) = stream.poll_part(&mut cx) else {
                break;
            };
            self.take(exchange, max_body_bytes, part?)?;
        }
        Ok(())
    }

    /// Returns the length of a body that is known to be whole.
    pub(super) fn length(&self) -> Option<u64> {
        (self.end.is_some() && !self.is_cut).then_some(self.bytes)
    }

    /// Returns whether everything that was sent can be sent again.
    pub(super) fn is_possible(&self) -> bool {
        !self.is_cut
    }

    /// Sends it all again, and returns whether that was the whole body.
    pub(super) fn send(&self, server: &mut Server) -> bool {
        for part in &self.parts {
            server.put(part.clone());
        }
        if let Some(trailers) = &self.end {
            server.finish(trailers.clone());
        }
        self.end.is_some()
    }
}
