//! Hundreds of generated header sets: whatever their names and values, the backend is told the gateway's identity.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use http::{HeaderMap, HeaderName, HeaderValue};
use menshen_test_support::{Reply, TestGateway, raw, status};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestCaseResult, TestRunner};
use reqwest::Client;
use tokio::runtime::Runtime;

const CASES: u32 = 200;

type Lines = Vec<(String, Vec<u8>)>;

/// A name around the letters of one of ours: sometimes an alias, sometimes a near miss.
fn name() -> impl Strategy<Value = String> {
    let around = prop_oneof![
        8 => "[xX]Q[wW][xX]Q[oO][pP][eE][nN][iI][dD]",
        4 => "[xX]Q[wW][xX]Q(APPID|UnionId|source|SOURCES|Env|from_openid)",
        4 => "[xX]Q[wW][xX]QT{0,12}",
        4 => "[xX]Q(menshen|MENSHEN|Menshen)Q(app|Session|Assertion|T{0,12})",
        2 => "[xX]Q(Original|original)Q(forwarded|FORWARDED)Q(for|For)",
        2 => "T{0,3}[xX]Q[wW][xX]T{0,3}",
        1 => "y[A-Za-z0-9_.~-]{0,20}",
    ];
    let separators = "[!#$%&'*+.^_`|~-]{40}";
    let letters = "[!#$%&'*+.^_`|~0-9A-Za-z-]{40}";
    (around, separators, letters).prop_map(|(around, separators, letters)| {
        // Placeholders keep the patterns above readable.
        let (mut separators, mut letters) = (separators.chars(), letters.chars());
        let fill = |c| match c {
            'Q' => separators.next().unwrap_or('-'),
            'T' => letters.next().unwrap_or('x'),
            c => c,
        };
        around.chars().map(fill).collect()
    })
}

/// Lines of which some repeat a name; their values are whatever a header may hold.
fn lines() -> impl Strategy<Value = Lines> {
    let value = prop_oneof![
        Just(b"victim".to_vec()),
        vec(
            prop_oneof![Just(b'\t'), 0x20_u8..=0x7e, 0x80_u8..=0xff],
            0..20
        )
        // Over HTTP/2 a value that begins or ends with them is refused, over HTTP/1.1 they are not its.
        .prop_map(|value| value.trim_ascii().to_vec()),
    ];
    let line = (name(), value);
    vec((line, 0_u8..4), 1..16).prop_map(|lines| {
        let copies = lines.into_iter().flat_map(|((name, value), copies)| {
            let copy = (name, value);
            vec![copy; if copies == 0 { 2 } else { 1 }]
        });
        // This one asks for a login, which is refused beside a token.
        copies
            .filter(|(name, _)| !name.eq_ignore_ascii_case("x-wx-code"))
            .collect()
    })
}

/// A gateway and its user, on a runtime that the generated cases share.
struct Fixture {
    runtime: Runtime,
    t: TestGateway,
    token: String,
    alice: Vec<(String, String)>,
}

impl Fixture {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (t, token, alice) = runtime.block_on(async {
            let t = TestGateway::start().await;
            let grant = t.log_in("alice").await;
            let alice = t.identity(&grant).await;
            (t, grant.token, alice)
        });
        Self {
            runtime,
            t,
            token,
            alice,
        }
    }

    /// Runs `send` with generated lines and a token or none, and looks at what arrived each time.
    fn holds(&self, send: impl Fn(&Lines, Option<&str>) -> u16) {
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let case = |(lines, known): (Lines, bool)| -> TestCaseResult {
            let before = self.t.upstream.requests();
            let status = send(&lines, known.then_some(self.token.as_str()));
            prop_assert_eq!((status, self.t.upstream.requests()), (200, before + 1));
            let nobody = TestGateway::nobody();
            let own = if known { &self.alice } else { &nobody };
            prop_assert_eq!(&self.t.upstream.last().identity(), own);
            Ok::<_, TestCaseError>(())
        };
        TestRunner::new(config)
            .run(&(lines(), any::<bool>()), case)
            .unwrap();
    }
}

#[test]
fn no_generated_header_brings_an_identity_over_http1() {
    let fixture = Fixture::new();
    fixture.holds(|lines, token| {
        let mut request = b"GET /optional HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n".to_vec();
        if let Some(token) = token {
            request.extend(format!("Authorization: Bearer {token}\r\n").bytes());
        }
        for (name, value) in lines {
            request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        status(&fixture.runtime.block_on(raw(fixture.t.address, &request)))
    });
}

#[test]
fn no_generated_header_brings_an_identity_over_http2() {
    let fixture = Fixture::new();
    let http = Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    fixture.holds(|lines, token| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let mut request = http.get(fixture.t.url("/optional")).headers(headers);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        fixture.runtime.block_on(Reply::of(request)).status
    });
}
