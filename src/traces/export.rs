//! Sends what waits in the queue, in batches, for as long as the program runs and a moment longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::collector::{Collector, SendError};
use super::queue::{Counts, Queue};

/// The most spans of a batch, and how long the first of one waits for others.
const MOST: usize = 512;
const DELAY: Duration = Duration::from_secs(1);

/// How long a batch is sent again and again, and the pause before the second time; each is twice as long as the one before.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long what waits at the end may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Where spans go at this moment. One that is taken away still gets what was recorded for it.
#[derive(Debug, Default)]
struct Target {
    collector: ArcSwapOption<Collector>,
}

/// Sends spans; clones are one.
#[derive(Clone, Debug)]
pub struct Exporter {
    queue: Arc<Queue>,
    target: Arc<Target>,
    stop: watch::Sender<bool>,
}

impl Exporter {
    /// Prepares to send what a queue brings.
    pub fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            target: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Returns the queue.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Has spans go to a collector from now on; where there is none, what still waits goes to the one before.
    pub fn aim(&self, collector: Option<Collector>) {
        if let Some(collector) = collector {
            self.target.collector.store(Some(Arc::new(collector)));
        }
    }

    /// Begins to send, the first time.
    pub fn start(&self) -> Option<JoinHandle<()>> {
        let receiver = self.queue.receiver()?;
        let sending = Sending {
            queue: Arc::clone(&self.queue),
            target: Arc::clone(&self.target),
            stop: self.stop.subscribe(),
            is_failing: false,
            is_refused: false,
        };
        Some(tokio::spawn(sending.run(receiver)))
    }

    /// Sends what waits, for a moment at most.
    pub async fn finish(&self, sending: Option<JoinHandle<()>>) {
        let Some(mut sending) = sending else {
            return;
        };
        self.stop.send_replace(true);
        if timeout(FLUSH_TIMEOUT, &mut sending).await.is_err() {
            sending.abort();
            tracing::warn!("stopped before the collector had all spans");
        }
    }
}

struct Sending {
    queue: Arc<Queue>,
    target: Arc<Target>,
    stop: watch::Receiver<bool>,
    /// Whether the log was told that no spans can be sent, and that some are refused: once each time.
    is_failing: bool,
    is_refused: bool,
}

impl Sending {
    async fn run(mut self, mut receiver: Receiver<SpanData>) {
        let mut batch = Vec::new();
        while self.gather(&mut receiver, &mut batch).await {
            let spans = std::mem::take(&mut batch);
            let count = spans.len();
            let Some(collector) = self.target.collector.load_full() else {
                Counts::add(&self.queue.counts.failed, count);
                continue;
            };
            let message = collector.message(spans);
            let sent = self.send(&collector, message).await;
            self.note(&collector, sent, count);
        }
    }

    /// Waits for spans, and a little longer for others; returns whether there are any, as there are until the end.
    async fn gather(
        &mut self,
        receiver: &mut Receiver<SpanData>,
        batch: &mut Vec<SpanData>,
    ) -> bool {
        let mut stop = self.stop.clone();
        let first = tokio::select! {
            received = receiver.recv_many(batch, MOST) => received,
            () = stopped(&mut stop) => {
                // Whoever still ends a span has it counted as one without room.
                receiver.close();
                receiver.recv_many(batch, MOST).await
            }
        };
        if first == 0 {
            return false;
        }
        let deadline = Instant::now() + DELAY;
        while batch.len() < MOST && !*self.stop.borrow() {
            let room = MOST - batch.len();
            tokio::select! {
                more = timeout_at(deadline, receiver.recv_many(batch, room)) => {
                    if !more.is_ok_and(|more| more > 0) {
                        break;
                    }
                }
                () = stopped(&mut stop) => break,
            }
        }
        true
    }

    /// Sends a message until the collector has it, or will not have it in time. At the end there is one try.
    async fn send(&mut self, collector: &Collector, message: Bytes) -> Result<u64, SendError> {
        let deadline = Instant::now() + RETRY_TIMEOUT;
        let mut pause = PAUSE;
        loop {
            let error = match collector.send(message.clone()).await {
                Ok(refused) => return Ok(refused),
                Err(error) => error,
            };
            let after = match &error {
                SendError::Status { after, .. } => *after,
                SendError::Unreachable(_) | SendError::Late => None,
            };
            // So that not all nodes come back at once.
            let wait = after.unwrap_or(pause.mul_f64(fastrand::f64() + 0.5));
            let left = deadline.saturating_duration_since(Instant::now());
            let gives_up = !error.may_pass() || wait > left;
            if gives_up || *self.stop.borrow() {
                return Err(error);
            }
            self.tell(collector, &error);
            let mut stop = self.stop.clone();
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped(&mut stop) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn note(&mut self, collector: &Collector, sent: Result<u64, SendError>, count: usize) {
        let counts = &self.queue.counts;
        match sent {
            Ok(refused) => {
                let refused = usize::try_from(refused).unwrap_or(count).min(count);
                Counts::add(&counts.exported, count - refused);
                Counts::add(&counts.rejected, refused);
                if std::mem::take(&mut self.is_failing) {
                    let lost = counts.no_room.load(Ordering::Relaxed)
                        + counts.failed.load(Ordering::Relaxed);
                    tracing::info!(lost, "the collector takes spans again");
                }
                if refused > 0 && !self.is_refused {
                    tracing::warn!(refused, count, "the collector refuses spans");
                }
                self.is_refused = refused > 0;
            }
            Err(error) => {
                Counts::add(&counts.failed, count);
                self.tell(collector, &error);
            }
        }
    }

    /// Says that spans cannot be sent, where that was not said yet.
    fn tell(&mut self, collector: &Collector, error: &SendError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let (endpoint, room) = (collector.endpoint(), self.queue.capacity());
            tracing::warn!(
                endpoint,
                %error,
                room,
                "spans cannot be sent: those for which there is no room are dropped"
            );
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An exporter that is gone has stopped, too.
    let _ = stop.wait_for(|stop| *stop).await;
}
