//! Group commit: the one writing thread takes all operations that wait, commits them together and then answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::disk::Disk;
use super::writer::{Message, Order};
use crate::clock::Clock;
use crate::session::{RevokedSessions, StoreError};

const LARGEST_BATCH: usize = 1024;
/// How often an idle thread purges expired sessions.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two steps of a purge that is not finished.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);
/// The backoff before the file is reopened after a failure, at first and at most. Opening checks the whole file.
pub(super) const MEND_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_MEND_PAUSE: Duration = Duration::from_secs(8);
/// The pause is at least so many times longer than opening the file takes.
const MEND_SHARE: u32 = 5;

/// What the thread does next.
enum Next {
    GoOn,
    Release(oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    Stop,
}

/// The writing thread's side.
pub(super) struct Batches {
    disk: Arc<Disk>,
    revoked: RevokedSessions,
    clock: Clock,
    /// The pause after the first failure, and the one after the next.
    first_pause: Duration,
    mend_pause: Duration,
    /// When to reopen the file, while it is unusable.
    mend_at: Option<Instant>,
    /// Whether another process has the file.
    released: bool,
    available: Arc<AtomicBool>,
}

impl Batches {
    pub(super) fn new(
        disk: Arc<Disk>,
        revoked: RevokedSessions,
        clock: Clock,
        mend_pause: Duration,
    ) -> Self {
        Self {
            disk,
            revoked,
            clock,
            first_pause: mend_pause,
            mend_pause,
            mend_at: None,
            released: false,
            available: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Returns the flag that says whether the last batch was written.
    pub(super) fn available(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.available)
    }

    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let mut pause = IDLE_PAUSE;
        loop {
            let (orders, next) = gather(inbox, pause);
            let more_to_purge = self.carry_out(orders);
            match next {
                Next::GoOn => {}
                Next::Release(done) => {
                    self.disk.close();
                    self.released = true;
                    self.available.store(false, Ordering::Relaxed);
                    // It fails if the caller no longer waits.
                    let _ = done.send(());
                }
                Next::Resume(done) => {
                    self.released = false;
                    self.mend_at = Some(Instant::now());
                    // Without a pause, since logins are refused until it is open.
                    self.is_usable();
                    let _ = done.send(());
                }
                Next::Stop => break,
            }
            pause = if more_to_purge {
                BACKLOG_PAUSE
            } else {
                IDLE_PAUSE
            };
        }
    }

    /// Runs the operations in one transaction and answers them; returns whether there is more to purge.
    fn carry_out(&mut self, orders: Vec<Order>) -> bool {
        // Operations that are dropped here are answered as "unavailable".
        if !self.is_usable() {
            return false;
        }
        let now = self.clock.unix_secs();
        let mut completions = Vec::with_capacity(orders.len());
        let written = self.disk.write(now, |tables| {
            for order in orders {
                let (completion, verdict) = order(tables);
                completions.push(completion);
                verdict?;
            }
            tables.purge()
        });
        match written {
            Ok(effects) => {
                if effects.changed {
                    self.mend_pause = self.first_pause;
                }
                // Revocations take effect before the answers, so that an answered logout is effective.
                if !effects.revoked.is_empty() {
                    self.revoked.add(effects.revoked);
                }
                self.revoked.forget(now);
                completions
                    .into_iter()
                    .for_each(|complete| complete(Ok(())));
                effects.more_to_purge
            }
            Err(error) => {
                tracing::error!(%error, "sessions could not be written");
                self.mend_later(Duration::ZERO);
                self.available.store(false, Ordering::Relaxed);
                let error = StoreError::Storage(Arc::new(error));
                completions
                    .into_iter()
                    .for_each(|complete| complete(Err(error.clone())));
                false
            }
        }
    }

    /// Reopens the file when it is time to: redb accepts nothing after a failed commit.
    fn is_usable(&mut self) -> bool {
        if self.released {
            return false;
        }
        let Some(mend_at) = self.mend_at else {
            return true;
        };
        if Instant::now() < mend_at {
            return false;
        }
        let began = Instant::now();
        match self.mend() {
            Ok(()) => {
                tracing::info!("sessions can be written again");
                self.mend_at = None;
                self.available.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the session store cannot be opened again");
                self.mend_later(began.elapsed());
                false
            }
        }
    }

    /// Schedules reopening the file with exponential backoff, longer if opening takes long.
    fn mend_later(&mut self, took: Duration) {
        let pause = self.mend_pause.max(took.saturating_mul(MEND_SHARE));
        self.mend_at = Some(Instant::now() + pause);
        self.mend_pause = self.mend_pause.saturating_mul(2).min(LONGEST_MEND_PAUSE);
    }

    fn mend(&self) -> Result<(), redb::Error> {
        self.disk.reopen()?;
        self.disk.try_out()?;
        // A failed commit may have reached the disk all the same.
        self.revoked.add(self.disk.revocations()?);
        Ok(())
    }
}

impl Drop for Batches {
    /// However the thread ended.
    fn drop(&mut self) {
        self.disk.close();
        self.available.store(false, Ordering::Relaxed);
    }
}

/// Waits for the first message, then takes all others that wait; returns what to do next.
fn gather(inbox: &Receiver<Message>, pause: Duration) -> (Vec<Order>, Next) {
    let mut orders = Vec::new();
    let mut next = match inbox.recv_timeout(pause) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => return (orders, Next::Stop),
    };
    while let Some(message) = next {
        match message {
            Message::Order(order) => orders.push(order),
            Message::Release(done) => return (orders, Next::Release(done)),
            Message::Resume(done) => return (orders, Next::Resume(done)),
            Message::Stop => return (orders, Next::Stop),
        }
        next = if orders.len() < LARGEST_BATCH {
            inbox.try_recv().ok()
        } else {
            None
        };
    }
    (orders, Next::GoOn)
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
