//! The one thread that changes the store: it takes all that is waiting, commits it at once and then answers.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::StorageError;
use tokio::sync::oneshot;

use super::disk::Disk;
use super::operations::Tables;
use super::tables::Fault;
use crate::clock::Clock;
use crate::session::{RevokedSessions, StoreError};

/// Orders that may wait; more are refused, since by then the disk has stalled.
const QUEUE: usize = 8192;
/// How long anybody waits for an answer: a disk that hangs must not hold logins for ever.
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_BATCH: usize = 1024;
/// How often the thread looks for something to purge when nobody asks for anything.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two steps of a purge that is not finished.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);
/// How long after a failure the file is opened again; it checks the whole file, so not at once.
const MEND_PAUSE: Duration = Duration::from_secs(1);

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Order = Box<dyn FnOnce(&mut Tables<'_>) -> (Answer, Result<(), StorageError>) + Send>;

enum Message {
    Order(Order),
    /// To give the file up, and say so when that is done.
    Release(oneshot::Sender<()>),
    /// To take the file back, and say so when that was tried.
    Resume(oneshot::Sender<()>),
    Stop,
}

/// What follows a batch.
enum Next {
    GoOn,
    Release(oneshot::Sender<()>),
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
        let available = Arc::clone(&batches.available);
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

    /// Has an operation carried out; it is on the disk when this returns `Ok`.
    ///
    /// Once it was accepted it happens, whether or not anybody still waits for the answer.
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
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable),
        }
    }

    /// Returns how many operations were accepted so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Tells whether the last batch could be written.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Finishes what was accepted and gives the file up, so that another process can have it.
    pub(super) async fn release(&self) {
        let (done, released) = oneshot::channel();
        if self.messages.try_send(Message::Release(done)).is_ok() {
            // It fails when the thread has ended, which has closed the file as well.
            let _ = released.await;
        }
    }

    /// Takes the file back after [`Self::release`].
    pub(super) async fn resume(&self) {
        let (done, resumed) = oneshot::channel();
        let mut order = Message::Resume(done);
        // Lost, it would leave the store away for ever.
        while let Err(TrySendError::Full(back)) = self.messages.try_send(order) {
            order = back;
            tokio::time::sleep(BACKLOG_PAUSE).await;
        }
        let _ = resumed.await;
    }

    /// Finishes what was accepted, closes the file and ends the thread.
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

/// Makes an order that sends the operation's outcome once the fate of its batch is known.
fn order<T: Send + 'static>(
    operation: impl FnOnce(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
) -> (Order, oneshot::Receiver<Result<T, StoreError>>) {
    let (reply, answer) = oneshot::channel();
    let order: Order = Box::new(move |tables| {
        let (outcome, verdict) = match operation(tables) {
            Ok(value) => (Ok(value), Ok(())),
            Err(Fault::Damaged) => (Err(StoreError::Damaged), Ok(())),
            Err(Fault::Storage(error)) => (Err(StoreError::Unavailable), Err(error)),
        };
        let answer: Answer = Box::new(move |committed| {
            // Nobody waits any more when this fails.
            let _ = reply.send(committed.and(outcome));
        });
        (answer, verdict)
    });
    (order, answer)
}

/// The writing thread's side.
struct Batches {
    disk: Arc<Disk>,
    revoked: RevokedSessions,
    clock: Clock,
    mend_pause: Duration,
    /// Set while the file is unusable: when to open it again.
    mend_at: Option<Instant>,
    /// Set while another process has the file.
    released: bool,
    available: Arc<AtomicBool>,
}

impl Batches {
    fn new(disk: Arc<Disk>, revoked: RevokedSessions, clock: Clock, mend_pause: Duration) -> Self {
        Self {
            disk,
            revoked,
            clock,
            mend_pause,
            mend_at: None,
            released: false,
            available: Arc::new(AtomicBool::new(true)),
        }
    }

    fn run(mut self, inbox: &Receiver<Message>) {
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
                    // Nobody waits any more when this fails.
                    let _ = done.send(());
                }
                Next::Resume(done) => {
                    self.released = false;
                    self.mend_at = Some(Instant::now());
                    // At once: logins are refused until it is available.
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
        self.disk.close();
        self.available.store(false, Ordering::Relaxed);
    }

    /// Makes one transaction of the orders and answers them; tells whether there is more to purge.
    fn carry_out(&mut self, orders: Vec<Order>) -> bool {
        // Orders that are dropped here are answered as "unavailable".
        if !self.is_usable() {
            return false;
        }
        let now = self.clock.unix_secs();
        let mut answers = Vec::with_capacity(orders.len());
        let written = self.disk.write(now, |tables| {
            for order in orders {
                let (answer, verdict) = order(tables);
                answers.push(answer);
                verdict?;
            }
            tables.purge()
        });
        match written {
            Ok(effects) => {
                // Before the answers, so that a logout that was answered is one that works.
                if !effects.revoked.is_empty() {
                    self.revoked.add(effects.revoked);
                }
                self.revoked.forget(now);
                answers.into_iter().for_each(|answer| answer(Ok(())));
                effects.more_to_purge
            }
            Err(error) => {
                tracing::error!(%error, "sessions could not be written");
                self.mend_at = Some(Instant::now() + self.mend_pause);
                self.available.store(false, Ordering::Relaxed);
                let error = StoreError::Storage(Arc::new(error));
                answers
                    .into_iter()
                    .for_each(|answer| answer(Err(error.clone())));
                false
            }
        }
    }

    /// Opens the file again when it is time to; the engine refuses to go on after a failed commit.
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
        match self.mend() {
            Ok(()) => {
                tracing::info!("sessions can be written again");
                self.mend_at = None;
                self.available.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the session store cannot be opened again");
                self.mend_at = Some(Instant::now() + self.mend_pause);
                false
            }
        }
    }

    fn mend(&self) -> Result<(), redb::Error> {
        self.disk.reopen()?;
        self.disk.load()?;
        // A commit that failed may have reached the disk all the same.
        self.revoked.add(self.disk.revocations()?);
        Ok(())
    }
}

/// Waits for the first message, then takes what else is there; tells what follows.
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
mod tests {
    use std::fs::OpenOptions;
    use std::path::{Path, PathBuf};

    use futures::FutureExt;
    use redb::backends::FileBackend;
    use redb::{Database, StorageBackend};
    use tempfile::TempDir;

    use super::*;
    use crate::session::contract::identity;
    use crate::session::embedded::disk::{self, Opener};
    use crate::session::embedded::tables::{SESSIONS, rows_of};
    use crate::session::store::Login;
    use crate::session::{Lifetimes, SessionId};

    const LIFETIMES: Lifetimes = Lifetimes {
        session_ttl: Duration::from_secs(3600),
        refresh_grace: Duration::from_secs(30),
        token_ttl: Duration::from_secs(60),
    };

    /// A disk that can be told to fail, and counts how often it was told to keep what it has.
    #[derive(Debug)]
    struct Fragile {
        file: FileBackend,
        switch: Arc<Switch>,
    }

    #[derive(Debug, Default)]
    struct Switch {
        failing: AtomicBool,
        syncs: AtomicU64,
    }

    impl Fragile {
        fn check(&self) -> io::Result<()> {
            if self.switch.failing.load(Ordering::Relaxed) {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        }
    }

    impl StorageBackend for Fragile {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.file.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.check()?;
            self.switch.syncs.fetch_add(1, Ordering::Relaxed);
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            self.file.write(offset, data)
        }
    }

    struct Bench {
        batches: Batches,
        disk: Arc<Disk>,
        clock: Clock,
        switch: Arc<Switch>,
        _folder: TempDir,
    }

    fn bench(prepare: impl FnOnce(&Path)) -> Bench {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        disk::create(folder.path(), &path, b"check").unwrap();
        prepare(&path);
        let switch = Arc::new(Switch::default());
        let opener = fragile(path, Arc::clone(&switch));
        let disk = Arc::new(Disk::open(opener, LIFETIMES).unwrap());
        disk.load().unwrap();
        let clock = Clock::system();
        let revoked = RevokedSessions::default();
        let batches = Batches::new(Arc::clone(&disk), revoked, clock.clone(), Duration::ZERO);
        Bench {
            batches,
            disk,
            clock,
            switch,
            _folder: folder,
        }
    }

    fn fragile(path: PathBuf, switch: Arc<Switch>) -> Opener {
        Box::new(move || {
            let file = OpenOptions::new().read(true).write(true).open(&path);
            Database::builder().create_with_backend(Fragile {
                file: FileBackend::new(file?)?,
                switch: Arc::clone(&switch),
            })
        })
    }

    fn sid(n: usize) -> SessionId {
        let mut bytes = *identity("alice").user().as_bytes();
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    fn login(n: usize) -> (Order, oneshot::Receiver<Result<(), StoreError>>) {
        order(move |tables| {
            let login = Login {
                sid: sid(n),
                user: identity("alice").user(),
                identity: identity("alice"),
                first: [0; 16],
                sealed_key: b"sealed".to_vec(),
                memo: None,
            };
            tables.add(login).map(drop)
        })
    }

    fn logout(n: usize) -> (Order, oneshot::Receiver<Result<bool, StoreError>>) {
        order(move |tables| tables.end(sid(n)))
    }

    impl Bench {
        fn fail(&self, failing: bool) {
            self.switch.failing.store(failing, Ordering::Relaxed);
        }

        fn syncs_of(&mut self, logins: std::ops::Range<usize>) -> u64 {
            let before = self.switch.syncs.load(Ordering::Relaxed);
            self.batches.carry_out(logins.map(|n| login(n).0).collect());
            self.switch.syncs.load(Ordering::Relaxed) - before
        }

        fn stored(&self) -> usize {
            let user = identity("alice").user();
            let all = self.disk.read(
                |index| index.of_user(user).collect::<Vec<_>>(),
                |rows, places| {
                    Ok(rows_of(rows, user, places.into_iter())
                        .filter(Result::is_ok)
                        .count())
                },
            );
            all.unwrap()
        }
    }

    #[test]
    fn when_a_commit_fails_everybody_is_told_and_nothing_is_stored() {
        let mut bench = bench(|_| {});
        let (first, mut first_answer) = login(1);
        let (second, mut second_answer) = login(2);
        bench.fail(true);
        bench.batches.carry_out(vec![first, second]);
        for answer in [&mut first_answer, &mut second_answer] {
            let answer = answer.try_recv().unwrap();
            assert!(matches!(answer, Err(StoreError::Storage(_))));
        }
        bench.fail(false);
        bench.batches.carry_out(Vec::new());
        assert_eq!(bench.stored(), 0);
    }

    #[test]
    fn when_the_disk_fails_in_the_middle_of_a_batch_all_of_it_is_undone() {
        let mut bench = bench(|_| {});
        let (before, mut before_answer) = login(1);
        let (broken, _) = order(|_| Err::<(), _>(Fault::Storage(StorageError::PreviousIo)));
        bench.batches.carry_out(vec![before, broken]);
        let answer = before_answer.try_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Storage(_))));
        assert_eq!(bench.stored(), 0);
    }

    #[test]
    fn a_disk_that_works_again_is_used_again() {
        let mut bench = bench(|_| {});
        bench.fail(true);
        for _ in 0..3 {
            let (order, mut answer) = login(1);
            bench.batches.carry_out(vec![order]);
            assert!(!matches!(answer.try_recv(), Ok(Ok(()))));
        }
        bench.fail(false);
        let (order, mut answer) = login(2);
        bench.batches.carry_out(vec![order]);
        assert!(matches!(answer.try_recv(), Ok(Ok(()))));
        assert_eq!(bench.stored(), 1);
    }

    #[test]
    fn a_hundred_logins_that_wait_cost_the_disk_as_much_as_one() {
        let mut bench = bench(|_| {});
        let one = bench.syncs_of(0..1);
        assert!(one > 0);
        assert_eq!(bench.syncs_of(1..101), one);
    }

    #[test]
    fn a_batch_that_changes_nothing_leaves_the_disk_alone() {
        let mut bench = bench(|_| {});
        assert_eq!(bench.syncs_of(0..0), 0);
    }

    #[tokio::test]
    async fn a_queue_that_is_full_refuses_instead_of_growing() {
        let bench = bench(|_| {});
        let disk = Arc::clone(&bench.disk);
        let writer = Writer::start(disk, RevokedSessions::default(), bench.clock.clone());
        let writer = writer.unwrap();
        let (started, has_started) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let stalled = writer.submit(move |_| {
            started.send(()).unwrap();
            Ok(may_go_on.recv().is_err())
        });
        assert!(stalled.now_or_never().is_none());
        has_started.recv().unwrap();
        for _ in 0..QUEUE {
            assert!(writer.submit(|_| Ok(())).now_or_never().is_none());
        }
        let refused = writer.submit(|_| Ok(())).now_or_never();
        assert!(matches!(refused, Some(Err(StoreError::Busy))));
        drop(go_on);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_holds_nobody_for_ever() {
        let bench = bench(|_| {});
        let disk = Arc::clone(&bench.disk);
        let writer = Writer::start(disk, RevokedSessions::default(), bench.clock.clone());
        let writer = writer.unwrap();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let answer = writer.submit(move |_| Ok(may_go_on.recv().is_err())).await;
        assert!(matches!(answer, Err(StoreError::Unavailable)));
        drop(go_on);
    }

    #[test]
    fn a_damaged_record_fails_nobody_else() {
        let mut bench = bench(|path| {
            let database = Database::open(path).unwrap();
            let transaction = database.begin_write().unwrap();
            let mut sessions = transaction.open_table(SESSIONS).unwrap();
            let row = [sid(7).as_bytes(), &b"nonsense"[..]].concat();
            sessions.insert(0, row.as_slice()).unwrap();
            drop(sessions);
            transaction.commit().unwrap();
        });
        let (before, mut before_answer) = login(1);
        let (damaged, mut damaged_answer) = logout(7);
        let (after, mut after_answer) = login(2);
        bench.batches.carry_out(vec![before, damaged, after]);
        let answer = damaged_answer.try_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Damaged)));
        assert!(matches!(before_answer.try_recv(), Ok(Ok(()))));
        assert!(matches!(after_answer.try_recv(), Ok(Ok(()))));
        assert_eq!(bench.stored(), 2);
    }

    #[test]
    fn expired_sessions_go_in_small_steps_without_being_asked_for() {
        let mut bench = bench(|_| {});
        let orders = (0..150).map(|n| login(n).0).collect();
        bench.batches.carry_out(orders);
        bench.clock.advance(LIFETIMES.session_ttl);
        assert!(bench.batches.carry_out(Vec::new()));
        assert_eq!(bench.stored(), 150 - 64);
        assert!(bench.batches.carry_out(Vec::new()));
        assert!(!bench.batches.carry_out(Vec::new()));
        assert_eq!(bench.stored(), 0);
    }

    #[test]
    fn a_logout_is_in_memory_by_the_time_it_is_answered() {
        let mut bench = bench(|_| {});
        let (order, mut answer) = logout(1);
        bench.batches.carry_out(vec![order]);
        assert!(matches!(answer.try_recv(), Ok(Ok(false))));
        assert!(bench.batches.revoked.contains(&sid(1)));
    }
}
