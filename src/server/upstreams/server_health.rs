//! Whether a server is up: by health checks (active), and by the failures of exchanges (passive, outlier detection).

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most clients that are remembered of those whose requests failed.
const MAX_FAILED_CLIENTS: usize = 64;

/// The health of a server.
#[derive(Debug)]
pub(super) struct ServerHealth {
    start: Instant,
    /// The result of the latest health checks.
    unhealthy: AtomicBool,
    /// Failures since the last answer.
    fails: AtomicU32,
    /// The clients whose requests failed since then.
    failed_clients: Mutex<Vec<IpAddr>>,
    /// Milliseconds after `start` until which it gets no requests.
    out_until: AtomicU64,
}

impl ServerHealth {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            unhealthy: AtomicBool::new(false),
            fails: AtomicU32::new(0),
            failed_clients: Mutex::default(),
            out_until: AtomicU64::new(0),
        }
    }

    /// Returns whether it gets requests.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        let out = self.out_until.load(Ordering::Relaxed);
        !self.unhealthy.load(Ordering::Relaxed) && (out == 0 || self.millis(now) >= out)
    }

    /// Records a failure, and returns whether that takes the server out.
    ///
    /// A client's request may be the reason, so only the first failure of each client counts. A server that fails again after
    /// its `fail_timeout` is out again at once.
    pub(super) fn failed(
        &self,
        over: Option<IpAddr>,
        max_fails: u32,
        fail_timeout: Duration,
        now: Instant,
    ) -> bool {
        if over.is_some_and(|client| !self.is_new(client)) {
            return false;
        }
        let fails = self.fails.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if max_fails == 0 || fails < max_fails {
            return false;
        }
        let was_up = self.is_up(now);
        let until = self.millis(now + fail_timeout).max(1);
        self.out_until.store(until, Ordering::Relaxed);
        was_up
    }

    /// Records a response.
    pub(super) fn answered(&self) {
        // Nearly always there is nothing to write, and reading leaves the cache line shared.
        if self.fails.load(Ordering::Relaxed) > 0 {
            self.fails.store(0, Ordering::Relaxed);
            self.out_until.store(0, Ordering::Relaxed);
            let failed_clients = self.failed_clients.lock();
            failed_clients
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
    }

    /// Records a client, and returns whether none of its requests had failed before.
    fn is_new(&self, client: IpAddr) -> bool {
        let failed_clients = self.failed_clients.lock();
        let mut failed_clients = failed_clients.unwrap_or_else(PoisonError::into_inner);
        if failed_clients.contains(&client) {
            return false;
        }
        if failed_clients.len() == MAX_FAILED_CLIENTS {
            failed_clients.remove(0);
        }
        failed_clients.push(client);
        true
    }

    /// Records the result of health checks.
    pub(super) fn checked(&self, well: bool) {
        self.unhealthy.store(!well, Ordering::Relaxed);
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Duration = Duration::from_secs(10);

    #[test]
    fn failures_in_a_row_take_a_server_out_for_a_while() {
        let (health, now) = (ServerHealth::new(), Instant::now());
        assert!(!health.failed(None, 2, OUT, now));
        assert!(health.is_up(now));
        assert!(health.failed(None, 2, OUT, now));
        assert!(!health.failed(None, 2, OUT, now), "it is out already");
        assert!(!health.is_up(now));
        let later = now + OUT + Duration::from_millis(1);
        assert!(health.is_up(later));
        assert!(
            health.failed(None, 2, OUT, later),
            "one more failure is enough"
        );
        assert!(!health.is_up(later));
    }

    #[test]
    fn one_client_alone_takes_no_server_out() {
        let (health, now) = (ServerHealth::new(), Instant::now());
        let client = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
        for _ in 0..100 {
            assert!(!health.failed(client(1), 3, OUT, now));
        }
        assert!(!health.failed(client(2), 3, OUT, now));
        health.answered();
        for n in 1..3 {
            assert!(!health.failed(client(n), 3, OUT, now));
            assert!(!health.failed(client(n), 3, OUT, now));
        }
        assert!(health.failed(client(3), 3, OUT, now));
        let later = now + OUT + Duration::from_millis(1);
        assert!(!health.failed(client(1), 3, OUT, later));
        assert!(health.is_up(later));
        assert!(health.failed(client(4), 3, OUT, later));
        health.answered();
        for n in 0..=255 {
            health.failed(client(n), 0, OUT, now);
        }
        assert_eq!(
            health.failed_clients.lock().unwrap().len(),
            MAX_FAILED_CLIENTS
        );
    }

    #[test]
    fn an_answer_wipes_the_failures_off() {
        let (health, now) = (ServerHealth::new(), Instant::now());
        health.failed(None, 2, OUT, now);
        health.answered();
        assert!(!health.failed(None, 2, OUT, now));
        health.failed(None, 2, OUT, now);
        health.answered();
        assert!(health.is_up(now));
    }

    #[test]
    fn with_no_limit_nothing_takes_a_server_out_but_its_health() {
        let (health, now) = (ServerHealth::new(), Instant::now());
        for _ in 0..100 {
            assert!(!health.failed(None, 0, OUT, now));
        }
        assert!(health.is_up(now));
        health.checked(false);
        assert!(!health.is_up(now));
        health.checked(true);
        assert!(health.is_up(now));
    }
}
