//! Servers of HTTP/2 that fail or misbehave: lost connections, interim answers, trailers and data that do not belong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use menshen_test_support::{Reply, TestGateway, Wire};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(10);

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A server whose connections a test accepts one by one.
struct Server(TcpListener);

impl Server {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn accept(&self) -> Connection<TcpStream, Bytes> {
        let accepted = tokio::time::timeout(LIMIT, self.0.accept()).await;
        let (tcp, _) = accepted.unwrap().unwrap();
        h2::server::handshake(tcp).await.unwrap()
    }
}

async fn asked(connection: &mut Connection<TcpStream, Bytes>) -> Asked {
    let asked = tokio::time::timeout(LIMIT, connection.accept()).await;
    asked.unwrap().unwrap().unwrap()
}

/// Has the rest of a connection be served, with each request handed over.
fn serve(mut connection: Connection<TcpStream, Bytes>) -> mpsc::UnboundedReceiver<Asked> {
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(asked)) = connection.accept().await {
            let _ = sender.send(asked);
        }
    });
    requests
}

async fn next(requests: &mut mpsc::UnboundedReceiver<Asked>) -> Asked {
    let asked = tokio::time::timeout(LIMIT, requests.recv()).await;
    asked.unwrap().unwrap()
}

async fn gateway(server: &Server) -> TestGateway {
    let lines = "protocol = \"http2\"\nread_timeout = \"10s\"";
    TestGateway::start_before(server.address(), lines).await
}

fn ok() -> Response<()> {
    Response::new(())
}

fn answer(mut respond: SendResponse<Bytes>) {
    let mut body = respond.send_response(ok(), false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
}

/// Sends a request over a connection of its own, and has the server answer it; returns all that the client gets.
async fn got(method: &str, act: impl FnOnce(SendResponse<Bytes>)) -> String {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let mut client = Wire::connect(t.address).await;
    let request = format!("{method} /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client.send(request).await;
    let mut requests = serve(server.accept().await);
    let (_request, respond) = next(&mut requests).await;
    act(respond);
    client.rest().await
}

/// Loses the connection on which a request waits that is the second there.
async fn lost(server: &Server, t: &TestGateway, method: &str) -> tokio::task::JoinHandle<Reply> {
    let send = |method: &str| {
        let sending = t.request(method, "/x").body("one order");
        tokio::spawn(Reply::of(sending))
    };
    let first = send("GET");
    let mut connection = server.accept().await;
    let (_, respond) = asked(&mut connection).await;
    answer(respond);
    // The first answer leaves while the connection waits for the second request.
    let mut second = None;
    let sent = async {
        assert_eq!(first.await.unwrap().status, 200);
        second = Some(send(method));
    };
    let ((), _request) = tokio::join!(sent, asked(&mut connection));
    drop(connection);
    second.unwrap()
}

#[tokio::test]
async fn what_may_be_repeated_is_sent_again_where_a_kept_connection_is_lost() {
    for method in ["GET", "PUT", "DELETE"] {
        let server = Server::start().await;
        let t = gateway(&server).await;
        let sending = lost(&server, &t, method).await;
        let mut requests = serve(server.accept().await);
        let (request, respond) = next(&mut requests).await;
        assert_eq!(request.method(), method);
        answer(respond);
        assert_eq!(sending.await.unwrap().status, 200, "{method}");
    }
}

#[tokio::test]
async fn what_shared_a_lost_connection_shares_the_next_one() {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let send = || tokio::spawn(Reply::of(t.get("/x")));
    let first = send();
    let mut connection = server.accept().await;
    let (_, respond) = asked(&mut connection).await;
    answer(respond);
    let mut all = Vec::new();
    let sent = async {
        assert_eq!(first.await.unwrap().status, 200);
        all.extend((0..20).map(|_| send()));
    };
    let ((), one) = tokio::join!(sent, asked(&mut connection));
    let mut waiting = vec![one];
    while waiting.len() < all.len() {
        waiting.push(asked(&mut connection).await);
    }
    drop(connection);
    let mut requests = serve(server.accept().await);
    for _ in &all {
        let (_request, respond) = next(&mut requests).await;
        answer(respond);
    }
    for reply in all {
        assert_eq!(reply.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_order_on_a_lost_connection_is_not_sent_twice() {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let reply = lost(&server, &t, "POST").await.await.unwrap();
    assert_eq!(reply.status, 502, "{}", reply.text());
}

#[tokio::test]
async fn an_answer_that_has_begun_with_an_interim_one_is_not_asked_for_again() {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let first = tokio::spawn(Reply::of(t.get("/x")));
    let mut connection = server.accept().await;
    let (_, respond) = asked(&mut connection).await;
    answer(respond);
    let mut client = Wire::connect(t.address).await;
    let second = async {
        assert_eq!(first.await.unwrap().status, 200);
        client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    };
    let ((), (_request, mut respond)) = tokio::join!(second, asked(&mut connection));
    respond.send_informational(interim("</a.css>")).unwrap();
    let hints = client.read_to("\r\n\r\n");
    tokio::select! {
        hints = hints => assert!(hints.starts_with("HTTP/1.1 103 "), "{hints}"),
        _ = connection.accept() => {}
    }
    drop(connection);
    let answer = client.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

fn interim(link: &str) -> Response<()> {
    let hints = Response::builder().status(103).header("link", link);
    let hints = hints.header("menshen-token", "forged");
    hints.body(()).unwrap()
}

#[tokio::test]
async fn interim_answers_pass_without_names_that_are_ours_and_not_without_end() {
    let few = got("GET", |mut respond| {
        respond.send_informational(interim("</a.css>")).unwrap();
        answer(respond);
    });
    let few = few.await;
    assert!(
        few.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{few}"
    );
    let many = got("GET", |mut respond| {
        for _ in 0..40 {
            respond.send_informational(interim("</a.css>")).unwrap();
        }
        answer(respond);
    });
    let many = many.await;
    assert!(many.contains("\r\n\r\nHTTP/1.1 502 "), "{many}");
}

#[tokio::test]
async fn interim_answers_that_nobody_reads_are_not_kept_without_end() {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let mut client = Wire::connect(t.address).await;
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut requests = serve(server.accept().await);
    let (_request, mut respond) = next(&mut requests).await;
    let link = "x".repeat(8_000);
    // The client does not read meanwhile; what it is sent fits into its socket.
    let given_up = async {
        for _ in 0..30 {
            respond.send_informational(interim(&link)).unwrap();
        }
        std::future::poll_fn(|cx| respond.poll_reset(cx)).await
    };
    let given_up = tokio::time::timeout(LIMIT, given_up).await;
    assert!(given_up.is_ok(), "the server may go on");
    let answer = client.read_to("upstream_error").await;
    assert!(answer.contains("\r\n\r\nHTTP/1.1 502 "), "no refusal");
}

#[tokio::test]
async fn a_101_is_no_answer() {
    let answer = got("GET", |mut respond| {
        let head = Response::builder().status(101).body(()).unwrap();
        let _ = respond.send_informational(head);
        answer(respond);
    });
    let answer = answer.await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

fn with_trailers(trailers: HeaderMap) -> impl FnOnce(SendResponse<Bytes>) {
    move |mut respond| {
        let mut body = respond.send_response(ok(), false).unwrap();
        body.send_data(Bytes::from_static(b"ok"), false).unwrap();
        body.send_trailers(trailers).unwrap();
    }
}

#[tokio::test]
async fn trailers_pass_without_names_that_are_ours() {
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-sum", "1"), ("menshen-token", "forged")] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    trailers.insert("content-length", HeaderValue::from_static("9"));
    let answer = got("GET", with_trailers(trailers)).await;
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn trailers_that_are_too_large_break_the_answer_off() {
    let (mut long, mut many) = (HeaderMap::new(), HeaderMap::new());
    let value: HeaderValue = "x".repeat(1000).parse().unwrap();
    for _ in 0..20 {
        long.append("x", value.clone());
    }
    for number in 0..65 {
        let name: HeaderName = format!("x-{number}").parse().unwrap();
        many.append(name, HeaderValue::from_static("x"));
    }
    for trailers in [long, many] {
        let answer = got("GET", with_trailers(trailers)).await;
        assert!(answer.contains("2\r\nok\r\n"), "{answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{answer}");
    }
}

/// Data that stands where there is no body, ended or not.
fn stray(status: u16, ends: bool) -> impl FnOnce(SendResponse<Bytes>) {
    move |mut respond| {
        let head = Response::builder().status(status).body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        let _ = body.send_data(Bytes::from_static(b"stray"), ends);
        if !ends {
            // Dropped, it would be reset.
            std::mem::forget(body);
        }
    }
}

#[tokio::test]
async fn data_behind_an_answer_without_a_body_reaches_nobody() {
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        for ends in [true, false] {
            let answer = got(method, stray(status, ends)).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
            assert!(!answer.contains("stray"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_client_of_http_2_is_not_blamed_for_data_behind_an_answer_without_a_body() {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let tcp = TcpStream::connect(t.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut requests: h2::client::SendRequest<Bytes> = requests.ready().await.unwrap();
    let mut asked = None;
    // As many as would end the connection of a client that gives up what it asks for.
    for _ in 0..250 {
        requests = requests.ready().await.unwrap();
        let request = Request::get("http://h/x").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let asked = match &mut asked {
            Some(asked) => asked,
            None => asked.insert(serve(server.accept().await)),
        };
        let (_request, respond) = next(asked).await;
        stray(204, true)(respond);
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 204);
        assert!(body.data().await.is_none());
    }
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn trailers_of_a_request_pass_without_what_a_backend_could_take_for_framing_or_a_token() {
    let server = Server::start().await;
    let t = gateway(&server).await;
    let mut client = Wire::connect(t.address).await;
    client
        .send(
            "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\
             Content-Length: 9\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\nAuthorization: x\r\n\
             Sec-WebSocket_Protocol: x\r\nCook-ie: a\r\nCookie: a\r\nX_WX_OPENID: victim\r\n\r\n",
        )
        .await;
    let mut requests = serve(server.accept().await);
    let (request, respond) = next(&mut requests).await;
    let mut body = request.into_body();
    while let Some(part) = body.data().await {
        assert_eq!(part.unwrap(), "ok");
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-sum", "cook-ie"]);
    answer(respond);
    assert!(
        client
            .read_to("\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}
