//! Each gateway of `examples/gateways`, started with the very snippet, keeps what Menshen promises about who a user is.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use menshen::request::OwnedNames;
use menshen_test_support::{
    Front, Grant, IDENTITY, Kind, Received, TestGateway, Wire, folded, forged, make_line, raw,
    raw_request, spellings, status,
};

/// A gateway in front of a backend, and ours beside it.
struct Site {
    front: Front,
    t: TestGateway,
}

impl Site {
    async fn of(kind: Kind) -> Self {
        Self::with(kind, "").await
    }

    /// Starts them with these lines in `[server]` of ours.
    async fn with(kind: Kind, lines: &str) -> Self {
        let believed = "trusted_proxies = [\"127.0.0.1/32\"]";
        let t = TestGateway::builder().section("server", believed);
        let t = t.section("server", lines);
        let t = t.without_unionids().start().await;
        let front = Front::start(kind, &t).await;
        Self { front, t }
    }

    async fn ask(&self, request: &str, lines: &[(String, String)]) -> String {
        raw_request(self.front.address, request, lines).await
    }

    /// Asks as a user, and returns what the backend got.
    async fn ask_as(&self, grant: &Grant, request: &str, more: &[(String, String)]) -> Received {
        let mut lines = vec![grant.line()];
        lines.extend_from_slice(more);
        let before = self.t.upstream.requests();
        let answer = self.ask(request, &lines).await;
        assert_eq!(status(&answer), 200, "{more:?}: {answer}");
        assert_eq!(self.t.upstream.requests(), before + 1);
        self.t.upstream.last()
    }

    /// Asserts that the backend is told about this user, and about nobody else.
    async fn is_told(&self, received: &Received, grant: Option<&Grant>) {
        let mut own = match grant {
            Some(grant) => self.t.identity(grant).await,
            None => TestGateway::nobody(),
        };
        let mut seen = received.identity();
        // Traefik cannot set it to the client's address; a client's own never arrives either.
        let address = |(name, _): &(String, String)| folded(name) == "x-original-forwarded-for";
        if !seen.iter().any(address) {
            own.retain(|line| !address(line));
        }
        seen.sort();
        assert_eq!(seen, own, "{}", received.head);
        assert!(!received.head.contains("victim"), "{}", received.head);
    }
}

async fn a_user_is_told_once_and_the_token_stays_behind(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let received = site.ask_as(&alice, "GET /orders?page=1", &[]).await;
    site.is_told(&received, Some(&alice)).await;
    assert_eq!(received.target, "/orders?page=1");
    assert!(received.aliases("authorization").is_empty());
    assert!(received.aliases("x-wx-unionid").is_empty());
}

async fn a_body_arrives_with_its_user(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let body = "x".repeat(100_000);
    let url = format!("http://{}/orders", site.front.address);
    let request = site.t.http.post(url).bearer_auth(&alice.token);
    let reply = request.body(body.clone()).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let received = site.t.upstream.last();
    assert_eq!(
        (received.method.as_str(), received.body),
        ("POST", body.into_bytes())
    );
    site.is_told(&site.t.upstream.last(), Some(&alice)).await;
}

// Stories 1, 3, 4, 7 and 8: CVE-2025-64484, GHSA-f59h-q822-g45g, the first fix of CVE-2026-54763.
async fn no_spelling_of_a_forged_header_arrives(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    for name in IDENTITY {
        for some in spellings(name).chunks(60) {
            let lines: Vec<_> = some.iter().map(|name| make_line(name, "victim")).collect();
            let received = site.ask_as(&alice, "GET /orders", &lines).await;
            site.is_told(&received, Some(&alice)).await;
        }
        let twice = [
            make_line(name, "victim"),
            make_line(&name.to_lowercase(), "victim"),
            make_line(&name.to_uppercase(), ""),
        ];
        let received = site.ask_as(&alice, "GET /orders", &twice).await;
        site.is_told(&received, Some(&alice)).await;
    }
    for name in ["X_WX_OPENID", "x-WX_openid", "X.WX.OPENID", "x|wx|openid"] {
        let received = site
            .ask_as(&alice, "GET /orders", &[make_line(name, "victim")])
            .await;
        site.is_told(&received, Some(&alice)).await;
    }
}

/// Returns every name of which a client's own must not arrive, as Menshen itself removes them.
fn removed() -> Vec<String> {
    let names = OwnedNames::fixed().flat_map(|name| match name {
        "x-forwarded-" => [
            "For", "Proto", "Host", "Uri", "Prefix", "Server", "Anything",
        ]
        .map(|rest| format!("X-Forwarded-{rest}"))
        .to_vec(),
        family if family.ends_with('-') => vec![format!("{family}anything")],
        single => vec![single.to_owned()],
    });
    names.collect()
}

async fn nothing_that_menshen_itself_would_remove_arrives(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    for name in removed() {
        let mut names = spellings(&name);
        names.push(name.clone());
        names.sort();
        names.dedup();
        for some in names.chunks(60) {
            let mut lines: Vec<_> = some.iter().map(|name| make_line(name, "/victim")).collect();
            for path in ["/orders", "/public"] {
                lines.push(alice.line());
                let answer = site.ask(&format!("GET {path}"), &lines).await;
                lines.pop();
                assert_eq!(status(&answer), 200, "{path} {name}: {answer}");
                let received = site.t.upstream.last();
                assert!(
                    !received.head.contains("victim"),
                    "{path} {name}: {}",
                    received.head
                );
            }
        }
    }
}

// Story 2, Caddy's GHSA-7r4p-vjf4-gxv4: alice has no unionid that could replace the forged one.
async fn what_menshen_does_not_say_is_removed(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    for name in [
        "X-WX-UNIONID",
        "X-WX-ENV",
        "X-Menshen-Assertion",
        "X-WX-FROM-OPENID",
    ] {
        let received = site
            .ask_as(&alice, "GET /orders", &[make_line(name, "victim")])
            .await;
        assert!(
            received.aliases(&name.to_lowercase()).is_empty(),
            "{}",
            received.head
        );
    }
}

// Story 5: nothing is removed less thoroughly because nothing is set.
async fn strangers_on_open_routes_are_nobody(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    for path in ["/public", "/optional", "/public/status/404"] {
        for method in ["GET", "OPTIONS", "HEAD"] {
            for forged in forged("victim").chunks(60) {
                site.ask(&format!("{method} {path}"), forged).await;
                site.is_told(&site.t.upstream.last(), None).await;
            }
        }
    }
    let mut lines = forged("victim");
    lines.truncate(60);
    let received = site.ask_as(&alice, "GET /public", &lines).await;
    site.is_told(&received, None).await;
}

async fn a_stranger_is_refused_and_never_reaches_the_backend(kind: Kind) {
    let site = Site::of(kind).await;
    let mut few = forged("victim");
    few.truncate(60);
    let upgrade = [
        make_line("Connection", "Upgrade, close"),
        make_line("Upgrade", "websocket"),
        make_line("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        make_line("Sec-WebSocket-Version", "13"),
    ];
    let not_a_token = [make_line("Authorization", "Bearer not-a-token")];
    for (request, lines, error) in [
        ("GET /orders", &[][..], "token_missing"),
        ("GET /orders", &few, "token_missing"),
        ("POST /orders", &[], "token_missing"),
        ("OPTIONS /orders", &few, "token_missing"),
        ("GET /orders", &upgrade, "token_missing"),
        ("GET /private?path=/public", &[], "token_missing"),
        ("GET /orders", &not_a_token, "token_invalid"),
    ] {
        let answer = site.ask(request, lines).await;
        assert_eq!(status(&answer), 401, "{request}: {answer}");
        assert!(
            answer.contains(&format!("\"{error}\"")),
            "{request}: {answer}"
        );
        assert!(
            answer
                .to_lowercase()
                .contains("\r\nwww-authenticate: bearer"),
            "{answer}"
        );
    }
    let alice = site.t.log_in("alice").await;
    let twice = [alice.line(), make_line("Authorization", "Bearer another")];
    let answer = site.ask("GET /orders", &twice).await;
    assert!(status(&answer) >= 400, "{answer}");
    assert_eq!(site.t.upstream.requests(), 0);
}

// Story 6, CVE-2024-45410: the next hop takes away what `Connection` names.
async fn connection_takes_nothing_away_and_names_nothing(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    for value in [
        "close, X-WX-OPENID, X-WX-SOURCE",
        "close, x_wx_openid, X-Menshen-App",
        "close, X-Forwarded-Method, X-Forwarded-Uri, Authorization",
    ] {
        let before = site.t.upstream.requests();
        let lines = [alice.line(), make_line("Connection", value)];
        let answer = site.ask("GET /orders", &lines).await;
        if status(&answer) != 200 {
            // Without the token that `Connection` takes away, alice is a stranger.
            assert!(value.contains("Authorization"), "{value}: {answer}");
            assert_eq!(site.t.upstream.requests(), before, "{value}");
            continue;
        }
        let received = site.t.upstream.last();
        site.is_told(&received, Some(&alice)).await;
        for named in received.all("connection") {
            assert!(!folded(named).contains("x-"), "{}", received.head);
        }
    }
}

async fn a_users_web_socket_is_told_about_too(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let mut client = Wire::connect(site.front.address).await;
    let handshake = format!(
        "GET /chat HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, X-WX-OPENID\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         X_WX_OPENID: victim\r\nAuthorization: Bearer {}\r\n\r\n",
        site.front.address, alice.token
    );
    client.send(handshake).await;
    let answer = client.read_to("\r\n\r\n").await;
    assert_eq!(status(&answer), 101, "{answer}");
    let received = site.t.upstream.last();
    site.is_told(&received, Some(&alice)).await;
    for named in received.all("connection") {
        assert_eq!(folded(named), "upgrade", "{}", received.head);
    }
}

fn handshake(site: &Site, more: &[(&str, &str)]) -> String {
    let more: String = more.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!(
        "GET /chat HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n",
        site.front.address
    )
}

async fn a_token_among_the_sub_protocols_is_seen_and_stays_behind(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let ours = format!("menshen.bearer.{}", alice.token);
    for (sent, left) in [
        (format!("chat, {ours}"), &["chat"][..]),
        (format!("{ours},chat ,  v2"), &["chat", "v2"]),
        (ours.clone(), &[]),
    ] {
        let mut client = Wire::connect(site.front.address).await;
        client
            .send(handshake(&site, &[("Sec-WebSocket-Protocol", &sent)]))
            .await;
        let answer = client.read_to("\r\n\r\n").await;
        assert_eq!(status(&answer), 101, "{sent}: {answer}");
        assert!(!answer.contains("menshen"), "{answer}");
        let received = site.t.upstream.last();
        site.is_told(&received, Some(&alice)).await;
        let lines = received.all("sec-websocket-protocol");
        let names = lines.iter().flat_map(|line| line.split(','));
        let names: Vec<_> = names.map(str::trim).collect();
        assert_eq!(names, left, "{sent}: {}", received.head);
        assert!(!received.head.contains(&alice.token), "{}", received.head);
    }
}

async fn sub_protocols_without_a_token_arrive(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let bearer = format!("Bearer {}", alice.token);
    for sent in [Some("chat, v2"), None] {
        let mut lines = vec![("Authorization", bearer.as_str())];
        lines.extend(sent.map(|sent| ("Sec-WebSocket-Protocol", sent)));
        let mut client = Wire::connect(site.front.address).await;
        client.send(handshake(&site, &lines)).await;
        let answer = client.read_to("\r\n\r\n").await;
        assert_eq!(status(&answer), 101, "{sent:?}: {answer}");
        let received = site.t.upstream.last();
        site.is_told(&received, Some(&alice)).await;
        assert_eq!(received.only("sec-websocket-protocol"), sent);
    }
}

async fn no_token_among_the_sub_protocols_arrives_anywhere(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let ours = format!("menshen.bearer.{}", alice.token);
    let bearer = format!("Bearer {}", alice.token);
    for (path, lines) in [
        ("/public", vec![make_line("Sec-WebSocket-Protocol", &ours)]),
        (
            "/optional",
            vec![make_line("Sec-WebSocket-Protocol", &ours)],
        ),
        (
            "/optional",
            vec![make_line("Sec_WebSocket_Protocol", &ours)],
        ),
        ("/public", vec![make_line("Sec-WebSocket_Protocol", &ours)]),
        (
            "/orders",
            vec![
                make_line("Authorization", &bearer),
                make_line("SEC.WEBSOCKET.PROTOCOL", &ours),
            ],
        ),
        (
            "/orders",
            vec![
                make_line("Authorization", &bearer),
                make_line("Sec-WebSocket-Protocol", &ours),
            ],
        ),
    ] {
        // Whether it is refused or goes on without it, the backend sees none.
        site.ask(&format!("GET {path}"), &lines).await;
        for received in site.t.upstream.received() {
            assert!(!received.head.contains(&alice.token), "{}", received.head);
        }
    }
    let mut client = Wire::connect(site.front.address).await;
    let lines = [("Sec-WebSocket-Protocol", "menshen.bearer.not-a-token")];
    client.send(handshake(&site, &lines)).await;
    assert_eq!(status(&client.message().await), 401);
}

// Story 12, CVE-2026-40575: only the gateway says which request is meant.
async fn a_client_cannot_describe_another_request(kind: Kind) {
    let site = Site::of(kind).await;
    let lines = [
        make_line("X-Forwarded-Method", "GET"),
        make_line("X-Forwarded-Uri", "/public"),
        make_line("X-Forwarded-Host", "localhost"),
        make_line("X_Forwarded_Uri", "/public"),
        make_line("X-Original-URL", "/public"),
        make_line("X-Original-Uri", "/public"),
    ];
    for lines in [&lines[..], &lines[1..2], &lines[..3]] {
        let answer = site.ask("GET /orders", lines).await;
        assert_eq!(status(&answer), 401, "{answer}");
    }
    assert_eq!(site.t.upstream.requests(), 0);
}

// Story 15: what is decided on is what is forwarded.
async fn no_odd_path_leads_a_stranger_past_the_rule(kind: Kind) {
    let site = Site::of(kind).await;
    for path in [
        "/public/../orders",
        "/public/%2e%2e/orders",
        "/public/%2e%2E%2forders",
        "/public%2f..%2forders",
        "/public/..%5corders",
        "/public/..;/orders",
        "/public;x/../orders",
        "//public/../orders",
        "/./orders",
        "/_auth/../orders",
        "/_auth/%2e%2e/orders",
        "/_auth/verify/../../orders",
        "/orders%00/public",
        "/_auth/verify",
        "/_auth/verify/orders",
        "/%5fauth/verify/orders",
        "/%5Fauth/verify",
        "/%5fauth/session",
        "/_%61uth/session",
        "/_auth/%76erify/orders",
        "/_auth/%76erify",
        "/_auth/verif%79/public",
        "/_auth//verify/public",
        "/_AUTH/verify/public",
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            site.front.address
        );
        let answer = raw(site.front.address, request.as_bytes()).await;
        // Envoy and Traefik undo escapes before they choose, so that Menshen answers about nobody.
        let is_own = path.ends_with("/session") && answer.contains("{\"logged_in\":false}");
        assert!(status(&answer) >= 400 || is_own, "{path}: {answer}");
        assert_eq!(site.t.upstream.requests(), 0, "{path}");
    }
}

// What it tells the gateway is not for the user, who could show the backend's assertion to others.
async fn nobody_asks_verify_through_it(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    for path in [
        "/_auth/verify",
        "/_auth/verify/orders",
        "/_auth/%76erify/orders",
        "/_auth/verif%79",
        "/%5fauth/verify/orders",
    ] {
        let answer = site.ask(&format!("GET {path}"), &[alice.line()]).await;
        assert!(status(&answer) >= 400, "{path}: {answer}");
        let lower = answer.to_lowercase();
        assert!(!lower.contains("\r\nx-wx-"), "{path}: {answer}");
    }
    assert_eq!(site.t.upstream.requests(), 0);
}

async fn a_user_logs_in_through_it(kind: Kind) {
    let site = Site::of(kind).await;
    let code = site.t.code("alice").await;
    let url = format!("http://{}/_auth/login", site.front.address);
    let body = serde_json::json!({"code": code, "app": "shop"});
    let reply = site.t.http.post(url).json(&body).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let alice = Grant::of(reply.json().await.unwrap());
    let received = site.ask_as(&alice, "GET /orders", &[]).await;
    site.is_told(&received, Some(&alice)).await;
}

// Whoever cannot ask must not let anybody through.
async fn without_menshen_nobody_gets_through(kind: Kind) {
    let mut site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    site.t.stop().await;
    for path in ["/orders", "/public"] {
        let answer = site.ask(&format!("GET {path}"), &[alice.line()]).await;
        assert!(status(&answer) >= 500, "{path}: {answer}");
    }
    assert_eq!(site.t.upstream.requests(), 0);
}

// A second ask may find another answer than the first: it would be a 200 in the backend's place, with who the user is.
async fn a_limit_is_told_and_nothing_of_the_user_with_it(kind: Kind) {
    let limits = "requests_per_minute = 3000\nrequest_burst = 30";
    let site = Site::with(kind, limits).await;
    let alice = site.t.log_in("alice").await;
    let (mut asked, mut refused) = (0, 0);
    let mut served = Vec::new();
    while refused < 20 {
        let targets: Vec<_> = (asked..asked + 8)
            .map(|n| format!("/orders?n={n}"))
            .collect();
        asked += targets.len();
        let answers = targets.iter().map(async |target| {
            let request = format!("GET {target}");
            site.ask(&request, &[alice.line()]).await
        });
        let answers = futures::future::join_all(answers).await;
        for (target, answer) in targets.into_iter().zip(answers) {
            let lower = answer.to_lowercase();
            assert!(!lower.contains("\r\nx-wx-"), "{answer}");
            assert!(!lower.contains("\r\nx-menshen-"), "{answer}");
            if status(&answer) == 200 {
                served.push(target);
                continue;
            }
            refused += 1;
            assert_eq!(status(&answer), 429, "{answer}");
            assert!(answer.contains("\"too_many_requests\""), "{answer}");
            assert!(lower.contains("\r\nretry-after: "), "{answer}");
        }
    }
    let arrived = site.t.upstream.received().into_iter();
    let mut arrived: Vec<_> = arrived.map(|received| received.target).collect();
    arrived.sort();
    served.sort();
    assert_eq!(arrived, served);
}

// nginx's own limit would be 1 MB.
async fn a_large_body_arrives_whole(kind: Kind) {
    let site = Site::of(kind).await;
    let alice = site.t.log_in("alice").await;
    let url = format!("http://{}/orders", site.front.address);
    let request = site.t.http.post(url).bearer_auth(&alice.token);
    let reply = request.body(vec![b'x'; 5_000_000]).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(site.t.upstream.last().body.len(), 5_000_000);
}

async fn what_menshen_refuses_is_told_as_menshen_tells_it(kind: Kind) {
    let site = Site::of(kind).await;
    for (request, expected, error) in [
        ("GET /public;x/%2561/../orders", 400, "path_ambiguous"),
        ("GET /orders", 401, "token_missing"),
        ("GET /_auth/nothing", 404, "route_unknown"),
        ("GET /_auth/login", 405, "method_not_allowed"),
    ] {
        let answer = site.ask(request, &[]).await;
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        // Envoy, Caddy and others refuse some paths by themselves.
        let own = answer.contains(&format!("\"{error}\""));
        assert!(own || expected == 400, "{request}: {answer}");
        let lower = answer.to_lowercase();
        assert!(
            lower.matches("\r\nwww-authenticate:").count() <= 1,
            "{answer}"
        );
        assert!(lower.matches("\r\nx-request-id:").count() <= 1, "{answer}");
    }
}

macro_rules! stories {
    ($($story:ident)*) => {
        stories!(@ nginx Nginx $($story)*);
        stories!(@ caddy Caddy $($story)*);
        stories!(@ haproxy Haproxy $($story)*);
        stories!(@ traefik Traefik $($story)*);
        stories!(@ envoy Envoy $($story)*);
    };
    (@ $gateway:ident $kind:ident $($story:ident)*) => {
        mod $gateway {
            use super::Kind;

            $(
                #[tokio::test]
                async fn $story() {
                    super::$story(Kind::$kind).await;
                }
            )*
        }
    };
}

stories! {
    a_user_is_told_once_and_the_token_stays_behind
    a_body_arrives_with_its_user
    no_spelling_of_a_forged_header_arrives
    nothing_that_menshen_itself_would_remove_arrives
    what_menshen_does_not_say_is_removed
    strangers_on_open_routes_are_nobody
    a_stranger_is_refused_and_never_reaches_the_backend
    connection_takes_nothing_away_and_names_nothing
    a_users_web_socket_is_told_about_too
    a_token_among_the_sub_protocols_is_seen_and_stays_behind
    sub_protocols_without_a_token_arrive
    no_token_among_the_sub_protocols_arrives_anywhere
    a_client_cannot_describe_another_request
    no_odd_path_leads_a_stranger_past_the_rule
    nobody_asks_verify_through_it
    a_user_logs_in_through_it
    without_menshen_nobody_gets_through
    a_limit_is_told_and_nothing_of_the_user_with_it
    a_large_body_arrives_whole
    what_menshen_refuses_is_told_as_menshen_tells_it
}
