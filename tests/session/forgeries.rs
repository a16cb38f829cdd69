//! Tokens made without the gateway's key, or from parts of others: none of them reaches the upstream.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{self, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use menshen_test_support::{Reply, TestGateway, encode_part, raw};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Signs claims for alice with any key, under a header that names the gateway's own.
fn forged(t: &TestGateway, said: &str, more: Value, alg: Algorithm, key: &EncodingKey) -> String {
    let mut header = json!({"alg": said, "typ": "JWT", "kid": t.key_file().1});
    for (name, value) in more.as_object().unwrap() {
        header[name] = value.clone();
    }
    let message = format!(
        "{}.{}",
        encode_part(&header),
        encode_part(&t.claims("alice"))
    );
    let signature = crypto::sign(message.as_bytes(), key, alg).unwrap();
    format!("{message}.{signature}")
}

fn anybodys_ec_key() -> (EncodingKey, Value) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    (key, serde_json::to_value(jwk).unwrap())
}

async fn all_are_refused(t: &TestGateway, tokens: impl IntoIterator<Item = String>) {
    for token in tokens {
        let reply = t.get_as("/orders", &token).await;
        assert_eq!(
            reply.refusal(),
            (401, "token_invalid".to_owned()),
            "{token}"
        );
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn a_token_that_asks_for_no_signature_is_refused() {
    let t = TestGateway::start().await;
    let sound = t.sign(&t.claims("alice"));
    let signature = sound.rsplit('.').next().unwrap();
    let tokens = ["none", "None", "NONE", "nOnE", ""].iter().flat_map(|alg| {
        let header = json!({"alg": alg, "typ": "JWT", "kid": t.key_file().1});
        let message = format!(
            "{}.{}",
            encode_part(&header),
            encode_part(&t.claims("alice"))
        );
        [format!("{message}."), format!("{message}.{signature}")]
    });
    all_are_refused(&t, tokens).await;
}

#[tokio::test]
async fn the_public_key_is_no_shared_secret() {
    let t = TestGateway::start().await;
    let published = Reply::of(t.get("/_auth/jwks.json")).await;
    let jwk = &published.json()["keys"][0];
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    // What stands before the point of a P-256 key in SubjectPublicKeyInfo.
    let prefix = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=");
    let der = [prefix.unwrap(), point.clone()].concat();
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der.clone()));
    let secrets = [
        published.body.clone(),
        jwk.to_string().into_bytes(),
        pem.replace("\r\n", "\n").into_bytes(),
        pem.replace("\r\n", "\n").trim().as_bytes().to_vec(),
        pem.into_bytes(),
        der,
        point,
        coordinate("x"),
        jwk["x"].as_str().unwrap().as_bytes().to_vec(),
        t.key_file().1.into_bytes(),
        Vec::new(),
    ];
    let algorithms = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let tokens = secrets.iter().flat_map(|secret| {
        let key = EncodingKey::from_secret(secret);
        let t = &t;
        algorithms.map(|alg| forged(t, &format!("{alg:?}"), json!({}), alg, &key))
    });
    all_are_refused(&t, tokens).await;
}

#[tokio::test]
async fn a_header_does_not_choose_the_algorithm() {
    let t = TestGateway::start().await;
    let own = EncodingKey::from_ec_pem(&std::fs::read(t.key_file().0).unwrap()).unwrap();
    let tokens = ["HS256", "ES384", "RS256", "EdDSA", "PS256", "ES512"]
        .map(|said| forged(&t, said, json!({}), Algorithm::ES256, &own));
    all_are_refused(&t, tokens).await;
}

#[tokio::test]
async fn a_key_of_another_kind_is_refused_under_both_names() {
    let t = TestGateway::start().await;
    let der = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pem = pem::encode(&pem::Pem::new(
        "PRIVATE KEY",
        der.as_der().unwrap().as_ref(),
    ));
    let rsa = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let tokens = ["RS256", "ES256"].map(|said| forged(&t, said, json!({}), Algorithm::RS256, &rsa));
    all_are_refused(&t, tokens).await;
}

#[tokio::test]
async fn a_token_does_not_bring_its_own_key() {
    let t = TestGateway::start().await;
    let (key, jwk) = anybodys_ec_key();
    let url = format!("http://{}/keys", t.upstream.address);
    let certificate = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let tokens = [
        json!({}),
        json!({"jwk": jwk}),
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"x5c": [STANDARD.encode(certificate.cert.der())]}),
        json!({"jwk": jwk, "kid": "brought-along"}),
        json!({"jku": url, "kid": "brought-along"}),
    ]
    .map(|more| forged(&t, "ES256", more, Algorithm::ES256, &key));
    all_are_refused(&t, tokens).await;
    assert_eq!(t.upstream.connections(), 0);
}

#[tokio::test]
async fn a_token_of_another_gateway_is_refused() {
    let (t, other) = (TestGateway::start().await, TestGateway::start().await);
    let token = other.log_in("alice").await.token;
    all_are_refused(&t, [token]).await;
}

#[tokio::test]
async fn parts_of_two_tokens_make_none() {
    let t = TestGateway::start().await;
    let (alice, bob) = (t.log_in("alice").await.token, t.log_in("bob").await.token);
    let [alice, bob]: [Vec<&str>; 2] = [&alice, &bob].map(|token| token.split('.').collect());
    let tokens = [
        [alice[0], bob[1], alice[2]].join("."),
        [alice[0], alice[1], bob[2]].join("."),
        [alice[1], alice[0], alice[2]].join("."),
        [bob[0], alice[1], bob[2]].join("."),
    ];
    all_are_refused(&t, tokens).await;
}

#[tokio::test]
async fn a_token_has_exactly_three_parts_in_one_spelling() {
    let t = TestGateway::builder()
        .section("server", "max_header = \"64KiB\"")
        .start()
        .await;
    let token = t.sign(&t.claims("alice"));
    let parts: Vec<&str> = token.split('.').collect();
    let as_json = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]});
    let mut tokens = vec![
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "a.b.c".to_owned(),
        "eyJ.eyJ.eyJ".to_owned(),
        token.replacen('.', "", 2),
        token.replacen('.', "", 1),
        [parts[0], parts[1]].join("."),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{}", parts[2]),
        format!("{token}.."),
        format!("{token}="),
        format!("{token}=="),
        format!("{token}A"),
        format!("{token} {token}"),
        format!("{token},{token}"),
        format!("\"{token}\""),
        format!("Bearer {token}"),
        token.replacen('.', "..", 1),
        token.replacen('.', ". ", 1),
        token.replacen('.', "%2e", 1),
        as_json.to_string(),
        "A".repeat(5_000),
        ".".repeat(5_000),
        "A".repeat(60_000),
    ];
    tokens.extend(
        (1..token.len())
            .step_by(7)
            .map(|end| token.chars().take(end).collect()),
    );
    all_are_refused(&t, tokens).await;
}

#[tokio::test]
async fn a_token_over_the_header_limit_is_refused_unread() {
    let t = TestGateway::start().await;
    let reply = t.get_as("/orders", &"A".repeat(1_000_000)).await;
    assert_eq!(reply.refusal(), (431, "headers_too_large".to_owned()));
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn no_character_of_a_token_can_be_changed() {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let t = TestGateway::start().await;
    let token = t.log_in("alice").await.token;
    let changed = (0..token.len()).filter_map(|at| {
        let mut bytes = token.clone().into_bytes();
        let index = ALPHABET.iter().position(|&b| b == bytes[at])?;
        // The lowest bit: in the last character of a part it may be one that carries nothing.
        bytes[at] = ALPHABET[index ^ 1];
        String::from_utf8(bytes).ok()
    });
    all_are_refused(&t, changed).await;
}

#[test]
fn nothing_that_is_no_token_is_let_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let t = runtime.block_on(TestGateway::start());
    let sound = t.sign(&t.claims("alice"));
    let rubbish = || prop::collection::vec(any::<u8>(), 0..200);
    let text = |text: &str| Just(text.as_bytes().to_vec());
    let scheme = prop_oneof![
        text(""),
        text("Bearer "),
        text("bEARER\t"),
        text("Bearer"),
        text("Basic "),
        rubbish()
    ];
    let near = (any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(at, byte)| {
        let mut bytes = sound.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= byte | 1;
        bytes
    });
    let value = (
        scheme,
        prop_oneof![rubbish(), near, "\\PC{0,80}".prop_map(String::into_bytes)],
    );
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&value, |(scheme, rest)| {
        let head = b"GET /orders HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: ";
        let request = [head, &scheme[..], &rest, b"\r\n\r\n"].concat();
        let answer = runtime.block_on(raw(t.address, &request));
        prop_assert!(answer.starts_with("HTTP/1.1 4"), "{}", answer);
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(t.upstream.requests(), 0);
}
