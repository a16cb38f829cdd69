//! The middleware of the examples, run: who comes with a good assertion is let in, and nobody else.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use menshen_test_support::{AUDIENCE, Backend, Builder, Reply, TestGateway, Upstream, encode_part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const ASSERTION: &str = "x-menshen-assertion";

/// A gateway that asserts: to the upstream `api`, which is the backend's audience, and to another.
async fn asserting(other: &Upstream) -> TestGateway {
    asserting_to(other).start().await
}

fn asserting_to(other: &Upstream) -> Builder {
    TestGateway::builder()
        .section("headers", "assertion = true")
        .upstreams(&format!(
            "[[upstream]]\nname = \"billing\"\nservers = [\"{}\"]\n",
            other.address
        ))
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
             [[route]]\npath = \"/billing\"\nupstream = \"billing\"\n",
        )
}

/// Returns the assertion that an upstream was sent last.
fn sent_to(upstream: &Upstream) -> String {
    upstream.last().only(ASSERTION).unwrap().to_owned()
}

/// Returns claims as the gateway would assert them.
fn claims(t: &TestGateway) -> Value {
    let mut claims = t.claims("eve");
    claims["aud"] = json!(AUDIENCE);
    claims
}

fn header(t: &TestGateway) -> Header {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(t.key_file().1);
    header.typ = Some("assertion+jwt".to_owned());
    header
}

/// Signs claims as the gateway itself would.
fn signed(t: &TestGateway, claims: &Value) -> String {
    t.sign_as(&header(t), claims, &t.key_file().0)
}

/// Returns what must not be taken for an assertion, each with what is wrong about it.
async fn bad_ones(t: &TestGateway, other: &Upstream, token: &str) -> Vec<(&'static str, String)> {
    assert_eq!(t.get_as("/billing", token).await.status, 200);
    let changed = |claim: &str, value: Value| {
        let mut claims = claims(t);
        claims[claim] = value;
        signed(t, &claims)
    };
    let now = t.clock.unix_secs();
    let without_end = {
        let mut claims = claims(t);
        claims.as_object_mut().unwrap().remove("exp");
        signed(t, &claims)
    };
    let good = sent_to(&t.upstream);
    let [head, _, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("{good}")
    };
    let stranger = TestGateway::start().await;
    let mut unknown = header(t);
    unknown.kid = Some("unknown".to_owned());
    let unsigned = json!({"alg": "none", "typ": "assertion+jwt", "kid": t.key_file().1});
    // Where a library takes the algorithm from the token, the public key is a secret that all know.
    let jwks = Reply::of(t.get("/_auth/jwks.json")).await;
    let mut shared = header(t);
    shared.alg = Algorithm::HS256;
    let shared =
        jsonwebtoken::encode(&shared, &claims(t), &EncodingKey::from_secret(&jwks.body)).unwrap();
    vec![
        ("for another upstream", sent_to(other)),
        ("expired", changed("exp", json!(now - 1))),
        ("without an end", without_end),
        ("not valid yet", changed("nbf", json!(now + 3_600))),
        ("of another issuer", changed("iss", json!("others"))),
        (
            "signed with another key",
            t.sign_as(&header(t), &claims(t), &stranger.key_file().0),
        ),
        (
            "of an unknown key",
            t.sign_as(&unknown, &claims(t), &stranger.key_file().0),
        ),
        (
            "with other claims",
            format!("{head}.{}.{signature}", encode_part(&claims(t))),
        ),
        (
            "unsigned",
            format!("{}.{}.", encode_part(&unsigned), encode_part(&claims(t))),
        ),
        ("with a shared key", shared),
        ("a session's token", token.to_owned()),
        ("none at all", "undefined".to_owned()),
    ]
}

/// Asks the backend itself, past the gateway, as somebody who sets every header.
async fn ask(t: &TestGateway, backend: &Backend, assertion: Option<&str>) -> Reply {
    let request = t.http.get(format!("http://{}/orders", backend.addr));
    let mut request = request
        // uWSGI closes each connection without saying so.
        .header("connection", "close")
        .header("x-wx-source", "wx_client")
        .header("x-wx-openid", "victim")
        .header("x-menshen-app", "victims");
    if let Some(assertion) = assertion {
        request = request.header(ASSERTION, assertion);
    }
    Reply::of(request).await
}

async fn lets_in_with_a_good_assertion_only(example: &str) {
    let other = Upstream::start().await;
    let t = asserting(&other).await;
    let backend = Backend::that_checks(example, &t.url("/_auth/jwks.json")).await;
    let alice = t.log_in("alice").await;
    assert_eq!(t.get_as("/orders", &alice.token).await.status, 200);
    let good = sent_to(&t.upstream);
    let openid = t.who(&alice.token).await["openid"].clone();
    let served = json!({"user": openid, "app": "shop"});
    for _ in 0..2 {
        let reply = ask(&t, &backend, Some(&good)).await;
        assert_eq!(reply.status, 200, "{example}: {}", reply.text());
        assert_eq!(reply.json(), served, "{example}");
        assert_eq!(ask(&t, &backend, None).await.status, 401, "{example}");
        for (what, bad) in bad_ones(&t, &other, &alice.token).await {
            let reply = ask(&t, &backend, Some(&bad)).await;
            assert_eq!(reply.status, 401, "{example}: {what}: {}", reply.text());
        }
    }
    // What the test makes is taken where nothing is wrong about it: each of the others failed for its one fault.
    let made = signed(&t, &claims(&t));
    let reply = ask(&t, &backend, Some(&made)).await;
    assert_eq!(
        reply.json(),
        json!({"user": "eve", "app": "shop"}),
        "{example}"
    );
}

#[tokio::test]
async fn express_lets_in_with_a_good_assertion_only() {
    lets_in_with_a_good_assertion_only("express").await;
}

#[tokio::test]
async fn flask_under_gunicorn_lets_in_with_a_good_assertion_only() {
    lets_in_with_a_good_assertion_only("flask").await;
}

#[tokio::test]
async fn flask_under_uwsgi_lets_in_with_a_good_assertion_only() {
    lets_in_with_a_good_assertion_only("flask under uWSGI").await;
}

#[tokio::test]
async fn django_lets_in_with_a_good_assertion_only() {
    lets_in_with_a_good_assertion_only("django").await;
}

#[tokio::test]
async fn go_lets_in_with_a_good_assertion_only() {
    lets_in_with_a_good_assertion_only("go").await;
}

/// A server of keys that can be changed, and that counts how often it is asked.
struct Keys {
    url: String,
    shown: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Keys {
    async fn start(shown: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let keys = Self {
            url,
            shown: Arc::new(Mutex::new(shown)),
            asked: Arc::default(),
        };
        let (shown, asked) = (Arc::clone(&keys.shown), Arc::clone(&keys.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        break;
                    };
                    read.push(byte);
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let body = shown.lock().unwrap().clone();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        keys
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn jwks(t: &TestGateway) -> String {
    Reply::of(t.get("/_auth/jwks.json")).await.text()
}

async fn asks_for_the_keys_once(example: &str) -> (TestGateway, Keys, Backend) {
    let t = TestGateway::start().await;
    let keys = Keys::start(jwks(&t).await).await;
    let backend = Backend::that_checks(example, &keys.url).await;
    for _ in 0..5 {
        let reply = ask(&t, &backend, Some(&signed(&t, &claims(&t)))).await;
        assert_eq!(reply.status, 200, "{example}");
    }
    assert_eq!(keys.asked(), 1, "{example}");
    (t, keys, backend)
}

// The libraries of these ask again after half a minute at the earliest, so a new key would have to be waited for.
#[tokio::test]
async fn express_asks_for_the_keys_once() {
    asks_for_the_keys_once("express").await;
}

#[tokio::test]
async fn flask_asks_for_the_keys_once() {
    asks_for_the_keys_once("flask").await;
}

#[tokio::test]
async fn django_asks_for_the_keys_once() {
    asks_for_the_keys_once("django").await;
}

#[tokio::test]
async fn go_asks_for_the_keys_once_and_for_a_new_one() {
    let (_, keys, backend) = asks_for_the_keys_once("go").await;
    let renewed = TestGateway::start().await;
    let assertion = signed(&renewed, &claims(&renewed));
    *keys.shown.lock().unwrap() = jwks(&renewed).await;
    let reply = ask(&renewed, &backend, Some(&assertion)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(keys.asked(), 2);
}
