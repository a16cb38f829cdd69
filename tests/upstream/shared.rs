//! Exchanges share connections to a server of HTTP/2, and one that the server does not read stalls no other: not those that began
//! beside it either.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use menshen_test_support::{Reply, TestGateway, nobody_waits};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// What a stream and a connection hold by default, which is what a server of the crate h2 lets them hold.
const WINDOW: usize = 65_535;

/// A server of HTTP/2 with the default windows. It gives nothing back of what `/deaf` holds, also when that was given up; sends
/// each part back for `/echo`; and reads a body before it answers everything else.
struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The paths of what has come, and what became of `/deaf`.
    came: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, came) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tcp.set_nodelay(true).unwrap();
                let tell = tell.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(tcp).await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let _ = tell.send(request.uri().path().to_owned());
                        match request.uri().path() {
                            "/deaf" => tokio::spawn(deaf(request, respond, tell.clone())),
                            _ => tokio::spawn(answer(request, respond)),
                        };
                    }
                });
            }
        });
        Self {
            address,
            connections,
            came: Mutex::new(came),
        }
    }

    async fn has(&self, path: &str) {
        let mut came = self.came.lock().await;
        while timeout(LIMIT, came.recv()).await.unwrap().unwrap() != path {}
    }

    /// Returns once `/deaf` holds so many bytes.
    async fn holds(&self, least: usize) {
        let mut came = self.came.lock().await;
        let mut size = 0;
        while size < least {
            let said = timeout(LIMIT, came.recv()).await.unwrap().unwrap();
            let bytes = said.strip_suffix(" bytes");
            size = bytes.map_or(size, |bytes| bytes.parse().unwrap());
        }
    }

    async fn gateway(&self) -> TestGateway {
        TestGateway::start_before(self.address, "protocol = \"http2\"").await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn deaf(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    tell: mpsc::UnboundedSender<String>,
) {
    let mut body = request.into_body();
    let mut size = 0;
    while let Some(Ok(part)) = body.data().await {
        size += part.len();
        let _ = tell.send(format!("{size} bytes"));
    }
    let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
    let _ = tell.send("given up".to_owned());
    pending().await
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    match path.as_str() {
        "/echo" => {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(part)) = body.data().await {
                let _ = body.flow_control().release_capacity(part.len());
                let _ = sending.send_data(part, false);
            }
            let _ = sending.send_data(Bytes::new(), true);
        }
        _ => {
            while let Some(Ok(part)) = body.data().await {
                let _ = body.flow_control().release_capacity(part.len());
            }
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            let _ = sending.send_data(Bytes::from_static(b"ok"), true);
            let _ = poll_fn(|cx| sending.poll_reset(cx)).await;
        }
    }
}

async fn client(t: &TestGateway) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(t.address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// Begins a call of gRPC, whose client does not say how much it will send.
async fn call(client: &SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://h{path}"));
    let request = request.header("content-type", "application/grpc");
    let mut ready = client.clone().ready().await.unwrap();
    let request = request.body(()).unwrap();
    ready.send_request(request, false).unwrap()
}

/// A call whose server sends back what it gets.
struct Echo(SendStream<Bytes>, RecvStream);

impl Echo {
    async fn start(client: &SendRequest<Bytes>) -> Self {
        let (response, sending) = call(client, "/echo").await;
        let response = timeout(LIMIT, response).await.unwrap().unwrap();
        Self(sending, response.into_body())
    }

    async fn say(&mut self, size: usize) {
        let Self(sending, body) = self;
        sending
            .send_data(Bytes::from(vec![b'x'; size]), false)
            .unwrap();
        let mut left = size;
        while left > 0 {
            let part = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(part.len()).unwrap();
            left -= part.len();
        }
    }
}

/// Checks that others who post so many bytes are answered as fast as always.
async fn nobody_waits_who_posts(t: &TestGateway, size: usize) {
    nobody_waits(|| {
        let request = t.request("POST", "/other").body(vec![b'x'; size]);
        async move { assert_eq!(Reply::of(request).await.status, 200) }
    })
    .await;
}

#[tokio::test]
async fn calls_that_a_server_does_not_read_stall_none_that_began_beside_them() {
    let backend = Backend::start().await;
    let t = backend.gateway().await;
    let (greedy, others) = (client(&t).await, client(&t).await);
    // All begin before any has sent much.
    let (mut unread, mut echoes) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        unread.push(call(&greedy, "/deaf").await);
        backend.has("/deaf").await;
        let mut echo = Echo::start(&others).await;
        echo.say(10).await;
        echoes.push(Arc::new(Mutex::new(echo)));
    }
    for (_, sending) in &mut unread {
        let much = Bytes::from(vec![b'x'; 4 * WINDOW]);
        sending.send_data(much, false).unwrap();
    }
    let mut turns = echoes.iter().cycle();
    let turn = move || Arc::clone(turns.next().unwrap());
    let turn = std::cell::RefCell::new(turn);
    nobody_waits(|| {
        let echo = (turn.borrow_mut())();
        async move { echo.lock().await.say(2_000).await }
    })
    .await;
    nobody_waits_who_posts(&t, 1_000).await;
    nobody_waits_who_posts(&t, 200_000).await;
}

#[tokio::test]
async fn uploads_that_are_given_up_hold_nothing_that_others_need() {
    let backend = Backend::start().await;
    let t = backend.gateway().await;
    let client = client(&t).await;
    for size in [WINDOW, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000] {
        let request = Request::post("http://h/deaf").header("content-length", size);
        let mut ready = client.clone().ready().await.unwrap();
        let request = request.body(()).unwrap();
        let (_response, mut sending) = ready.send_request(request, false).unwrap();
        let whole = Bytes::from(vec![b'x'; size]);
        sending.send_data(whole, false).unwrap();
        backend.holds(size).await;
        sending.send_reset(Reason::CANCEL);
        backend.has("given up").await;
    }
    nobody_waits_who_posts(&t, 5_000).await;
}

#[tokio::test]
async fn calls_whose_body_is_there_share_a_connection_as_requests_without_one_do() {
    let backend = Backend::start().await;
    let t = backend.gateway().await;
    let client = client(&t).await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        let (response, mut sending) = call(&client, "/other").await;
        sending
            .send_data(Bytes::from(vec![b'x'; 500]), true)
            .unwrap();
        answers.push(response);
    }
    for answer in answers {
        let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(backend.connections(), 1);
}
