//! What clients send to Menshen's own endpoints in place of the JSON that belongs there.

use std::time::Duration;

use menshen_test_support::{Reply, TestGateway, raw};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ENDPOINTS: [&str; 2] = ["/_auth/login", "/_auth/refresh"];

async fn post(t: &TestGateway, path: &str, body: impl Into<reqwest::Body>) -> Reply {
    Reply::of(t.request("POST", path).body(body)).await
}

/// Sends a body to both endpoints, which refuse it without asking WeChat.
async fn refused(t: &TestGateway, body: &[u8], status: u16, error: &str) {
    for path in ENDPOINTS {
        let reply = post(t, path, body.to_vec()).await;
        let start = String::from_utf8_lossy(body.get(..40).unwrap_or(body));
        assert_eq!(
            reply.refusal(),
            (status, error.to_owned()),
            "{path} {start}"
        );
    }
    assert_eq!(t.redeemed().await, 0);
}

/// Returns the body of a login and a refresh at once, around a text.
fn around(text: &str) -> String {
    format!("{{\"code\":{text},\"refresh_token\":{text}}}")
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    let t = TestGateway::start().await;
    for body in [
        &b""[..],
        b" ",
        b"null",
        b"true",
        b"1",
        b"\"0a\"",
        b"[]",
        b"[\"0a\"]",
        b"[\"0a\",\"shop\"]",
        b"{",
        b"{\"code\":\"0a\"",
        b"{code:\"0a\"}",
        b"{\"code\":\"0a\",}",
        b"{\"code\":\"0a\"}{}",
        b"{\"code\":\"0a\"} x",
        b"{'code':'0a'}",
        b"code=0a&refresh_token=0a",
        b"\xef\xbb\xbf{\"code\":\"0a\"}",
        b"\x00{}",
        b"<xml/>",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    ] {
        refused(&t, body, 400, "bad_request").await;
    }
}

#[tokio::test]
async fn a_member_of_another_type_is_refused() {
    let t = TestGateway::start().await;
    for value in [
        "1",
        "true",
        "[\"0a\"]",
        "{}",
        "{\"$ne\":null}",
        "1e400",
        "-",
    ] {
        refused(&t, around(value).as_bytes(), 400, "bad_request").await;
    }
    let body = "{\"code\":\"0a\",\"app\":7,\"refresh_token\":7}";
    refused(&t, body.as_bytes(), 400, "bad_request").await;
}

#[tokio::test]
async fn a_member_given_twice_is_refused() {
    let t = TestGateway::start().await;
    let body =
        "{\"code\":\"0a\",\"refresh_token\":\"0a\",\"code\":\"0b\",\"refresh_token\":\"0b\"}";
    refused(&t, body.as_bytes(), 400, "bad_request").await;
    let escaped = "{\"code\":\"0a\",\"refresh_token\":\"0a\",\"c\\u006fde\":\"0b\",\"refresh_t\\u006fken\":\"0b\"}";
    refused(&t, escaped.as_bytes(), 400, "bad_request").await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let t = TestGateway::start().await;
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"a\x00b\"",
        b"\"\\ud800\"",
    ] {
        let body = [b"{\"code\":", bytes, b",\"refresh_token\":", bytes, b"}"].concat();
        refused(&t, &body, 400, "bad_request").await;
    }
}

#[tokio::test]
async fn a_code_that_could_change_the_call_to_wechat_is_refused() {
    let t = TestGateway::start().await;
    let long = "0".repeat(10_000);
    for code in [
        "a\r\nb",
        "a\u{0}b",
        "a&appid=wx1",
        "a#b",
        "a\"b",
        "a b",
        "a%26b",
        "é",
        "\u{202e}",
        &long,
    ] {
        let reply = t.post("/_auth/login", json!({"code": code})).await;
        assert_eq!(reply.refusal(), (400, "bad_request".to_owned()), "{code:?}");
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn a_refresh_needs_a_refresh_token() {
    let t = TestGateway::start().await;
    for body in [
        json!({}),
        json!({"refresh_token": null}),
        json!({"code": "0a"}),
    ] {
        let reply = t.post("/_auth/refresh", body).await;
        assert_eq!(reply.refusal(), (400, "bad_request".to_owned()));
    }
}

#[tokio::test]
async fn deep_nesting_is_no_trouble() {
    let t = TestGateway::start().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let count = 10_000 / open.len();
        let nested = format!("{}1{}", open.repeat(count), close.repeat(count));
        let within = around(&nested);
        let beside = format!("{{\"x\":{nested},\"code\":\"0made0up\",\"refresh_token\":\"x\"}}");
        for body in [nested, within, beside, around(&open.repeat(count))] {
            for path in ENDPOINTS {
                let reply = post(&t, path, body.clone()).await;
                assert!((400..500).contains(&reply.status), "{}", reply.status);
            }
        }
    }
    t.log_in("alice").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_declared_length() {
    let t = TestGateway::start().await;
    let body = around(&format!("\"{}\"", "0".repeat(1_000_000)));
    refused(&t, body.as_bytes(), 413, "body_too_large").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_chunks() {
    let t = TestGateway::start().await;
    for path in ENDPOINTS {
        let part = "0".repeat(4096);
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{{\"code\":\"\r\n"
        );
        for _ in 0..256 {
            request.push_str(&format!("1000\r\n{part}\r\n"));
        }
        request.push_str("2\r\n\"}\r\n0\r\n\r\n");
        let answer = raw(t.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn a_body_without_an_end_is_refused_once_it_is_too_long() {
    let t = TestGateway::start().await;
    let mut stream = TcpStream::connect(t.address).await.unwrap();
    let head = "POST /_auth/login HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "0".repeat(4096));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    // Nothing more is sent: the answer does not wait for the end.
    let mut status = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut status));
    read.await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_broken_chunk_is_refused() {
    let t = TestGateway::start().await;
    for chunk in [
        "x\r\n{}\r\n",
        "-1\r\n{}\r\n",
        "ffffffffffffffffff\r\n{}",
        "2 {}\r\n",
    ] {
        let request = format!(
            "POST /_auth/login HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        );
        let answer = raw(t.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{chunk:?}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_not_waited_for() {
    let t = TestGateway::builder()
        .section("server", "client_timeout = \"300ms\"")
        .start()
        .await;
    for path in ENDPOINTS {
        let mut stream = TcpStream::connect(t.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        // Never idle for as long as the limit.
        let dripping = tokio::spawn(async move {
            while writer.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let mut status = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(10), reader.read_exact(&mut status));
        read.await.unwrap().unwrap();
        assert_eq!(&status, b"HTTP/1.1 408");
        dripping.abort();
    }
}

#[tokio::test]
async fn a_body_that_stops_is_not_waited_for() {
    let t = TestGateway::builder()
        .section("server", "client_timeout = \"50ms\"")
        .start()
        .await;
    // Two limits of the same length run at once; whichever ends first, the answer is the same.
    for n in 0..20 {
        let path = ENDPOINTS[n % 2];
        let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{{");
        let answer = raw(t.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("request_timeout"), "{answer}");
    }
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let t = TestGateway::start().await;
    for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let body = json!({"code": t.code("alice").await}).to_string();
        let request = t
            .request("POST", "/_auth/login")
            .header("Content-Type", kind);
        assert_eq!(Reply::of(request.body(body)).await.status, 200, "{kind}");
    }
}
