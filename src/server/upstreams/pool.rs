//! Keeps the idle connections of one server that speaks HTTP/1.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use pingora::protocols::l4::socket::SocketAddr;

use super::reuse::{LASTING, Reuse};
use crate::server::http1::Buffered;
use crate::server::workers::Workers;

/// Counts the idle connections of all servers.
#[derive(Clone, Debug)]
pub(super) struct Room {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// The idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Whether a reload replaced the upstream, so that nothing is kept any more.
    is_retired: AtomicBool,
}

/// A connection, and the thread whose runtime watches it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) wire: Buffered,
    pub(super) worker: usize,
}

#[derive(Debug)]
struct Idle {
    kept: Kept,
    place: SocketAddr,
    /// How often the files had changed when it was made.
    revision: u32,
    since: Instant,
    _room: Taken,
}

/// One place in a [`Room`].
#[derive(Debug)]
struct Taken(Arc<AtomicUsize>);

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self {
            taken: Arc::default(),
            most,
        }
    }

    fn take(&self) -> Option<Taken> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let taken = Taken(Arc::clone(&self.taken));
        (before < self.most).then_some(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Takes the connection to an address that was used last, of those that may be used again.
    ///
    /// One that another thread watches wakes that thread for each response. So it is taken only after it has been idle for
    /// a while, when requests are too rare for that to matter.
    pub(super) fn take(&self, place: &SocketAddr, revision: u32, reuse: Reuse) -> Option<Kept> {
        let now = Instant::now();
        let here = Workers::current();
        let fits = |idle: &Idle| {
            let is_lasting = || now.saturating_duration_since(idle.since) >= LASTING;
            idle.place == *place
                && idle.revision == revision
                && match reuse {
                    Reuse::Any => idle.kept.worker == here || is_lasting(),
                    Reuse::Lasting => is_lasting(),
                    Reuse::Never => false,
                }
        };
        loop {
            let mut idle = self.idle();
            let at = idle.iter().rposition(fits)?;
            let found = idle.remove(at);
            drop(idle);
            let mut kept = found.kept;
            if is_open(&mut kept.wire) {
                return Some(kept);
            }
        }
    }

    /// Keeps a connection on which nothing is under way.
    pub(super) fn put(&self, mut kept: Kept, place: SocketAddr, revision: u32, room: &Room) {
        if !is_open(&mut kept.wire) {
            return;
        }
        let Some(room) = room.take() else { return };
        let given = Idle {
            kept,
            place,
            revision,
            since: Instant::now(),
            _room: room,
        };
        let mut idle = self.idle();
        // Read while the list is locked: `retire` either finds the connection there, or was before.
        if !self.is_retired.load(Ordering::Relaxed) {
            idle.push(given);
        }
    }

    /// Closes all, and whatever is put here from now on.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
        let closed = std::mem::take(&mut *self.idle());
        drop(closed);
    }

    /// Closes the connection that has been idle for longest, and tells whether there was one.
    pub(super) fn close_one(&self) -> bool {
        let mut idle = self.idle();
        let closed = (!idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        closed.is_some()
    }

    /// Closes what was idle for too long, was closed by the server, or was made before the files changed.
    pub(super) fn sweep(&self, keepalive: Duration, revision: u32) {
        let now = Instant::now();
        let mut idle = self.idle();
        let (kept, closed) = std::mem::take(&mut *idle).into_iter().partition(|idle| {
            idle.revision == revision && now.saturating_duration_since(idle.since) < keepalive
        });
        *idle = kept;
        idle.retain_mut(|idle| is_open(&mut idle.kept.wire));
        drop(idle);
        let _: Vec<Idle> = closed;
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a server has neither closed an idle connection nor said anything on it.
fn is_open(wire: &mut Buffered) -> bool {
    let read = poll_fn(|cx| wire.poll_fill(cx));
    // Within its budget a task may be told to wait for what is there.
    tokio::task::unconstrained(read).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::stream::Stream;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_connection_of_another_thread_is_taken_only_once_it_rests() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = SocketAddr::from(address);
        let (pool, room) = (Pool::default(), Room::new(8));
        let mut servers = Vec::new();
        for worker in [Workers::current(), Workers::current() + 1] {
            let stream = TcpStream::connect(address).await.unwrap();
            servers.push(listener.accept().await.unwrap());
            let wire = Buffered::new(Box::new(Stream::from(stream)));
            pool.put(Kept { wire, worker }, place.clone(), 0, &room);
        }
        let take = || pool.take(&place, 0, Reuse::Any);
        assert_eq!(take().unwrap().worker, Workers::current());
        assert!(take().is_none(), "the other thread may still use it");
        for idle in pool.idle().iter_mut() {
            idle.since -= LASTING;
        }
        assert_eq!(take().unwrap().worker, Workers::current() + 1);
    }
}
