//! HTTP/2 brings no identity either: its headers, trailers and malformed fields end at the gateway like HTTP/1.1's.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use menshen_test_support::{
    Grant, IDENTITY, PREFACE, Received, SETTINGS, TestGateway, folded, forged, make_frame,
    make_lines, spellings,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn headers(lines: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

/// A connection that speaks HTTP/2 without TLS.
struct Http2 {
    requests: client::SendRequest<Bytes>,
    address: SocketAddr,
}

impl Http2 {
    async fn connect(t: &TestGateway) -> Self {
        let stream = TcpStream::connect(t.address).await.unwrap();
        let (requests, connection) = client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self {
            requests,
            address: t.address,
        }
    }

    /// Sends a request and returns the head of the response and its body as JSON.
    async fn send(
        &self,
        method: Method,
        path: &str,
        lines: &[(String, String)],
        trailers: Option<&[(String, String)]>,
    ) -> (Response<()>, Value) {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{}{path}", self.address).parse().unwrap();
        *request.headers_mut() = headers(lines);
        let mut ready = self.requests.clone().ready().await.unwrap();
        let ends = trailers.is_none();
        let (answer, mut body) = ready.send_request(request, ends).unwrap();
        if let Some(trailers) = trailers {
            body.send_data(Bytes::from_static(b"hello"), false).unwrap();
            body.send_trailers(headers(trailers)).unwrap();
        }
        let (head, mut body) = answer.await.unwrap().into_parts();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            bytes.extend_from_slice(&part);
        }
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (Response::from_parts(head, ()), json)
    }

    /// Sends a GET with these lines, and a token if there is one, and returns the status.
    async fn get(&self, path: &str, grant: Option<&Grant>, lines: &[(String, String)]) -> u16 {
        let mut all = lines.to_vec();
        all.extend(grant.map(Grant::line));
        self.send(Method::GET, path, &all, None)
            .await
            .0
            .status()
            .as_u16()
    }
}

#[tokio::test]
async fn every_spelling_of_every_identity_header_is_replaced_by_the_gateways_own_line() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    let http2 = Http2::connect(&t).await;
    for name in IDENTITY {
        for some in spellings(name).chunks(75) {
            let lines: Vec<_> = some
                .iter()
                .map(|name| (name.clone(), "victim".to_owned()))
                .collect();
            assert_eq!(http2.get("/orders", Some(&alice), &lines).await, 200);
            assert_eq!(t.upstream.last().identity(), own, "{some:?}");
        }
    }
}

#[tokio::test]
async fn a_header_sent_several_times_arrives_once_with_the_gateways_value() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    let http2 = Http2::connect(&t).await;
    for name in IDENTITY {
        let several = make_lines(&[(name, "victim"), (name, "another"), (name, "")]);
        assert_eq!(http2.get("/orders", Some(&alice), &several).await, 200);
        assert_eq!(t.upstream.last().identity(), own, "{name}");
    }
}

#[tokio::test]
async fn strangers_stay_strangers() {
    let t = TestGateway::start().await;
    let http2 = Http2::connect(&t).await;
    for path in ["/public", "/optional"] {
        assert_eq!(http2.get(path, None, &forged("victim")).await, 200);
        assert_eq!(
            t.upstream.last().identity(),
            TestGateway::nobody(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn refused_requests_never_touch_the_upstream() {
    let t = TestGateway::start().await;
    let http2 = Http2::connect(&t).await;
    for method in [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD] {
        let (head, _) = http2
            .send(method.clone(), "/orders", &forged("victim"), None)
            .await;
        assert_eq!(head.status(), 401, "{method}");
    }
    assert_eq!(t.upstream.connections(), 0);
}

#[tokio::test]
async fn two_authorizations_are_refused() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let http2 = Http2::connect(&t).await;
    let twice = [alice.line(), alice.line()];
    for path in ["/orders", "/optional", "/public"] {
        let (head, body) = http2.send(Method::GET, path, &twice, None).await;
        assert_eq!(
            (head.status().as_u16(), &body["error"]),
            (400, &"token_ambiguous".into())
        );
    }
    assert_eq!(t.upstream.connections(), 0);
}

#[tokio::test]
async fn a_login_on_the_first_request_brings_the_codes_user() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let code = t.code("alice").await;
    let mut lines = forged("victim");
    lines.retain(|(name, _)| name != "X-Menshen-App");
    lines.push(("x-wx-code".to_owned(), code));
    let http2 = Http2::connect(&t).await;
    let (head, _) = http2.send(Method::GET, "/orders", &lines, None).await;
    assert_eq!(head.status(), 200);
    let who = |lines: Vec<(String, String)>| {
        let wanted = |(name, _): &(String, String)| folded(name) == "x-wx-openid";
        lines.into_iter().filter(wanted).collect::<Vec<_>>()
    };
    assert_eq!(
        who(t.upstream.last().identity()),
        who(t.identity(&alice).await)
    );
}

#[tokio::test]
async fn what_a_stranger_says_about_its_connection_is_not_passed_on() {
    let t = TestGateway::start().await;
    let http2 = Http2::connect(&t).await;
    let said = make_lines(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-proto", "6.6.6.6"),
        ("x.forwarded.host", "6.6.6.6"),
        ("x-request-id", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
    ]);
    assert_eq!(http2.get("/public", None, &said).await, 200);
    let received = t.upstream.last();
    assert_eq!(received.only("x-forwarded-for"), Some("127.0.0.1"));
    assert!(!received.head.contains("6.6.6.6"), "{}", received.head);
}

#[tokio::test]
async fn trailers_bring_no_identity() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let http2 = Http2::connect(&t).await;
    let trailers = make_lines(&[
        ("x-wx-openid", "victim"),
        ("x_wx_source", "victim"),
        ("other", "victim"),
    ]);
    let named = ("trailer".to_owned(), "x-wx-openid".to_owned());
    for (path, more, own) in [
        ("/orders", Some(alice.line()), t.identity(&alice).await),
        ("/public", None, TestGateway::nobody()),
    ] {
        let lines: Vec<_> = [named.clone()].into_iter().chain(more).collect();
        // The backend of these tests gives up on a request that has trailers.
        let (head, _) = http2
            .send(Method::POST, path, &lines, Some(&trailers))
            .await;
        assert_eq!(head.status(), 200);
        let Received {
            headers,
            head,
            body,
            ..
        } = t.upstream.last();
        assert_eq!(body, b"hello");
        assert!(!head.contains("victim"), "{headers:?}");
        assert_eq!(t.upstream.last().identity(), own);
    }
}

#[tokio::test]
async fn a_usual_client_gets_its_own_user_too() {
    let t = TestGateway::start().await;
    let alice = t.log_in("alice").await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let request = http.get(t.url("/orders")).bearer_auth(&alice.token);
    let reply = request
        .headers(headers(&forged("victim")))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (reply.version(), reply.status().as_u16()),
        (reqwest::Version::HTTP_2, 200)
    );
    assert_eq!(t.upstream.last().identity(), t.identity(&alice).await);
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM_AND_HEADERS: u8 = 0x5;

/// A header field in HPACK, neither indexed nor compressed.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).unwrap());
        field.extend_from_slice(text);
    }
    field
}

/// Sends a GET of `/public` with one more field than it needs, and waits until the gateway has dealt with it.
async fn send_field(address: SocketAddr, name: &[u8], value: &[u8]) {
    let mut block = field(b":method", b"GET");
    block.extend(field(b":scheme", b"http"));
    block.extend(field(b":path", b"/public"));
    block.extend(field(b":authority", b"shop"));
    block.extend(field(name, value));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = make_frame(HEADERS, END_STREAM_AND_HEADERS, 1, &block);
    let bytes = [PREFACE, SETTINGS, &head].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        if matches!(head[3], HEADERS | RST_STREAM | GOAWAY) {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream
            .read_exact(&mut vec![0; length as usize])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_well_formed_request_of_these_bytes_is_forwarded() {
    let t = TestGateway::start().await;
    send_field(t.address, b"accept", b"*/*").await;
    assert_eq!(t.upstream.last().only("accept"), Some("*/*"));
}

// What HTTP/2 can carry and HTTP/1.1 cannot: written out, it would be another line, or another request.
#[tokio::test]
async fn a_field_that_http1_cannot_hold_never_reaches_the_upstream() {
    let t = TestGateway::start().await;
    for (name, value) in [
        (&b"X-WX-OPENID"[..], &b"victim"[..]),
        (b"x-Wx-openid", b"victim"),
        (b"x wx openid", b"victim"),
        (b"x-wx-openid:", b"victim"),
        (b"x-wx-openid ", b"victim"),
        (b"a: b\r\nx-wx-openid", b"victim"),
        (b"a", b"b\r\nx-wx-openid: victim"),
        (b"a", b"b\nx-wx-openid: victim"),
        (b"a", b"b\rx-wx-openid: victim"),
        (b"a", b"b\0"),
        (b":x-wx-openid", b"victim"),
        (b"", b"victim"),
        (b"connection", b"x-wx-openid, x-wx-source"),
        (b"keep-alive", b"x-wx-openid"),
        (b"proxy-connection", b"x-wx-openid"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"x-wx-openid"),
    ] {
        send_field(t.address, name, value).await;
        let sent = format!("{}: {}", name.escape_ascii(), value.escape_ascii());
        assert_eq!(t.upstream.requests(), 0, "{sent}");
    }
}
