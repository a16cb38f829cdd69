//! Tokens that a client should not have: none of them reaches the upstream.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use menshen_test_support::{TestGateway, encode_part};
use serde_json::{Value, json};

const MINUTE: u64 = 60;

fn header(t: &TestGateway) -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": t.key_file().1})
}

/// Signs any header and claims with the gateway's own key.
fn signed(t: &TestGateway, header: &Value, claims: &Value) -> String {
    let pem = std::fs::read(t.key_file().0).unwrap();
    let key = EncodingKey::from_ec_pem(&pem).unwrap();
    let message = format!("{}.{}", encode_part(header), encode_part(claims));
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

/// Sends tokens, each with a word on what is wrong with it.
async fn all_are_refused(t: &TestGateway, error: &str, tokens: &[(String, String)]) {
    for (what, token) in tokens {
        let reply = t.get_as("/orders", token).await;
        assert_eq!(reply.refusal(), (401, error.to_owned()), "{what}");
        let reply = t.get_as("/optional", token).await;
        assert_eq!(reply.refusal(), (401, error.to_owned()), "optional: {what}");
    }
    assert_eq!(t.upstream.requests(), 0);
}

/// Sends tokens with a sound header and these changes to sound claims; null takes a claim away.
async fn claims_are_refused(t: &TestGateway, error: &str, changes: &[Value]) {
    let tokens: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut claims = t.claims("alice");
            for (name, value) in change.as_object().unwrap() {
                if value.is_null() {
                    claims.as_object_mut().unwrap().remove(name);
                } else {
                    claims[name] = value.clone();
                }
            }
            (change.to_string(), signed(t, &header(t), &claims))
        })
        .collect();
    all_are_refused(t, error, &tokens).await;
}

/// Sends tokens with sound claims, signed with the right key, and these changes to a sound header.
async fn headers_are_refused(t: &TestGateway, changes: &[Value]) {
    let tokens: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut header = header(t);
            for (name, value) in change.as_object().unwrap() {
                header[name] = value.clone();
            }
            (change.to_string(), signed(t, &header, &t.claims("alice")))
        })
        .collect();
    all_are_refused(t, "token_invalid", &tokens).await;
}

#[tokio::test]
async fn a_sound_token_passes() {
    let t = TestGateway::start().await;
    let token = signed(&t, &header(&t), &t.claims("alice"));
    assert_eq!(t.get_as("/orders", &token).await.status, 200);
    assert_eq!(t.upstream.last().only("x-wx-openid"), Some("alice"));
}

#[tokio::test]
async fn every_claim_is_required() {
    let t = TestGateway::start().await;
    let names = [
        "iss", "aud", "sub", "app", "sid", "src", "iat", "nbf", "exp",
    ];
    let without: Vec<_> = names.iter().map(|name| json!({*name: null})).collect();
    claims_are_refused(&t, "token_invalid", &without).await;
}

#[tokio::test]
async fn a_claim_of_another_form_is_refused() {
    let t = TestGateway::start().await;
    let appid = TestGateway::appid("shop");
    let now = t.clock.unix_secs();
    claims_are_refused(
        &t,
        "token_invalid",
        &[
            json!({"aud": [appid]}),
            json!({"aud": [appid, "wx-of-somebody-else"]}),
            json!({"aud": []}),
            json!({"iss": ["menshen"]}),
            json!({"sub": 1}),
            json!({"sub": ["alice"]}),
            json!({"exp": (now + MINUTE).to_string()}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({"nbf": "0"}),
            json!({"nbf": -1}),
            json!({"iat": true}),
            json!({"sid": 1}),
            json!({"unionid": 1}),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_claim_about_somebody_else_is_refused() {
    let t = TestGateway::builder().apps(&["shop", "cafe"]).start().await;
    let cafe = TestGateway::appid("cafe");
    claims_are_refused(
        &t,
        "token_invalid",
        &[
            json!({"aud": "wx-of-somebody-else"}),
            json!({"aud": ""}),
            json!({"aud": TestGateway::appid("shop").to_uppercase()}),
            json!({"aud": cafe}),
            json!({"app": "cafe"}),
            json!({"app": "unknown"}),
            json!({"app": ""}),
            json!({"app": "unknown", "aud": "wx-of-somebody-else"}),
            json!({"iss": "somebody-else"}),
            json!({"iss": "Menshen"}),
            json!({"iss": ""}),
            json!({"src": "wx_unknown"}),
            json!({"src": ""}),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_claim_that_could_not_be_a_header_is_refused() {
    let t = TestGateway::start().await;
    claims_are_refused(
        &t,
        "token_invalid",
        &[
            json!({"sub": ""}),
            json!({"sub": "alice\r\nX-WX-SOURCE: x"}),
            json!({"sub": "alice\u{0}"}),
            json!({"unionid": "u\nv"}),
            json!({"sid": ""}),
            json!({"sid": "short"}),
            json!({"sid": "A".repeat(23)}),
            json!({"sid": "A".repeat(21) + "B"}),
            json!({"sid": "A".repeat(21) + "="}),
            json!({"sid": "+".repeat(22)}),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_token_of_the_future_is_refused() {
    let t = TestGateway::start().await;
    let later = t.clock.unix_secs() + 2 * MINUTE;
    claims_are_refused(
        &t,
        "token_invalid",
        &[json!({"nbf": later}), json!({"nbf": u64::MAX})],
    )
    .await;
}

#[tokio::test]
async fn a_token_of_the_past_is_told_that_it_has_expired() {
    let t = TestGateway::start().await;
    let now = t.clock.unix_secs();
    claims_are_refused(
        &t,
        "token_expired",
        &[
            json!({"exp": now}),
            json!({"exp": now - 1}),
            json!({"exp": 0}),
            json!({"exp": now - 1, "app": "unknown"}),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_token_that_was_seen_before_expires_all_the_same() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    t.clock.advance(Duration::from_secs(2 * 60 * MINUTE));
    for _ in 0..2 {
        let reply = t.get_as("/orders", &grant.token).await;
        assert_eq!(reply.refusal(), (401, "token_expired".to_owned()));
    }
    assert_eq!(t.upstream.requests(), 1);
}

#[tokio::test]
async fn a_key_that_is_not_known_is_not_looked_for() {
    let t = TestGateway::start().await;
    let (path, kid) = t.key_file();
    let file = path.file_name().unwrap().to_str().unwrap();
    headers_are_refused(
        &t,
        &[
            json!({"kid": "unknown"}),
            json!({"kid": null}),
            json!({"kid": ""}),
            json!({"kid": 0}),
            json!({"kid": [kid]}),
            json!({"kid": format!("{kid} ")}),
            json!({"kid": format!("{kid}\u{0}")}),
            json!({"kid": format!("./{kid}")}),
            json!({"kid": format!("../keys/{kid}")}),
            json!({"kid": file}),
            json!({"kid": path}),
            json!({"kid": "/dev/null"}),
            json!({"kid": "http://127.0.0.1/key"}),
            json!({"kid": "' OR '1'='1"}),
            json!({"kid": kid.to_uppercase() + "A"}),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_jwt_of_another_type_is_refused() {
    let t = TestGateway::start().await;
    headers_are_refused(
        &t,
        &[
            json!({"typ": null}),
            json!({"typ": ""}),
            json!({"typ": "jwt"}),
            json!({"typ": "at+jwt"}),
            json!({"typ": "assertion+jwt"}),
            json!({"typ": ["JWT"]}),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_header_that_must_be_understood_is_refused() {
    let t = TestGateway::start().await;
    headers_are_refused(
        &t,
        &[
            json!({"crit": ["exp"], "exp": 0}),
            json!({"crit": ["b64"], "b64": false}),
            json!({"crit": []}),
            json!({"crit": "exp"}),
        ],
    )
    .await;
}
