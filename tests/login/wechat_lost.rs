//! What speaks no HTTP at WeChat's address, or ends connections without an answer, is told in the log and at `/readyz`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use menshen_test_support::{Node, Reply};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::wechat_reach::{degraded, lines, log_in, serving, told_of};

/// Starts a program whose WeChat answers every call with these bytes and ends the connection.
async fn answered_with(bytes: &'static [u8]) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    serving(&format!("api_base = \"http://{address}\"")).await
}

#[tokio::test]
async fn what_speaks_no_http_in_wechats_place_is_told() {
    let alert = b"\x15\x03\x01\x00\x02\x02\x46";
    for bytes in [&alert[..], b"SSH-2.0-OpenSSH_9.6\r\n", b"garbage\r\n\r\n"] {
        let node = answered_with(bytes).await;
        log_in(&node).await.refused(503, "wechat_unreachable");
        let told = node.program.logs("WeChat cannot be reached: ").await;
        assert!(told.contains("it is not HTTP"), "{told}");
        let refused = node.program.logs("login refused").await;
        assert!(refused.contains("it is not HTTP"), "{refused}");
        assert_eq!(degraded(&node).await, json!(["wechat"]));
    }
}

#[tokio::test]
async fn connections_that_end_without_an_answer_are_told() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
        let node = answered_with(bytes).await;
        // The code may be spent.
        log_in(&node).await.refused(504, "wechat_timeout");
        let other = Reply::of(node.login_with("0zyxwvutsrqponmlkjihgfedcba98765")).await;
        assert!(
            other.status == 504 || other.status == 503,
            "{}",
            other.status
        );
        node.program.logs_times("login refused", 2).await;
        let told = told_of(&node);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["level"], "WARN");
        assert_eq!(
            told[0]["cause"],
            "the connection ended before there was an answer"
        );
        assert!(told[0]["host"].is_string(), "{told:?}");
        let first = &lines(&node.program, "login refused")[0];
        assert!(
            first["cause"].as_str().unwrap().contains("ended"),
            "{first}"
        );
        assert_eq!(degraded(&node).await, json!(["wechat"]));
    }
}
