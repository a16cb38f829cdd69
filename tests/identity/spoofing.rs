//! A client cannot say who it is: however it spells, repeats or renames an identity header, the backend gets
//! the gateway's own line and no other.

use menshen_test_support::{
    Grant, IDENTITY, Reply, TestGateway, folded, forged, make_line, raw, raw_request, spellings,
    status,
};

/// Header lines that carry a token, then `lines`.
fn with_token(grant: &Grant, lines: &[(String, String)]) -> Vec<(String, String)> {
    let mut all = vec![grant.line()];
    all.extend_from_slice(lines);
    all
}

/// Asks for `/orders` as alice with every spelling of `name`, and asserts that each time nothing of it arrives
/// but what the gateway sets.
async fn every_spelling_is_replaced(t: &TestGateway, alice: &Grant, name: &str) {
    let own = t.identity(alice).await;
    for some in spellings(name).chunks(75) {
        let lines: Vec<_> = some.iter().map(|name| make_line(name, "victim")).collect();
        let answer = raw_request(t.address, "GET /orders", &with_token(alice, &lines)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(t.upstream.last().identity(), own, "{some:?}");
    }
}

// Without this, all the others might look for something that a backend would never see.
#[tokio::test]
async fn without_the_gateway_every_spelling_arrives() {
    let t = TestGateway::start().await;
    for name in IDENTITY {
        for some in spellings(name).chunks(75) {
            let lines: Vec<_> = some.iter().map(|name| make_line(name, "victim")).collect();
            raw_request(t.upstream.address, "GET /close", &lines).await;
            assert_eq!(t.upstream.last().identity().len(), some.len());
        }
    }
}

// Underscores were let through in CVE-2025-64484, dots in the first fix of CVE-2026-54763.
#[tokio::test]
async fn every_spelling_of_every_identity_header_is_replaced_by_the_gateways_own_line() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    for name in IDENTITY {
        every_spelling_is_replaced(&t, &alice, name).await;
    }
}

#[tokio::test]
async fn one_alias_alone_is_removed() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for name in ["X_WX_OPENID", "x-WX_openid", "X.WX-OPENID", "x|wx|openid"] {
        raw_request(
            t.address,
            "GET /orders",
            &with_token(&alice, &[make_line(name, "victim")]),
        )
        .await;
        assert_eq!(t.upstream.last().identity(), own, "{name}");
    }
}

#[tokio::test]
async fn a_header_sent_several_times_arrives_once_with_the_gateways_value() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for name in IDENTITY {
        let twice = [
            make_line(name, "victim"),
            make_line(name, "another"),
            make_line(&name.to_lowercase(), ""),
            make_line(&name.to_uppercase(), "victim,another"),
        ];
        let answer = raw_request(t.address, "GET /orders", &with_token(&alice, &twice)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(t.upstream.last().identity(), own, "{name}");
    }
}

// What is removed only where it is replaced survives in the one case where there is nothing to put in its place:
// Caddy's GHSA-7r4p-vjf4-gxv4.
#[tokio::test]
async fn a_user_without_a_unionid_cannot_bring_one() {
    let t = TestGateway::builder().without_unionids().start().await;
    let alice = t.log_in("alice").await;
    every_spelling_is_replaced(&t, &alice, "X-WX-UNIONID").await;
    assert!(t.upstream.last().aliases("x-wx-unionid").is_empty());
}

#[tokio::test]
async fn headers_that_backends_fall_back_to_are_removed() {
    let t = TestGateway::start().await;
    for name in [
        "X-WX-FROM-OPENID",
        "X-WX-FROM-APPID",
        "x-wx-sources",
        "X-WX-SOURCE",
    ] {
        raw_request(t.address, "GET /public", &[(name, "victim")]).await;
        assert_eq!(
            t.upstream.last().identity(),
            TestGateway::nobody(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn headers_that_servers_take_for_the_client_its_proxy_or_the_method_are_removed() {
    let by_method = "[[route]]\nupstream = \"api\"\nauth = \"public\"\n\
        [[route]]\npath = \"/x\"\nmethods = [\"DELETE\"]\nupstream = \"api\"\n";
    let by_path = "[[route]]\nupstream = \"api\"\nauth = \"public\"\n";
    let always = ["Proxy", "True-Client-IP", "Client_IP", "X.Client.IP"];
    let methods = [
        "X-HTTP-Method-Override",
        "x_http_method",
        "X-Method-Override",
    ];
    for (routes, left) in [(by_method, 0), (by_path, 1)] {
        let t = TestGateway::builder().routes(routes).start().await;
        let mut request = t.request("POST", "/y");
        for name in always.iter().chain(&methods) {
            request = request.header(*name, "forged");
        }
        assert_eq!(Reply::of(request).await.status, 200);
        for name in always {
            assert!(t.upstream.last().all(name).is_empty(), "{name}");
        }
        for name in methods {
            assert_eq!(t.upstream.last().all(name).len(), left, "{name}");
        }
    }
}

#[tokio::test]
async fn a_renamed_header_is_as_safe_as_the_one_it_replaces() {
    let t = TestGateway::builder()
        .section(
            "headers",
            "[headers.rename]\nopenid = \"X-User-Id\"\nclient_address = \"Client_IP\"\nsession = \"sid\"",
        )
        .start()
        .await;
    let alice = t.log_in("alice").await;
    let session = t.get_as("/_auth/session", &alice.token).await.json();
    let mut lines = forged("victim");
    for name in ["X-User-Id", "Client_IP"] {
        lines.extend(
            spellings(name)
                .into_iter()
                .step_by(7)
                .map(|name| (name, "victim".to_owned())),
        );
    }
    lines.extend([
        make_line("x.user.id", "victim"),
        make_line("CLIENT-IP", "victim"),
        make_line("SID", "victim"),
    ]);
    let answer = raw_request(t.address, "GET /orders", &with_token(&alice, &lines)).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let received = t.upstream.last();
    let openid = session["openid"].as_str().unwrap();
    assert_eq!(
        received.aliases("x-user-id"),
        [make_line("x-user-id", openid)]
    );
    assert_eq!(
        received.aliases("client-ip"),
        [make_line("client_ip", "127.0.0.1")]
    );
    assert_eq!(
        received.aliases("sid"),
        [make_line("sid", session["session"].as_str().unwrap())]
    );
    let others: Vec<_> = received
        .identity()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        others,
        ["x-menshen-app", "x-wx-appid", "x-wx-source", "x-wx-unionid"]
    );

    raw_request(t.address, "GET /public", &lines).await;
    let received = t.upstream.last();
    assert!(received.aliases("x-user-id").is_empty());
    assert!(received.aliases("sid").is_empty());
    assert!(received.identity().is_empty());
}

#[tokio::test]
async fn environment_and_assertion_are_the_gateways_own() {
    let t = TestGateway::builder()
        .section("headers", "env = \"prod\"\nassertion = true")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    raw_request(
        t.address,
        "GET /orders",
        &with_token(&alice, &forged("victim")),
    )
    .await;
    let received = t.upstream.last();
    assert_eq!(
        received.aliases("x-wx-env"),
        [make_line("x-wx-env", "prod")]
    );
    assert_eq!(received.aliases("x-menshen-assertion").len(), 1);
    let assertion = received.only("x-menshen-assertion").unwrap();
    assert_eq!(assertion.split('.').count(), 3, "{assertion}");

    raw_request(t.address, "GET /public", &forged("victim")).await;
    let mut own = TestGateway::nobody();
    own.push(make_line("x-wx-env", "prod"));
    assert_eq!(t.upstream.last().identity(), own);
}

#[tokio::test]
async fn what_a_stranger_says_about_its_connection_is_not_passed_on() {
    let t = TestGateway::start().await;
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-User",
        "X-Request-Id",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
    ];
    for name in names {
        let lines: Vec<_> = spellings(name)
            .into_iter()
            .step_by(2)
            .map(|name| make_line(&name, "6.6.6.6"))
            .collect();
        let answer = raw_request(t.address, "GET /public", &lines).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let received = t.upstream.last();
        let believed = received
            .headers
            .iter()
            .find(|(_, value)| value == "6.6.6.6");
        assert_eq!(believed, None);
        assert_eq!(
            received.aliases("x-forwarded-for"),
            [make_line("x-forwarded-for", "127.0.0.1")]
        );
        assert_eq!(
            received.aliases("x-forwarded-proto"),
            [make_line("x-forwarded-proto", "http")]
        );
        assert_eq!(received.aliases("x-request-id").len(), 1);
    }
    raw_request(t.address, "GET /public", &[("Forwarded", "for=6.6.6.6")]).await;
    assert!(t.upstream.last().aliases("forwarded").is_empty());
}

#[tokio::test]
async fn the_backend_and_the_client_get_the_same_request_id_and_it_is_not_the_clients() {
    let t = TestGateway::start().await;
    let reply = Reply::of(t.get("/public").header("x-request-id", "mine")).await;
    let id = t.upstream.last().only("x-request-id").unwrap().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(reply.header("x-request-id"), id);
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_the_client_and_for_no_user() {
    let t = TestGateway::builder()
        .section("server", "trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    let mut own = t.identity(&alice).await;
    own.retain(|(name, _)| name != "x-original-forwarded-for");
    own.insert(2, make_line("x-original-forwarded-for", "203.0.113.9"));
    let mut lines = forged("victim");
    lines.extend([
        make_line("X-Forwarded-For", "6.6.6.6, 203.0.113.9"),
        make_line("X_Forwarded_For", "6.6.6.6"),
        make_line("X-Forwarded-Proto", "https"),
        make_line("X.Forwarded.Proto", "gopher"),
        make_line("X-Forwarded-Host", "shop.example"),
        make_line("X_Forwarded-Host", "evil.example"),
        make_line("X-Request-Id", "of-the-proxy"),
        make_line("X_Request_Id", "of-the-client"),
    ]);
    let answer = raw_request(t.address, "GET /orders", &with_token(&alice, &lines)).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let received = t.upstream.last();
    assert_eq!(received.identity(), own);
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "of-the-proxy"),
    ] {
        assert_eq!(received.aliases(name), [make_line(name, value)]);
    }
}

// `php -S` reads a space in a name as an underscore; a line that another parser would split is as good as a name.
#[tokio::test]
async fn a_header_line_that_parsers_read_differently_brings_no_identity() {
    let t = TestGateway::start().await;
    for odd in [
        &b"X-WX-OPENID : victim"[..],
        b"X-WX-OPENID\t: victim",
        b"X WX OPENID: victim",
        b"X\xffWX\xffOPENID: victim",
        b"X\"WX\"OPENID: victim",
        b"X-WX-OPENID\0: victim",
        b" X-WX-OPENID: victim",
        b"\tX-WX-OPENID: victim",
        b"A: b\r\n X-WX-OPENID: victim",
        b"A: b\rX-WX-OPENID: victim",
        b"A: b\nX-WX-OPENID: victim",
        b"A: b\r\r\nX-WX-OPENID: victim",
        b"A: b\0\r\nX-WX-OPENID: victim",
        b"A\r\nX-WX-OPENID: victim",
        b": b\r\nX-WX-OPENID: victim",
        b"X-WX-OPENID\r\n: victim",
    ] {
        let mut request = b"GET /public HTTP/1.1\r\nHost: shop\r\n".to_vec();
        request.extend_from_slice(odd);
        request.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        let before = t.upstream.requests();
        let answer = raw(t.address, &request).await;
        let odd = odd.escape_ascii();
        if status(&answer) == 400 {
            assert_eq!(t.upstream.requests(), before, "{odd}");
            continue;
        }
        assert_eq!(status(&answer), 200, "{odd}: {answer}");
        let received = t.upstream.last();
        assert_eq!(received.identity(), TestGateway::nobody(), "{odd}");
        let mut lines = received.head.split(['\r', '\n']).map(str::trim_start);
        assert!(
            !lines.any(|line| folded(line).starts_with("x-wx-")),
            "{odd}"
        );
    }
}

#[tokio::test]
async fn headers_that_only_resemble_ours_arrive_untouched() {
    let t = TestGateway::start().await;
    let others = [
        make_line("X-WXY-OPENID", "1"),
        make_line("XWX-OPENID", "2"),
        make_line("WX-OPENID", "3"),
        make_line("x-wx", "4"),
        make_line("Menshen-App", "5"),
        make_line("x_menshen", "6"),
        make_line("X-Original-Forwarded", "7"),
    ];
    raw_request(t.address, "GET /public", &others).await;
    let received = t.upstream.last();
    for (name, value) in &others {
        assert_eq!(received.only(name), Some(value.as_str()), "{name}");
    }
}
