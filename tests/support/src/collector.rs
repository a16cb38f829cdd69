//! A collector of traces, which takes OTLP over HTTP as its protocol defines it, keeps every byte, and can be in a bad way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span as Exported;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::Received;
use crate::upstream::{read_body, read_head};

const PATIENCE: Duration = Duration::from_secs(20);

/// How a collector answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taking {
    /// It takes everything.
    #[default]
    All,
    /// It answers with this status, and takes nothing.
    Status(u16),
    /// It takes a message but for so many spans.
    AllBut(i64),
    /// It never answers.
    Nothing,
}

/// A span that a collector took.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace's id, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's id, or "".
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `server`, `client` or `internal`.
    pub kind: &'static str,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// What is said of an error; `None` where there was none.
    pub error: Option<String>,
    /// When it began and ended, in nanoseconds.
    pub times: (u64, u64),
    /// Its resource's attributes.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// Returns an attribute, or "".
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A collector; clones are one.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    taking: Mutex<Taking>,
    asked: Mutex<Vec<Received>>,
    taken: Mutex<Vec<Span>>,
    news: Notify,
}

impl Collector {
    /// Starts a collector on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let collector = Self {
            address: listener.local_addr().expect("is bound"),
            shared: Arc::default(),
        };
        let serving = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        collector
    }

    /// Returns the line of `[traces]` that leads here.
    pub fn line(&self) -> String {
        format!("endpoint = \"http://{}\"", self.address)
    }

    /// Says how it answers from now on.
    pub fn take(&self, taking: Taking) {
        *self.shared.taking.lock().expect("is not poisoned") = taking;
    }

    /// Returns every request so far, whatever became of it.
    pub fn asked(&self) -> Vec<Received> {
        self.shared.asked.lock().expect("is not poisoned").clone()
    }

    /// Returns every byte that was received, of heads and bodies.
    pub fn bytes(&self) -> Vec<u8> {
        let asked = self.asked();
        let bytes = asked
            .iter()
            .flat_map(|asked| [asked.head.as_bytes(), &asked.body].concat());
        bytes.collect()
    }

    /// Returns every span so far that it took.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.taken.lock().expect("is not poisoned").clone()
    }

    /// Waits until it has spans of which this is true, and returns them; more than twenty seconds fail the test.
    pub async fn until(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        self.wait(|| {
            let spans = self.spans();
            enough(&spans).then_some(spans)
        })
        .await
    }

    /// Waits until it was asked so often.
    pub async fn was_asked(&self, times: usize) {
        self.wait(|| (self.asked().len() >= times).then_some(()))
            .await;
    }

    async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let waiting = async {
            loop {
                let news = self.shared.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if let Some(found) = look() {
                    return found;
                }
                news.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("not within {PATIENCE:?}; taken: {:#?}", self.spans()),
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(mut request) = read_head(&mut stream, &mut buffer).await {
            let Some(body) = read_body(&mut stream, &mut buffer, &mut request).await else {
                return;
            };
            request.body = body;
            let is_export = request.method == "POST"
                && request.target == "/v1/traces"
                && request.only("content-type") == Some("application/x-protobuf");
            let message = ExportTraceServiceRequest::decode(&*request.body);
            self.shared
                .asked
                .lock()
                .expect("is not poisoned")
                .push(request);
            self.shared.news.notify_waiters();
            let taking = *self.shared.taking.lock().expect("is not poisoned");
            let status = match (message, taking) {
                (Ok(message), Taking::All | Taking::AllBut(_)) if is_export => {
                    let mut taken = self.shared.taken.lock().expect("is not poisoned");
                    taken.extend(read(message));
                    200
                }
                (Ok(_), Taking::Status(status)) if is_export => status,
                (Ok(_), Taking::Nothing) if is_export => std::future::pending().await,
                _ => 400,
            };
            self.shared.news.notify_waiters();
            let refused = match taking {
                Taking::AllBut(count) => count,
                Taking::All | Taking::Status(_) | Taking::Nothing => 0,
            };
            let answer = ExportTraceServiceResponse {
                partial_success: (refused > 0).then(|| ExportTracePartialSuccess {
                    rejected_spans: refused,
                    error_message: "too old".to_owned(),
                }),
            };
            let body = answer.encode_to_vec();
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = [head.as_bytes(), &body].concat();
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn read(message: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in message.resource_spans {
        let resource = of_resource.resource.unwrap_or_default();
        let resource = texts(&resource.attributes);
        for of_scope in of_resource.scope_spans {
            let read = |span: Exported| Span {
                resource: resource.clone(),
                ..one(span)
            };
            spans.extend(of_scope.spans.into_iter().map(read));
        }
    }
    spans
}

fn one(span: Exported) -> Span {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let status = span.status.unwrap_or_default();
    Span {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        kind: match span.kind {
            1 => "internal",
            2 => "server",
            3 => "client",
            _ => "other",
        },
        attributes: texts(&span.attributes),
        error: (status.code == 2).then_some(status.message),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        resource: BTreeMap::new(),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = attributes.iter();
    pairs
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}
