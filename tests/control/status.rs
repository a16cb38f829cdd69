//! The status page: who is let in and how, what other sites may not do, what each sees, and that no secret is in it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::time::Duration;

use menshen_test_support::{
    APP_SECRET, Builder, ByHand, CONTROL_SECRET, Certificate, OTHER_SECRET, Program, Reply,
    Secrets, TestGateway, Upstream, Wire, make_client,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const WITH_SECRET: &str = "secret_env = \"CONTROL_SECRET\"";
const CRM: &str = "0000000000000000000000000000crm0";
const WATCH: &str = "000000000000000000000000000watch";
const SHOPS: &str = "000000000000000000000000000shops";
const LOGIN: &str = "/v1/status/login";
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

/// What is written in `[control]`, with the secrets in a folder.
fn callers(folder: &TempDir) -> String {
    let one = |name: &str, secret: &str, lines: &str| {
        let path = folder.path().join(name);
        fs::write(&path, secret).unwrap();
        let path = path.display();
        format!("[[control.caller]]\nname = \"{name}\"\nsecret_file = \"{path}\"\n{lines}\n")
    };
    let crm = "apps = [\"shop\"]\ncalls = [\"list_sessions\"]";
    [
        format!("{WITH_SECRET}\n"),
        one("crm", CRM, crm),
        one("watch", WATCH, "calls = [\"status\"]"),
        one("shops", SHOPS, "apps = [\"shop\"]\ncalls = [\"status\"]"),
    ]
    .concat()
}

fn builder(folder: &TempDir) -> Builder {
    let builder = TestGateway::builder().apps(&["shop", "club"]);
    builder.section("control", &callers(folder))
}

/// Asks as the page does: from this origin, with the cookie of a login.
fn by_page(t: &TestGateway, cookie: &str, method: &str, path: &str) -> RequestBuilder {
    let request = t.control(method, path).header(SAME.0, SAME.1);
    request.header("cookie", cookie)
}

async fn bring(t: &TestGateway, secret: &str) -> Reply {
    let request = t.control("POST", LOGIN).header(SAME.0, SAME.1);
    Reply::of(request.json(&json!({"secret": secret}))).await
}

/// Logs in, and returns the cookie as a browser sends it.
async fn log_in(t: &TestGateway, secret: &str) -> String {
    let reply = bring(t, secret).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    let cookie = reply.header("set-cookie");
    cookie.split(';').next().unwrap().to_owned()
}

async fn status(t: &TestGateway) -> Value {
    let request = t.control("GET", "/v1/status").bearer_auth(CONTROL_SECRET);
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn list_of<'v>(value: &'v Value, key: &str) -> &'v Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{key}"))
}

#[tokio::test]
async fn the_page_is_for_people_and_lets_a_browser_do_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for t in [TestGateway::start().await, builder(&folder).start().await] {
        let get = |language: &str| {
            let request = t
                .control("GET", "/")
                .header("accept", "text/html,*/*;q=0.8");
            // A link of another site leads here.
            let request = request.header("sec-fetch-site", "cross-site");
            request.header("accept-language", language)
        };
        let page = Reply::of(get("en-GB")).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("<html lang=\"en\">"));
        for (name, expected) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(page.header(name), expected, "{name}");
        }
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "connect-src 'self'",
            "script-src 'sha256-",
            "style-src 'sha256-",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("set-cookie"), "");
        let chinese = Reply::of(get("zh-CN,en;q=0.5")).await;
        assert!(chinese.text().contains("<html lang=\"zh-CN\">"));
        assert_eq!(chinese.header("content-security-policy"), policy);
    }
}

#[tokio::test]
async fn a_login_leaves_a_cookie_that_is_not_the_secret_and_that_no_script_or_site_gets() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder).start().await;
    let (one, other) = (
        bring(&t, CONTROL_SECRET).await,
        bring(&t, CONTROL_SECRET).await,
    );
    let set = one.header("set-cookie").to_owned();
    assert_ne!(set, other.header("set-cookie"));
    assert!(!set.contains(CONTROL_SECRET), "{set}");
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Max-Age=43200; Path=/; HttpOnly; SameSite=Strict"
    );
    assert_eq!(cookie.split_once('=').unwrap().1.len(), 43);
    let origin = t
        .control("POST", LOGIN)
        .json(&json!({"secret": CONTROL_SECRET}));
    let origin = origin.header("origin", "https://menshen.internal");
    let safe = Reply::of(origin.header("host", "menshen.internal")).await;
    assert!(safe.header("set-cookie").contains("; Secure"), "{safe:?}");
    let ask = async |cookie: &str| Reply::of(by_page(&t, cookie, "GET", "/v1/status")).await;
    assert_eq!(ask(cookie).await.status, 200);
    for wrong in ["menshen-control=", "menshen-control=x", "other=y", ""] {
        ask(wrong).await.refused(401, "token_missing");
    }
    // What it stands for is not the cookie of anybody.
    let secret = format!("menshen-control={CONTROL_SECRET}");
    ask(&secret).await.refused(401, "token_missing");
    // It is for the page's own calls, not for what programs ask.
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/v1/apps/shop/access-token"),
        ("POST", "/v1/apps/shop/users/o1/sign"),
        ("POST", "/v1/backup"),
        ("GET", "/wechat/shop/wxa/getwxadevinfo"),
    ] {
        let reply = Reply::of(by_page(&t, cookie, method, path)).await;
        assert!(
            [401, 403].contains(&reply.status),
            "{path}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn a_login_ends_when_it_is_told_to_and_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder).start().await;
    let (one, other) = (
        log_in(&t, CONTROL_SECRET).await,
        log_in(&t, CONTROL_SECRET).await,
    );
    let out = Reply::of(by_page(&t, &one, "POST", "/v1/status/logout")).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("=; Max-Age=0"), "{out:?}");
    let ask = async |cookie: &str| Reply::of(by_page(&t, cookie, "GET", "/v1/status")).await;
    ask(&one).await.refused(401, "token_missing");
    // A browser that logs in again has one login, not two.
    let before = log_in(&t, CONTROL_SECRET).await;
    let again = by_page(&t, &before, "POST", LOGIN);
    let again = Reply::of(again.json(&json!({"secret": CONTROL_SECRET}))).await;
    assert_eq!(again.status, 204, "{}", again.text());
    ask(&before).await.refused(401, "token_missing");
    t.clock.advance(Duration::from_secs(12 * 3600 - 5));
    assert_eq!(ask(&other).await.status, 200);
    t.clock.advance(Duration::from_secs(5));
    ask(&other).await.refused(401, "token_missing");
}

#[tokio::test]
async fn where_there_is_no_secret_nobody_logs_in_and_where_one_does_not_come_nobody_waits() {
    let bare = TestGateway::start().await;
    bring(&bare, CONTROL_SECRET)
        .await
        .refused(400, "bad_request");
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder).start().await;
    // Whoever shows a secret with each call has no login that could end.
    for (t, secret) in [(&bare, None), (&t, Some(CONTROL_SECRET))] {
        let mut asked = t.control("GET", "/v1/status/caller");
        if let Some(secret) = secret {
            asked = asked.bearer_auth(secret);
        }
        assert_eq!(Reply::of(asked).await.json()["logged_in"], false);
    }
    let mut client = Wire::connect(t.control.unwrap()).await;
    let begun = format!(
        "POST {LOGIN} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{{"
    );
    client.send(begun).await;
    let answer = client.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn wrong_secrets_are_counted_with_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder).start().await;
    let right = log_in(&t, CONTROL_SECRET).await;
    for number in 0..30 {
        if number % 2 == 0 {
            let reply = bring(&t, &format!("a-guess-of-a-secret-{number}")).await;
            reply.refused(401, "token_invalid");
            assert_eq!(reply.header("set-cookie"), "");
        } else {
            let guess = t.control("GET", "/metrics").bearer_auth("guess");
            Reply::of(guess).await.refused(401, "token_invalid");
        }
    }
    bring(&t, CONTROL_SECRET)
        .await
        .refused(429, "too_many_requests");
    let bearer = t.control("GET", "/metrics").bearer_auth(CONTROL_SECRET);
    Reply::of(bearer).await.refused(429, "too_many_requests");
    // Who is logged in goes on, and a page whose login has ended spoils nothing by asking.
    let ask = async |cookie: &str| Reply::of(by_page(&t, cookie, "GET", "/v1/status")).await;
    assert_eq!(ask(&right).await.status, 200);
    t.clock.advance(Duration::from_secs(3600));
    for _ in 0..40 {
        ask("menshen-control=old")
            .await
            .refused(401, "token_missing");
    }
    assert_eq!(bring(&t, CONTROL_SECRET).await.status, 204);
}

#[tokio::test]
async fn other_sites_change_nothing_and_read_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for t in [TestGateway::start().await, builder(&folder).start().await] {
        let token = t.log_in_to("shop", "alice").await.token;
        let session = t.session_id(&token).await;
        let cookie = match t.control("GET", "/metrics").send().await.unwrap().status() {
            status if status.is_success() => String::new(),
            _ => log_in(&t, CONTROL_SECRET).await,
        };
        let end = format!("/v1/sessions/{session}");
        let ask = async |method: &str, path: &str, says: &[(&str, &str)]| {
            let mut request = t.control(method, path).header("cookie", &cookie);
            for (name, value) in says {
                request = request.header(*name, *value);
            }
            Reply::of(request).await.status
        };
        let host = t.control.unwrap();
        let own = format!("http://{host}");
        let other_port = format!("http://127.0.0.1:{}", host.port() ^ 1);
        for says in [
            vec![("sec-fetch-site", "cross-site")],
            vec![("sec-fetch-site", "same-site")],
            vec![("sec-fetch-site", "none"), ("origin", &own)],
            vec![("origin", "https://evil.example")],
            vec![("origin", "null")],
            vec![("origin", &other_port)],
            vec![("origin", "https://evil.example"), SAME],
            vec![("origin", &own), ("origin", "https://evil.example")],
        ] {
            for (method, path) in [
                ("DELETE", end.as_str()),
                ("POST", "/v1/reload"),
                ("POST", "/v1/status/logout"),
                ("GET", "/v1/status"),
                ("GET", "/v1/status/caller"),
            ] {
                let refused = ask(method, path, &says).await;
                assert!(
                    [401, 403].contains(&refused),
                    "{method} {path} {says:?}: {refused}"
                );
            }
            let mut login = t
                .control("POST", LOGIN)
                .json(&json!({"secret": CONTROL_SECRET}));
            for (name, value) in &says {
                login = login.header(*name, *value);
            }
            let refused = Reply::of(login).await;
            assert!([401, 403].contains(&refused.status), "{says:?}");
            assert_eq!(refused.header("set-cookie"), "", "{says:?}");
        }
        // A form of another site's sends no JSON.
        let form = t.control("POST", LOGIN).header(SAME.0, SAME.1);
        let form = form.header("content-type", "text/plain");
        let form = Reply::of(form.body(format!("{{\"secret\":\"{CONTROL_SECRET}\"}}"))).await;
        form.refused(400, "bad_request");
        assert_eq!(t.get_as("/orders", &token).await.status, 200);
        // By its own page it goes.
        assert_eq!(ask("GET", "/v1/status", &[SAME]).await, 200);
        assert_eq!(ask("DELETE", &end, &[("origin", &own), SAME]).await, 204);
        let ended = t.get_as("/orders", &token).await;
        ended.refused(401, "session_ended");
    }
}

#[tokio::test]
async fn with_a_cookie_alone_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder).start().await;
    let cookie = log_in(&t, CONTROL_SECRET).await;
    let ask = async |method: &str, path: &str| {
        let request = t.control(method, path).header("cookie", &cookie);
        Reply::of(request).await
    };
    // Browsers say nothing more for a GET over plain HTTP.
    assert_eq!(ask("GET", "/v1/status").await.status, 200);
    for (method, path) in [
        ("DELETE", "/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA"),
        ("DELETE", "/v1/apps/shop/users/o1/sessions"),
        ("POST", "/v1/reload"),
        ("POST", "/v1/status/logout"),
    ] {
        ask(method, path).await.refused(401, "token_missing");
    }
    // The name of another machine that was made to lead here is no page of ours.
    let bare = TestGateway::start().await;
    let rebound = bare.control("GET", "/v1/status").header(SAME.0, SAME.1);
    let rebound = Reply::of(rebound.header("host", "evil.example")).await;
    rebound.refused(400, "bad_request");
}

#[tokio::test]
async fn a_caller_sees_and_does_what_its_secret_is_good_for() {
    let folder = tempfile::tempdir().unwrap();
    let t = builder(&folder).start().await;
    for (app, user) in [("shop", "alice"), ("club", "bob")] {
        t.log_in_to(app, user).await;
    }
    t.get("/orders?of=shop").send().await.unwrap();
    // It is in what is said of the health, too.
    for app in ["shop", "club"] {
        let token = t.control("GET", &format!("/v1/apps/{app}/access-token"));
        let token = Reply::of(token.bearer_auth(CONTROL_SECRET)).await;
        assert_eq!(token.status, 200, "{}", token.text());
    }
    let viewer = async |cookie: &str| {
        let reply = Reply::of(by_page(&t, cookie, "GET", "/v1/status/caller")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let all = viewer(&log_in(&t, CONTROL_SECRET).await).await;
    let calls = json!(["status", "list_sessions", "end_sessions", "explain_request"]);
    let expected = json!({"name": null, "logged_in": true, "calls": calls, "apps": ["shop", "club"], "all_apps": true});
    assert_eq!(all, expected);

    let crm = log_in(&t, CRM).await;
    let seen = viewer(&crm).await;
    let expected = json!({"name": "crm", "logged_in": true, "calls": ["list_sessions"], "apps": ["shop"], "all_apps": false});
    assert_eq!(seen, expected);
    let ask = async |cookie: &str, method: &str, path: &str| {
        Reply::of(by_page(&t, cookie, method, path)).await
    };
    let own = ask(&crm, "GET", "/v1/apps/shop/users/o1/sessions").await;
    assert_eq!(own.status, 200);
    for (method, path, refusal) in [
        ("GET", "/v1/status", "call_not_allowed"),
        ("GET", "/v1/apps/club/users/o1/sessions", "app_not_allowed"),
        (
            "DELETE",
            "/v1/apps/shop/users/o1/sessions",
            "call_not_allowed",
        ),
        (
            "DELETE",
            "/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA",
            "call_not_allowed",
        ),
        ("GET", "/v1/requests/x", "call_not_allowed"),
    ] {
        ask(&crm, method, path).await.refused(403, refusal);
    }

    let watch = log_in(&t, WATCH).await;
    let seen = ask(&watch, "GET", "/v1/status").await.json();
    assert!(seen["configuration"].is_object() && seen["traffic"].is_object());
    assert_eq!(list_of(&seen, "apps").len(), 2);
    let sessions = ask(&watch, "GET", "/v1/apps/shop/users/o1/sessions").await;
    sessions.refused(403, "call_not_allowed");

    let shops = log_in(&t, SHOPS).await;
    let seen = ask(&shops, "GET", "/v1/status").await.json();
    for part in [
        "traffic",
        "refusals",
        "upstreams",
        "store",
        "keys",
        "certificates",
        "process",
        "configuration",
    ] {
        assert_eq!(seen[part], Value::Null, "{part}");
    }
    assert_eq!(list_of(&seen, "apps").len(), 1);
    assert_eq!(seen["apps"][0]["name"], "shop");
    // A refusal on a route that is for club too is not shop's to know.
    assert_eq!(list_of(&seen, "last_refusals").len(), 0);
    assert!(!seen.to_string().contains("club"), "{seen}");
}

#[tokio::test]
async fn what_happens_is_in_the_document_with_what_to_do() {
    let builder = TestGateway::builder().section("control", WITH_SECRET);
    let builder = builder.section("login", "quota_per_minute = 50");
    let t = builder.start().await;
    let before = status(&t).await;
    assert_eq!(before["apps"][0]["quota_left"], Value::Null);
    let grant = t.log_in("alice").await;
    t.get_as("/orders", &grant.token).await;
    t.get_as("/status/500", &grant.token).await;
    let hostile = "/orders/%3Cscript%3Ealert(1)%3C/script%3E'%22?code=0s3cret";
    let agent = "<script>alert(2)</script>";
    let refused = t.get(hostile).header("user-agent", agent);
    Reply::of(refused).await.refused(401, "token_missing");
    t.fault(json!({"fault": "errcode", "errcode": 40164, "errmsg": "invalid ip 203.0.113.7, not in whitelist", "times": 1}))
        .await;
    t.post("/_auth/login", json!({"code": "0abcdef"}))
        .await
        .refused(502, "wechat_misconfigured");
    let seen = status(&t).await;
    let hour = &seen["traffic"]["hour"];
    assert_eq!(hour["failed"], 2, "{hour}");
    assert_eq!(hour["refused"], 2, "{hour}");
    assert!(hour["requests"].as_u64().unwrap() >= 5, "{hour}");
    assert!(hour["p50"].is_f64() && hour["sent"].as_u64().unwrap() > 0);
    assert_eq!(
        seen["traffic"]["steps"]["requests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let refusal = |code: &str| {
        let all = list_of(&seen, "refusals").iter();
        let mut found = all.filter(|refusal| refusal["code"] == code);
        found
            .next()
            .cloned()
            .unwrap_or_else(|| panic!("{code}: {seen}"))
    };
    let missing = refusal("token_missing");
    assert_eq!(
        (&missing["hour"], &missing["since_start"]),
        (&json!(1), &json!(1))
    );
    let should = missing["operator_should"].as_str().unwrap();
    assert!(should.contains("auth = \"optional\""), "{should}");
    // The latest is first; the path is as it was sent, without the query.
    let last = list_of(&seen, "last_refusals");
    assert_eq!(last[0]["code"], "wechat_misconfigured");
    assert_eq!(last[0]["errcode"], 40164);
    let path = hostile.split('?').next().unwrap();
    assert_eq!(last[1]["request"], format!("GET {path}"));
    assert_eq!(last[1]["client"], "127.0.0.1");
    let app = &seen["apps"][0];
    assert_eq!(
        (&app["quota_per_minute"], &app["quota_left"]),
        (&json!(50), &json!(48.0))
    );
    assert_eq!(app["waiting"], 0.0);
    let logins: Vec<_> = list_of(app, "logins")
        .iter()
        .map(|login| &login["outcome"])
        .collect();
    assert_eq!(logins.len(), 2, "{logins:?}");
    let calls = list_of(app, "calls");
    let bad = calls.iter().find(|call| call["result"] == "40164").unwrap();
    let should = bad["operator_should"].as_str().unwrap();
    assert!(should.contains("IP whitelist"), "{should}");
    let server = json!({"address": t.upstream.address.to_string(), "up": true});
    assert_eq!(seen["upstreams"]["api"]["servers"], json!([server]));
    assert_eq!(seen["upstreams"]["api"]["hour"], 2.0);
    assert_eq!(seen["store"]["stored"], 1.0);
    assert_eq!(seen["store"]["available"], true);
    assert_eq!(seen["keys"][0]["state"], "signing");
    assert_eq!(seen["keys"][0]["algorithm"], "ES256");
    assert_eq!(seen["certificates"], json!([]));
    assert!(seen["process"]["resident_bytes"].as_f64().unwrap() > 1e6);
    assert!(seen["configuration"]["taken_over"].as_f64().unwrap() > 1e9);
    // Nobody asked for the user agent or the query.
    let text = seen.to_string();
    assert!(
        !text.contains("alert(2)") && !text.contains("0s3cret"),
        "{text}"
    );
}

#[tokio::test]
async fn every_number_of_the_document_is_that_of_what_happened() {
    let builder = TestGateway::builder().apps(&["shop", "club"]);
    let t = builder.section("control", WITH_SECRET).start().await;
    let code = t.code("alice").await;
    for _ in 0..2 {
        let redeemed = t.post("/_auth/login", json!({"code": code, "app": "shop"}));
        assert_eq!(redeemed.await.status, 200);
    }
    let grant = t.log_in_to("shop", "alice").await;
    for _ in 0..2 {
        assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    }
    t.get_as("/status/500", &grant.token).await;
    let upload = t.request("POST", "/orders").bearer_auth(&grant.token);
    assert_eq!(Reply::of(upload.body("four")).await.status, 200);
    let grant = t.refresh(&grant.refresh_token).await.json();
    let token = grant["token"].as_str().unwrap();
    t.log_out(token).await;
    let ended = t.get_as("/orders", token).await;
    ended.refused(401, "session_ended");
    t.get_as("/orders", "eyJh.eyJh.eyJh").await;
    let seen = status(&t).await;
    for (place, expected) in [
        ("/store/opened", 2.0),
        ("/store/refreshed", 1.0),
        ("/store/ended", 1.0),
        ("/store/revocations_held", 1.0),
        ("/store/errors", 0.0),
        ("/traffic/requests_open", 0.0),
        ("/traffic/websockets_open", 0.0),
        ("/process/log_lines_dropped", 0.0),
        ("/apps/0/replays", 1.0),
        ("/apps/1/replays", 0.0),
        ("/apps/0/waiting", 0.0),
        ("/upstreams/api/hour", 4.0),
        ("/traffic/steps/refused/0", 2.0),
        ("/traffic/steps/failed/0", 1.0),
    ] {
        let found = seen.pointer(place).and_then(Value::as_f64);
        assert_eq!(found, Some(expected), "{place}: {seen}");
    }
    for place in [
        "/traffic/connections_open",
        "/traffic/reaches",
        "/traffic/steps/p50/0",
        "/traffic/steps/p99/0",
        "/process/cpu_seconds",
        "/process/open_fds",
        "/process/max_fds",
        "/process/cache_entries",
        "/process/cache_hits",
        "/process/cache_misses",
        "/apps/0/login_ms",
        "/upstreams/api/hour_ms",
    ] {
        let found = seen.pointer(place).and_then(Value::as_f64);
        assert!(found > Some(0.0), "{place}: {seen}");
    }
    assert!(seen["traffic"]["hour"]["received"].as_u64() >= Some(4));
    assert!(seen["apps"][0]["waited_ms"].is_f64(), "{seen}");
    assert_eq!(list_of(&seen["apps"][0], "logins").len(), 1);
    assert_eq!(list_of(&seen["apps"][1], "logins").len(), 0);
    assert_ne!(seen["apps"][0]["appid"], seen["apps"][1]["appid"]);
    let last = &seen["last_refusals"];
    for (found, expected) in [
        (&last[0]["token_fault"], "not a JWT"),
        (&last[0]["credential"], "bearer"),
        (&last[1]["code"], "session_ended"),
    ] {
        assert_eq!(found, expected, "{last}");
    }

    let certificate = Certificate::new("shop.example");
    let builder = TestGateway::builder().section("server", &certificate.lines());
    let t = builder.section("control", WITH_SECRET).start().await;
    let seen = status(&t).await;
    let shown = &seen["certificates"][0];
    assert!(shown["file"].as_str().unwrap().ends_with("cert.pem"));
    assert!(shown["expires"].as_f64() > seen["now"].as_f64(), "{shown}");
}

#[tokio::test]
async fn what_does_not_work_is_in_the_document() {
    // Nobody listens there.
    let dead = ByHand::start().await.address;
    let upstreams =
        format!("[[upstream]]\nname = \"dead\"\nservers = [\"{dead}\"]\nmax_fails = 1\n");
    let routes = "[[route]]\npath = \"/\"\nupstream = \"dead\"\nauth = \"public\"\n";
    let builder = TestGateway::builder()
        .upstreams(&upstreams)
        .routes(routes)
        .section("control", WITH_SECRET);
    let t = builder.clone().start().await;
    assert_eq!(t.get("/").send().await.unwrap().status(), 502);
    t.fault(json!({"fault": "errcode", "errcode": 45009, "times": 1}))
        .await;
    t.post("/_auth/login", json!({"code": "0abcdef"}))
        .await
        .refused(503, "wechat_busy");
    let seen = status(&t).await;
    let server = json!({"address": dead.to_string(), "up": false});
    assert_eq!(seen["upstreams"]["dead"]["servers"], json!([server]));
    assert_eq!(seen["apps"][0]["kept_back"], json!(["day"]));
    assert_eq!(seen["wechat"], Value::Null);
    assert!(seen["last_refusals"][0]["ago"].as_f64().unwrap() > 0.0);

    let base = format!("api_base = \"http://{dead}\"");
    let t = builder.section("wechat", &base).start().await;
    t.post("/_auth/login", json!({"code": "0abcdef"}))
        .await
        .refused(503, "wechat_unreachable");
    let seen = status(&t).await;
    for part in ["obstacle", "operator_should"] {
        assert!(!seen["wechat"][part].as_str().unwrap().is_empty(), "{seen}");
    }
}

#[tokio::test]
async fn every_key_is_shown_as_it_was_read_and_no_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let builder = builder(&folder)
        .section("app", "previous_secret_env = \"OTHER_SECRET\"")
        .section("token", "issuer = \"https://issuer.example\"");
    let t = builder.start().await;
    let mut secrets = Secrets::default();
    let grant = t.log_in_to("shop", "alice").await;
    secrets.add_token(&grant.token);
    secrets.add_refresh_token(&grant.refresh_token);
    secrets.add_keys(t.folder.path());
    for secret in [APP_SECRET, OTHER_SECRET, CONTROL_SECRET, CRM, WATCH, SHOPS] {
        secrets.add("a secret", secret);
    }
    let ticket = Reply::of(
        t.control("GET", "/v1/apps/shop/access-token")
            .bearer_auth(CONTROL_SECRET),
    )
    .await;
    secrets.add(
        "an access_token",
        ticket.json()["access_token"].as_str().unwrap(),
    );
    let asked = t.control("GET", "/v1/status").bearer_auth(CONTROL_SECRET);
    let reply = Reply::of(asked).await;
    let told = secrets.told_in(&reply.body, |_| true);
    assert!(told.is_empty(), "{told:#?}");
    let seen = reply.json();
    let settings = list_of(&seen["configuration"], "settings");
    let setting = |key: &str| {
        let found: Vec<_> = settings.iter().filter(|row| row[0] == key).collect();
        assert_eq!(found.len(), 1, "{key}");
        (found[0][1].clone(), found[0][2].clone())
    };
    for (key, state, value) in [
        ("app[1].name", "written", json!("\"shop\"")),
        ("app[2].name", "written", json!("\"club\"")),
        ("app[1].secret_env", "secret", Value::Null),
        ("app[2].previous_secret_env", "secret", Value::Null),
        ("app[1].secret_file", "unset", Value::Null),
        ("control.secret_env", "secret", Value::Null),
        ("control.secret_file", "unset", Value::Null),
        ("control.caller[1].secret_file", "secret", Value::Null),
        (
            "control.caller[1].calls",
            "written",
            json!("[\"list_sessions\"]"),
        ),
        ("session.seal_key_file", "unset", Value::Null),
        ("session.ttl", "default", json!("\"30d\"")),
        (
            "token.issuer",
            "written",
            json!("\"https://issuer.example\""),
        ),
        ("login.refused_per_minute", "written", json!("0")),
        ("route[3].auth", "written", json!("\"optional\"")),
        ("cache.max_tokens", "default", json!("1000000")),
        ("wechat.proxy", "unset", Value::Null),
    ] {
        assert_eq!(setting(key), (json!(state), value), "{key}");
    }
    // Every key that there is, is there.
    for (known, _) in menshen::config::known_keys() {
        let is_it = |key: &str| {
            let plain: String = key.split(['[', ']']).step_by(2).collect();
            plain == known
        };
        let shown = settings.iter().any(|row| is_it(row[0].as_str().unwrap()));
        let optional = ["server.certificate.", "cors.", "web."]
            .iter()
            .any(|start| known.starts_with(start));
        assert!(shown || optional, "{known}");
    }
}

#[tokio::test]
async fn the_last_reload_is_told_and_one_that_takes_a_secret_away_ends_its_logins() {
    let folder = tempfile::tempdir().unwrap();
    let builder = builder(&folder).section("log", "format = \"json\"");
    let upstream = Upstream::start().await.address;
    let site = builder.site(upstream, builder.simulator().await);
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    let address = program.find_control_address().await;
    let http = make_client();
    let ask = async |method: reqwest::Method, path: &str, cookie: &str| {
        let request = http.request(method, format!("http://{address}{path}"));
        let request = request.header(SAME.0, SAME.1).header("cookie", cookie);
        Reply::of(request).await
    };
    let log_in = async |secret: &str| {
        let request = http.post(format!("http://{address}{LOGIN}"));
        let request = request.header(SAME.0, SAME.1);
        let reply = Reply::of(request.json(&json!({"secret": secret}))).await;
        let cookie = reply.header("set-cookie").split(';').next().unwrap_or("");
        (reply.status, cookie.to_owned())
    };
    let (_, all) = log_in(CONTROL_SECRET).await;
    let (_, crm) = log_in(CRM).await;
    let line = program.logs("\"caller\":\"crm\"").await;
    assert!(line.contains("\"call\":\"/v1/status/login\""), "{line}");
    let line = program.logs("\"call\":\"/v1/status/login\"").await;
    assert!(!line.contains(CONTROL_SECRET), "{line}");
    let configuration = async || {
        let seen = ask(reqwest::Method::GET, "/v1/status", &all).await.json();
        seen["configuration"].clone()
    };
    let at_start = configuration().await;
    assert_eq!(
        (&at_start["reloads"], &at_start["refused"]),
        (&json!(0.0), &Value::Null)
    );
    site.change("[[route]]", "[[route]]\nnonsense = 1");
    let refused = ask(reqwest::Method::POST, "/v1/reload", &all).await;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (422, "configuration_invalid")
    );
    let told = configuration().await;
    let problems = list_of(&told["refused"], "problems");
    assert!(problems[0].as_str().unwrap().contains("nonsense"), "{told}");
    site.change("[[route]]\nnonsense = 1", "[[route]]");
    site.change("name = \"crm\"", "name = \"hr\"");
    fs::write(
        folder.path().join("crm"),
        "0000000000000000000000000000hr00",
    )
    .unwrap();
    site.change("[token]", "[token]\nttl = \"1h\"");
    let made = Program::run(site.command(MENSHEN, &["keys", "new"])).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let taken = ask(reqwest::Method::POST, "/v1/reload", &all).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let seen = ask(reqwest::Method::GET, "/v1/status", &all).await.json();
    let keys = list_of(&seen, "keys").iter().map(|key| &key["state"]);
    assert_eq!(keys.collect::<Vec<_>>(), ["signing", "next"]);
    let told = configuration().await;
    assert_eq!(told["refused"], Value::Null);
    assert_eq!(told["restart_needed"], json!(["token"]));
    assert_eq!(told["reloads"], 2.0);
    let gone = ask(reqwest::Method::GET, "/v1/status/caller", &crm).await;
    gone.refused(401, "token_missing");
    assert_eq!(log_in(CRM).await.0, 401);
    let log = program.stop().await.stderr;
    let cookies = [&all, &crm].map(|cookie| cookie.split_once('=').unwrap().1);
    for unsaid in [CONTROL_SECRET, CRM, cookies[0], cookies[1]] {
        assert!(!log.contains(unsaid), "{unsaid}: {log}");
    }
}
