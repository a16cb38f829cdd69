//! A gateway for generated clients, and what must hold of everything that it forwards.

use proptest::prelude::{TestCaseError, prop_assert, prop_assert_eq};
use proptest::test_runner::TestCaseResult;
use tokio::runtime::Runtime;

use crate::{Strict, StrictRequest, TestGateway, folded, raw};

/// A gateway in front of a [`Strict`] backend, on a runtime that all cases share; it is patient for three seconds.
///
/// `/` is required, `/public` public and `/optional` optional.
pub struct Fuzzed {
    /// Runs all of it.
    pub runtime: Runtime,
    /// The gateway.
    pub t: TestGateway,
    /// The backend of every route.
    pub backend: Strict,
    /// A valid token.
    pub token: String,
}

impl Default for Fuzzed {
    fn default() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (t, backend, token) = runtime.block_on(async {
            let backend = Strict::start().await;
            let routes = "[[route]]\npath = \"/\"\nupstream = \"strict\"\n\
                          [[route]]\npath = \"/public\"\nupstream = \"strict\"\nauth = \"public\"\n\
                          [[route]]\npath = \"/optional\"\nupstream = \"strict\"\nauth = \"optional\"\n";
            let upstream = format!(
                "[[upstream]]\nname = \"strict\"\nservers = [\"{}\"]\n\
                 read_timeout = \"3s\"\nwrite_timeout = \"3s\"\n",
                backend.address
            );
            let server = "client_timeout = \"3s\"\nhead_timeout = \"3s\"\nkeepalive = \"3s\"\n";
            let t = TestGateway::builder()
                .section("server", server)
                .routes(routes)
                .upstreams(&upstream)
                .start()
                .await;
            let token = t.log_in("alice").await.token;
            (t, backend, token)
        });
        Self {
            runtime,
            t,
            backend,
            token,
        }
    }
}

impl Fuzzed {
    /// Checks what the backend was told, beyond that it could be read.
    pub fn is_sound(&self, request: &StrictRequest) -> TestCaseResult {
        prop_assert_eq!(request.all("host").len(), 1, "{:?}", request);
        for name in request.trailers.iter().map(|name| folded(name)) {
            let ours = name.starts_with("x-wx-") || name.starts_with("x-menshen-");
            let decides = [
                "host",
                "content-length",
                "transfer-encoding",
                "authorization",
                "cookie",
            ];
            prop_assert!(!ours && !decides.contains(&&*name), "{name}: {request:?}");
        }
        let mut ours: Vec<_> = Vec::new();
        for (name, value) in &request.headers {
            let name = folded(name);
            if name.starts_with("x-wx-")
                || name.starts_with("x-menshen-")
                || name == "x-original-forwarded-for"
            {
                prop_assert!(!ours.contains(&name), "{name} twice: {request:?}");
                prop_assert!(!value.contains("forged"), "{request:?}");
                ours.push(name);
            }
            let leaks = value.contains(&self.token);
            prop_assert!(!leaks, "the token went on: {request:?}");
        }
        let path = request.target.split('?').next().unwrap_or_default();
        let odd = |c: char| !c.is_ascii_graphic() || "\\#".contains(c);
        let mut segments = path.split('/');
        let dots = segments.any(|segment| [".", ".."].contains(&segment));
        let sound = path.starts_with('/') && !path.contains(odd) && !dots;
        prop_assert!(sound, "{request:?}");
        Ok(())
    }

    /// Asks for something plain on another connection, and takes what the backend saw until then.
    ///
    /// Nothing of it may be a request for which `known` does not vouch.
    pub fn is_alive(&self, known: impl Fn(&StrictRequest) -> bool) -> TestCaseResult {
        let request = "GET /public/alive HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        for _ in 0..3 {
            // Where the machine is busy with something else, a connection may be given up before it is looked at.
            answer = self
                .runtime
                .block_on(raw(self.t.address, request.as_bytes()));
            if !answer.is_empty() {
                break;
            }
        }
        prop_assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = self.backend.take();
        let mut requests = seen.requests.values();
        let late = requests.all(|request| request.target == "/public/alive" || known(request));
        prop_assert!(seen.wrong.is_empty() && late, "{seen:?}");
        Ok::<_, TestCaseError>(())
    }
}
