//! Listeners for plain HTTP that only send on to HTTPS: nothing that is asked there reaches a backend.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use menshen_test_support::{Builder, Certificate, TestGateway, raw, status};
use serde_json::json;

/// A gateway that sends on to HTTPS, with these lines in `[server]`.
fn redirecting(lines: &str) -> Builder {
    let lines = format!("redirect_http = [\"127.0.0.1:0\"]\n{lines}");
    TestGateway::builder().section("server", &lines)
}

/// Returns a header of an answer.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
    let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}

async fn ask(t: &TestGateway, request: &str) -> String {
    raw(*t.redirects.first().unwrap(), request.as_bytes()).await
}

#[tokio::test]
async fn every_request_is_sent_to_the_public_url() {
    let t = redirecting("public_url = \"https://shop.example\"")
        .start()
        .await;
    let token = t.log_in("alice").await.token;
    for (line, target) in [
        ("GET /", "/"),
        ("GET /public/a?b=c&d=%20", "/public/a?b=c&d=%20"),
        ("HEAD /public", "/public"),
        ("DELETE /private", "/private"),
        ("OPTIONS /_auth/login", "/_auth/login"),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: other.example\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let answer = ask(&t, &request).await;
        assert_eq!(status(&answer), 308, "{answer}");
        let location = format!("https://shop.example{target}");
        assert_eq!(header(&answer, "location"), Some(location.as_str()));
        assert!(!answer.contains(&token));
    }
    assert_eq!(t.upstream.requests(), 0);
}

#[tokio::test]
async fn without_a_public_url_the_host_and_the_other_port_are_kept() {
    let certificate = Certificate::new("a.example");
    let t = redirecting(&certificate.lines()).start().await;
    let request = "GET /x HTTP/1.1\r\nHost: a.example:80\r\nConnection: close\r\n\r\n";
    let answer = ask(&t, request).await;
    let location = format!("https://a.example:{}/x", t.address.port());
    assert_eq!(header(&answer, "location"), Some(location.as_str()));
    let answer = ask(&t, "GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&answer), 400, "{answer}");
}

#[tokio::test]
async fn nobody_logs_in_in_clear() {
    let t = redirecting("public_url = \"https://shop.example\"")
        .start()
        .await;
    let body = json!({"code": t.code("alice").await}).to_string();
    let request = format!(
        "POST /_auth/login HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(status(&ask(&t, &request).await), 308);
    let code = t.code("alice").await;
    let request = format!(
        "GET /private HTTP/1.1\r\nHost: h\r\nX-WX-Code: {code}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&ask(&t, &request).await), 308);
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn what_has_two_readings_is_refused_there_as_well() {
    let t = redirecting("public_url = \"https://shop.example\"")
        .start()
        .await;
    for request in [
        "GET /a/../b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\nConnection: close\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /a\nLocation: x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    ] {
        let answer = ask(&t, request).await;
        assert_eq!(status(&answer), 400, "{request}: {answer}");
        assert_eq!(header(&answer, "location"), None);
    }
}
