//! What Menshen costs per request: the warm decision with its heap allocations, and a cold token of each algorithm.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use menshen::clock::Clock;
use menshen::config::{self, Algorithm, Config};
use menshen::request::{
    Client, Connection, Decision, Denial, Identities, Message, Pass, Peer, RequestId, Requests,
    client,
};
use menshen::session::{Identity, RevokedSessions, Session, Source};
use menshen::token::{Issuer, Tokens, Verifier, load_or_make};

/// The parts of a decision, with a token that is valid for them.
struct Parts {
    requests: Requests,
    identities: Identities,
    verifier: Verifier,
    headers: HeaderMap,
    peer: Peer,
    token: String,
}

fn config(routes: usize) -> Config {
    let mut text = String::from(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[app]]\nname = \"shop\"\nkind = \"mini_program\"\nappid = \"wx0123456789abcdef\"\nsecret_env = \"S\"\n\
         [[upstream]]\nname = \"api\"\nservers = [\"127.0.0.1:1\"]\n\
         [[route]]\npath = \"/api/v1/orders\"\nupstream = \"api\"\n\
         [[route]]\npath = \"/public\"\nupstream = \"api\"\nauth = \"public\"\n",
    );
    for n in 1..routes {
        text.push_str(&format!(
            "[[route]]\npath = \"/api/v{n}/things\"\nupstream = \"api\"\n"
        ));
    }
    config::parse(&text, "bench", &|_| Some("secret".to_owned()))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn parts(algorithm: Algorithm, routes: usize) -> Parts {
    let config = config(routes);
    let clock = Clock::system();
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(load_or_make(&folder.path().join("keys"), algorithm, &clock).unwrap());
    let ttl = Duration::from_secs(7200);
    let verifier = || Verifier::new(&keys, "menshen", &config.apps, ttl, clock.clone());
    let tokens = Tokens::new(verifier(), 1_000_000, clock.clone()).unwrap();
    let issuer = Issuer::new(Arc::clone(&keys), "menshen".to_owned(), ttl, clock.clone());
    let now = clock.unix_secs();
    let session = Session {
        id: "7C8rKJ8lkYfec2gPmTWQdw".parse().unwrap(),
        identity: Identity {
            app: "shop".to_owned(),
            appid: "wx0123456789abcdef".to_owned(),
            openid: "oHa2-5qTK_tCbDaBTHdMEi4T-tvn".to_owned(),
            unionid: Some("oI37hhYVnUelUJIsZP4vQC8aUIBh".to_owned()),
            source: Source::MiniProgram,
        },
        created: now,
        expires: now + 30 * 24 * 3600,
    };
    let token = issuer.issue(&session).unwrap().token.expose().to_owned();
    Parts {
        requests: Requests::new(&config, Arc::new(tokens), RevokedSessions::default()),
        identities: Identities::new(&config.headers, &config.apps, &config.routes).unwrap(),
        verifier: verifier(),
        headers: headers(&token),
        peer: Peer::new([203, 0, 113, 9].into()),
        token,
    }
}

/// What a mini-program on Android sends.
fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "api.shop.example"),
        ("charset", "utf-8"),
        ("content-type", "application/json"),
        ("accept-encoding", "gzip,compress,br,deflate"),
        (
            "user-agent",
            "Mozilla/5.0 (Linux; Android 13) MicroMessenger/8.0.50 MiniProgramEnv/android",
        ),
        (
            "referer",
            "https://servicewechat.com/wx0123456789abcdef/12/page-frame.html",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let bearer = format!("Bearer {token}");
    headers.insert("authorization", HeaderValue::from_str(&bearer).unwrap());
    headers
}

impl Parts {
    fn decide(&self, client: &Client) -> Pass {
        let message = Message {
            method: &Method::GET,
            target: b"/api/v1/orders/42?page=2",
            authority: None,
            version: Version::HTTP_11,
            headers: &self.headers,
        };
        match self.requests.decide(black_box(&message), client) {
            Ok(Decision::Forward(pass)) => pass,
            other => panic!("{other:?}"),
        }
    }

    fn client(&self) -> Client {
        let connection = Connection {
            peer: Some(self.peer.clone()),
            tls: true,
        };
        client(&connection, &self.headers, None, &[])
    }

    fn authorize(&mut self, value: &str) {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.insert("authorization", value);
    }

    /// Decides on a request that need not be let through.
    fn refuse(&self, target: &str) -> Result<(), Denial> {
        let message = Message {
            method: &Method::GET,
            target: target.as_bytes(),
            authority: None,
            version: Version::HTTP_11,
            headers: &self.headers,
        };
        let decided = self.requests.decide(black_box(&message), &self.client());
        decided.map(drop)
    }

    /// Does what is done to the headers of a request: ours are passed over, and the others stay.
    fn edit<'a>(
        &'a self,
        pass: &'a Pass,
        client: &'a Client,
        id: &'a RequestId,
    ) -> (usize, Vec<(&'a HeaderName, &'a HeaderValue)>) {
        let names = self.headers.keys();
        let passed_on = names.filter(|name| !self.identities.owns(name)).count();
        (passed_on, self.identities.set(pass, client, id))
    }
}

fn warm(c: &mut Criterion) {
    let id = RequestId::random();
    for routes in [1, 1000] {
        let parts = parts(Algorithm::Es256, routes);
        parts.decide(&parts.client());
        c.bench_function(&format!("warm decision, {routes} routes"), |b| {
            b.iter(|| {
                let client = parts.client();
                let pass = parts.decide(&client);
                black_box(parts.edit(&pass, &client, &id));
            });
        });
    }
    let parts = parts(Algorithm::Es256, 1);
    c.bench_function("of which route, token and cache", |b| {
        let client = parts.client();
        b.iter(|| black_box(parts.decide(&client)));
    });
    c.bench_function("of which the client's address", |b| {
        b.iter(|| black_box(parts.client()));
    });
    let client = parts.client();
    let pass = parts.decide(&client);
    c.bench_function("of which header edits", |b| {
        b.iter(|| black_box(parts.edit(&pass, &client, &id)));
    });
}

/// Says how often a warm decision and its edits ask for memory. Background work of the cache is not counted:
/// it runs on the same thread once in many look-ups, so the least of many rounds is the decision's own.
fn allocations() {
    let parts = parts(Algorithm::Es256, 1);
    let (client, id) = (parts.client(), RequestId::random());
    let pass = parts.decide(&client);
    let least = |work: &dyn Fn()| {
        let rounds = (0..1000).map(|_| allocation_counter::measure(work).count_total);
        rounds.min().unwrap_or(0)
    };
    let deciding = least(&|| drop(black_box(parts.decide(&client))));
    let seeing = least(&|| drop(black_box(parts.client())));
    let editing = least(&|| drop(black_box(parts.edit(&pass, &client, &id))));
    println!(
        "heap allocations: {deciding} to decide, {seeing} for the client's address, {editing} for the edits"
    );
    assert_eq!(deciding, 0, "the decision itself needs no memory");
}

fn cold(c: &mut Criterion) {
    for algorithm in Algorithm::ALL {
        let parts = parts(algorithm, 1);
        c.bench_function(&format!("cold {} token", algorithm.name()), |b| {
            b.iter(|| black_box(parts.verifier.verify(black_box(&parts.token)).unwrap()));
        });
    }
}

/// What costs a client nothing to make up.
fn made_up(c: &mut Criterion) {
    let mut parts = parts(Algorithm::Es256, 1);
    let (signed, _) = parts.token.rsplit_once('.').unwrap();
    let signed = signed.to_owned();
    let forged = format!("Bearer {signed}.{}", "A".repeat(86));
    let words = |word: &str| word.repeat(60_000 / word.len());
    for (name, value, target) in [
        ("a forged token, again", forged, "/api/v1/orders"),
        ("60 KB of dotted words", words("aaaa.bbbb.cccc,"), "/public"),
        (
            "60 KB that begin as tokens",
            words("eyJhbGciOiJFUzI1NiJ9.b.c,"),
            "/public",
        ),
        ("60 KB of one such word", words("eyJ"), "/public"),
    ] {
        parts.authorize(&value);
        c.bench_function(&format!("made up: {name}"), |b| {
            b.iter(|| black_box(parts.refuse(target)));
        });
    }
    // Of one address, so that only the first of them are verified.
    let mut number = 0_u64;
    c.bench_function("made up: a forged token, each time another", |b| {
        b.iter_batched(
            || {
                number += 1;
                format!("Bearer {signed}.{number:0>85}A")
            },
            |value| {
                parts.authorize(&value);
                black_box(parts.refuse("/api/v1/orders"))
            },
            BatchSize::PerIteration,
        );
    });
}

fn main() {
    allocations();
    let mut criterion = Criterion::default().configure_from_args();
    warm(&mut criterion);
    cold(&mut criterion);
    made_up(&mut criterion);
    criterion.final_summary();
}
