//! The handle of the one thread that writes the store.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::StorageError;
use tokio::sync::oneshot;

use super::ANSWER_TIMEOUT;
use super::batches::{Batches, MEND_PAUSE};
use super::disk::Disk;
use super::operations::Tables;
use super::tables::Fault;
use crate::clock::Clock;
use crate::session::{RevokedSessions, StoreError};

/// The most operations that wait; more are refused, since by then the disk has stalled.
pub(super) const QUEUE: usize = 8192;
/// The pause before a message that must not be lost is sent again.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Tells whoever submitted an operation whether its batch was committed.
pub(super) type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
pub(super) type Order =
    Box<dyn FnOnce(&mut Tables<'_>) -> (Completion, Result<(), StorageError>) + Send>;

pub(super) enum Message {
    Order(Order),
    /// Close the file, and answer when that is done.
    Release(oneshot::Sender<()>),
    /// Open the file again, and answer when that was tried.
    Resume(oneshot::Sender<()>),
    Stop,
}

/// The handle of the writing thread; the thread stops when it is dropped.
pub(super) struct Writer {
    messages: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    accepted: AtomicU64,
    available: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn start(
        disk: Arc<Disk>,
        revoked: RevokedSessions,
        clock: Clock,
    ) -> io::Result<Self> {
        let (messages, inbox) = sync_channel(QUEUE);
        let batches = Batches::new(disk, revoked, clock, MEND_PAUSE);
        let available = batches.available();
        let thread = thread::Builder::new()
            .name("session-writer".to_owned())
            .spawn(move || batches.run(&inbox))?;
        Ok(Self {
            messages,
            thread: Mutex::new(Some(thread)),
            accepted: AtomicU64::new(0),
            available,
        })
    }

    /// Runs an operation; it is durable when this returns `Ok`.
    ///
    /// An accepted operation runs whether or not the caller still waits.
    pub(super) async fn submit<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (order, answer) = order(operation);
        match self.messages.try_send(Message::Order(order)) {
            Ok(()) => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Full(_)) => return Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(StoreError::Unavailable),
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable),
        }
    }

    /// Returns how many operations were accepted so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns whether the last batch was written.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Finishes the accepted operations and closes the file, so that another process can open it.
    pub(super) async fn release(&self) {
        self.tell(Message::Release).await;
    }

    /// Opens the file again after [`Self::release`].
    pub(super) async fn resume(&self) {
        self.tell(Message::Resume).await;
    }

    /// Sends a message that must not be lost, and waits until it was handled, or the disk hangs.
    async fn tell(&self, message: impl FnOnce(oneshot::Sender<()>) -> Message) {
        let (done, is_done) = oneshot::channel();
        let mut message = message(done);
        while let Err(TrySendError::Full(back)) = self.messages.try_send(message) {
            message = back;
            tokio::time::sleep(FULL_PAUSE).await;
        }
        // It fails if the thread has ended, which has closed the file as well.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, is_done).await;
    }

    /// Finishes the accepted operations, closes the file and ends the thread.
    pub(super) fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = self.messages.send(Message::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Wraps an operation so that its outcome is sent once its batch was committed or has failed.
pub(super) fn order<T: Send + 'static>(
    operation: impl FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
) -> (Order, oneshot::Receiver<Result<T, StoreError>>) {
    let (reply, answer) = oneshot::channel();
    let order: Order = Box::new(move |tables| {
        let (outcome, verdict) = match operation(tables) {
            Ok(value) => (Ok(value), Ok(())),
            Err(Fault::Damaged) => (Err(StoreError::Damaged), Ok(())),
            Err(Fault::Storage(error)) => (Err(StoreError::Unavailable), Err(error)),
        };
        let completion: Completion = Box::new(move |committed| {
            // It fails if the caller no longer waits.
            let _ = reply.send(committed.and(outcome));
        });
        (completion, verdict)
    });
    (order, answer)
}
