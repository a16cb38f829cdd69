//! The threads that serve connections: each runs the tasks of its own connections, and takes none from another.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::metrics::count_as;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Where the tasks of connections run.
///
/// A runtime that steals work moves a connection between cores, and wakes one thread to look for work whenever another
/// has some. Here a connection stays on its thread, as do the connections to servers that its requests use.
#[derive(Clone, Debug)]
pub struct Workers {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

/// The threads, which end when this is dropped.
#[derive(Debug)]
pub struct WorkerThreads {
    workers: Workers,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Runs the tasks of connections on the runtime of the caller, with those of everything else.
    pub fn here() -> Self {
        Self::new(vec![Handle::current()])
    }

    fn new(handles: Vec<Handle>) -> Self {
        Self {
            handles: handles.into(),
            next: Arc::default(),
        }
    }

    /// Returns the runtime for the next connection: each in turn, since all connections last about equally long.
    pub(in crate::server) fn next(&self) -> &Handle {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        #[expect(
            clippy::indexing_slicing,
            reason = "a remainder is less than the length"
        )]
        &self.handles[at]
    }

    /// Waits until each of them has done a task, which one that hangs never does.
    pub(in crate::server) async fn all_answer(&self) {
        let tasks: Vec<_> = self
            .handles
            .iter()
            .map(|handle| handle.spawn(async {}))
            .collect();
        for task in tasks {
            // One that was dropped with its runtime is an answer as well.
            let _ = task.await;
        }
    }

    /// Returns the number of the thread that asks; all that are no workers share one.
    pub(in crate::server) fn current() -> usize {
        CURRENT.get()
    }
}

impl WorkerThreads {
    /// Starts so many threads, or one for each core where `count` is 0.
    pub fn start(count: usize) -> io::Result<Self> {
        let count = match count {
            0 => std::thread::available_parallelism()?.get(),
            count => count,
        };
        let (stop, stopped) = watch::channel(false);
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let mut stopped = stopped.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            threads.push(thread.spawn(move || {
                CURRENT.set(number);
                count_as(number);
                // An error is the sender's end, which is a stop too.
                let _ = runtime.block_on(stopped.wait_for(|&stop| stop)).is_ok();
            })?);
        }
        Ok(Self {
            workers: Workers::new(handles),
            stop,
            threads,
        })
    }

    /// Returns a handle of the threads, for whoever has tasks for them.
    pub fn workers(&self) -> Workers {
        self.workers.clone()
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that has panicked has ended as well.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_thread_gets_its_share_and_keeps_its_tasks() {
        let threads = WorkerThreads::start(3).unwrap();
        let workers = threads.workers();
        let task = || async {
            let before = Workers::current();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            (before, Workers::current())
        };
        let tasks: Vec<_> = (0..9).map(|_| workers.next().spawn(task())).collect();
        let mut counts = [0; 4];
        for task in tasks {
            let (before, after) = task.await.unwrap();
            assert_eq!(before, after);
            counts[before] += 1;
        }
        assert_eq!(counts, [0, 3, 3, 3]);
        assert_eq!(Workers::current(), 0, "this thread is no worker");
    }

    #[tokio::test]
    async fn threads_end_with_what_runs_on_them() {
        let threads = WorkerThreads::start(1).unwrap();
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        threads.workers().next().spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(threads);
        assert!(gone.await.is_err(), "the task was dropped");
    }
}
