//! Keeps the beginning of a request's body, so that an idempotent request can be retried.

use bytes::Bytes;
use http::HeaderMap;

use super::server::Server;

/// How much of a body is kept.
pub(super) const KEPT_BYTES: u64 = 64 * 1024;

/// Small parts hold the buffers that they were read in.
const MOST_PARTS: usize = 64;

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
    pub(super) fn keep(&mut self, part: &Bytes) {
        self.bytes += part.len() as u64;
        if self.bytes > KEPT_BYTES || self.parts.len() == MOST_PARTS {
            self.give_up();
        } else {
            self.parts.push(part.clone());
        }
    }

    /// Records the end that is sent.
    pub(super) fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.end = Some(trailers.cloned());
    }

    /// Keeps nothing any more: the request will not be sent again.
    pub(super) fn give_up(&mut self) {
        self.is_cut = true;
        self.parts = Vec::new();
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
