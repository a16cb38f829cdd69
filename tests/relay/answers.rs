//! Answers that WeChat's API does not give: pages, redirects, halves and more than was announced, byte by byte.

use std::sync::{Arc, Mutex};

use menshen_test_support::{Reply, TestGateway};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "90_t0ken-of-a-strange-wechat";

/// A WeChat that gives a token, and answers every other call with these bytes.
struct Strange {
    t: TestGateway,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Strange {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let given = Arc::clone(&answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, Arc::clone(&given)));
            }
        });
        let lines = format!("api_base = \"http://{address}\"\ntimeout = \"2s\"");
        let t = TestGateway::builder().section("wechat", &lines);
        let t = t.start().await;
        Self { t, answer }
    }

    async fn answered(&self, answer: &[u8]) -> Reply {
        *self.answer.lock().unwrap() = answer.to_vec();
        let call = self
            .t
            .control("POST", "/wechat/shop/cgi-bin/message/subscribe/send")
            .json(&json!({"touser": "o1"}));
        let reply = Reply::of(call).await;
        assert!(!reply.text().contains(TOKEN), "{}", reply.text());
        for (name, value) in &reply.headers {
            assert!(
                !value.to_str().unwrap_or_default().contains(TOKEN),
                "{name}"
            );
        }
        reply
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Mutex<Vec<u8>>>) {
    let (mut asked, mut part) = (Vec::new(), [0; 4096]);
    while !asked.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(length @ 1..) => asked.extend_from_slice(&part[..length]),
            Ok(0) | Err(_) => return,
        }
    }
    let answer = match asked.starts_with(b"POST /cgi-bin/stable_token") {
        true => whole(&json!({"access_token": TOKEN, "expires_in": 7200}).to_string()),
        false => answer.lock().unwrap().clone(),
    };
    for byte in answer {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn a_page_is_refused_whatever_stands_before_it() {
    let strange = Strange::start().await;
    let page = "<!doctype html><title>Please log in</title>";
    for before in ["", "\r\n \t", "\u{feff}", "\u{feff}\n"] {
        let reply = strange.answered(&whole(&format!("{before}{page}"))).await;
        assert_eq!(
            reply.refusal(),
            (502, "wechat_error".to_owned()),
            "{before:?}"
        );
    }
}

#[tokio::test]
async fn an_error_is_known_however_it_is_cut() {
    let strange = Strange::start().await;
    let stale = r#"{"errcode":40001,"errmsg":"invalid credential"}"#;
    for before in ["", "\n", "\u{feff}", "\u{feff} "] {
        let body = format!("{before}{stale}");
        let reply = strange.answered(&whole(&body)).await;
        assert_eq!((reply.status, reply.text()), (200, body));
    }
    let half = strange.answered(&whole("{\"errcode\":40001,")).await;
    half.refused(502, "wechat_error");
}

#[tokio::test]
async fn what_is_not_one_answer_is_refused() {
    let strange = Strange::start().await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://evil.example/?access_token={TOKEN}\r\nContent-Length: 0\r\n\r\n"
    );
    let ok = "HTTP/1.1 200 OK\r\n";
    for (answer, status) in [
        (redirect, 502),
        (
            format!("HTTP/1.1 204 No Content\r\nX-Token: {TOKEN}\r\n\r\n"),
            502,
        ),
        (
            format!("HTTP/1.1 500 Oh\r\nContent-Length: 28\r\n\r\n{TOKEN}"),
            502,
        ),
        (
            format!("{ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"),
            504,
        ),
        (
            format!("{ok}Content-Length: 900\r\n\r\n{{\"errcode\":0"),
            504,
        ),
        (
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"err"),
            504,
        ),
        (
            format!("{ok}Connection: close\r\n\r\n{{\"errcode\":0,\"a"),
            502,
        ),
        (format!("{ok}{}\r\n", "X: y\r\n".repeat(4000)), 504),
        (format!("{ok}X: {}\r\n\r\n", "y".repeat(20_000)), 504),
        (format!("SSH-2.0-{TOKEN}\r\n\r\n"), 504),
        (String::new(), 504),
    ] {
        let reply = strange.answered(answer.as_bytes()).await;
        assert_eq!(reply.refusal().0, status, "{answer:.80}: {}", reply.text());
    }
}
