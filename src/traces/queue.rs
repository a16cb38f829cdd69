//! The spans that have ended and wait to be sent, of which there are never more than configured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What was counted of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// Those that the collector took.
    pub exported: AtomicU64,
    /// Those for which there was no room.
    pub no_room: AtomicU64,
    /// Those that could not be sent.
    pub failed: AtomicU64,
    /// Those that the collector had, and refused.
    pub rejected: AtomicU64,
}

impl Counts {
    pub(super) fn add(to: &AtomicU64, spans: usize) {
        to.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// Where spans wait.
#[derive(Debug)]
pub struct Queue {
    sender: Sender<SpanData>,
    /// Until somebody takes it, to send them.
    receiver: Mutex<Option<Receiver<SpanData>>>,
    /// What became of them.
    pub counts: Counts,
}

impl Queue {
    /// Makes a queue for so many spans.
    pub fn new(capacity: usize) -> Self {
        let (sender, receiver) = channel(capacity.max(1));
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            counts: Counts::default(),
        }
    }

    /// Returns how many spans wait.
    pub fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    pub(super) fn capacity(&self) -> usize {
        self.sender.max_capacity()
    }

    /// Puts a span in, or counts it where there is no room.
    pub(super) fn push(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            Counts::add(&self.counts.no_room, 1);
        }
    }

    /// Returns what spans are received by, the first time.
    pub(super) fn receiver(&self) -> Option<Receiver<SpanData>> {
        let receiver = self.receiver.lock();
        receiver.unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use opentelemetry::trace::SpanKind;
    use opentelemetry::{SpanId, TraceId};

    use super::*;
    use crate::traces::Scope;
    use crate::traces::span::Moment;

    #[test]
    fn what_has_no_room_is_counted_and_nobody_waits() {
        let queue = Arc::new(Queue::new(2));
        let scope = Scope {
            queue: Arc::clone(&queue),
            trace: TraceId::from(1),
            span: SpanId::from(1),
            began: Moment {
                wall: SystemTime::UNIX_EPOCH,
                instant: Instant::now(),
            },
        };
        for _ in 0..5 {
            scope.begin(SpanKind::Internal, "some").end();
        }
        assert_eq!(queue.waiting(), 2);
        assert_eq!(queue.counts.no_room.load(Ordering::Relaxed), 3);
    }
}
