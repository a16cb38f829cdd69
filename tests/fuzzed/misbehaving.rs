//! A gateway before a server that misbehaves as a case says, and serves everybody else properly.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use menshen_test_support::{TestGateway, raw};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What the gateway waits for a side that says nothing.
const PATIENCE: &str = "500ms";
/// When every exchange must be over: head, body and answer may each take their time.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// The cases that are under way, by the path that their request asks for.
pub(super) type Scripts<C> = Arc<Mutex<HashMap<String, C>>>;
/// What servers were sent.
pub(super) type Seen = Arc<Mutex<String>>;

pub(super) struct Fixture<C> {
    runtime: Runtime,
    t: TestGateway,
    scripts: Scripts<C>,
    seen: Seen,
    cases: Cell<usize>,
}

impl<C: Clone + Send + 'static> Fixture<C> {
    /// Starts both, with these lines for the upstream, and `serve` for each of the server's connections.
    pub(super) fn new<F>(
        lines: &str,
        serve: impl Fn(TcpStream, Scripts<C>, Seen) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Runtime::new().unwrap();
        let (scripts, seen) = (Scripts::<C>::default(), Seen::default());
        let t = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (scripts, seen) = (Arc::clone(&scripts), Arc::clone(&seen));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&scripts), Arc::clone(&seen)));
                }
            });
            let upstream = format!(
                "[[upstream]]\nname = \"odd\"\nservers = [\"{address}\"]\n{lines}\nmax_fails = 0\n\
                 read_timeout = \"{PATIENCE}\"\nwrite_timeout = \"{PATIENCE}\"\n"
            );
            let server = format!(
                "client_timeout = \"{PATIENCE}\"\nhead_timeout = \"{PATIENCE}\"\nkeepalive = \"{PATIENCE}\"\n\
                 max_body = \"64KiB\"\n"
            );
            TestGateway::builder()
                .section("server", &server)
                .upstreams(&upstream)
                .routes("[[route]]\nupstream = \"odd\"\nauth = \"public\"\n")
                .start()
                .await
        });
        Self {
            runtime,
            t,
            scripts,
            seen,
            cases: Cell::new(0),
        }
    }

    /// Plays a case; returns what the client got, and what the server was sent.
    pub(super) fn play<T>(
        &self,
        case: &C,
        ask: impl AsyncFnOnce(&TestGateway, &str) -> T,
    ) -> (T, String) {
        self.cases.set(self.cases.get() + 1);
        let name = format!("case-{}", self.cases.get());
        let scripts = || self.scripts.lock().unwrap();
        scripts().insert(name.clone(), case.clone());
        self.seen.lock().unwrap().clear();
        let came = self.runtime.block_on(ask(&self.t, &name));
        scripts().remove(&name);
        (came, self.seen.lock().unwrap().to_lowercase())
    }

    /// Checks that somebody else is served.
    pub(super) fn serves_others(&self) -> TestCaseResult {
        let request = b"GET /alive HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answer = self.runtime.block_on(raw(self.t.address, request));
        prop_assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"),
            "{answer}"
        );
        Ok(())
    }
}
