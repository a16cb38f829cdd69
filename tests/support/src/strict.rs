//! A backend that takes nothing on trust: it reads every byte with a parser of its own, and remembers what is wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::folded;

/// How far a reader came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// This much was read, and it says this.
    Done(usize, T),
    /// More has to come.
    More,
    /// It breaks the rules, and this is how.
    Wrong(String),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrictRequest {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// Header lines in order; the bytes of values as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The names of the trailers that followed it.
    pub trailers: Vec<String>,
}

/// The backend. It answers 200 with `ok` and the number of the request in `X-Strict`.
#[derive(Clone, Debug)]
pub struct Strict {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What a [`Strict`] saw since it was asked last.
#[derive(Debug, Default)]
pub struct Seen {
    /// Whole requests, with their numbers.
    pub requests: BTreeMap<usize, StrictRequest>,
    /// What was wrong.
    pub wrong: Vec<String>,
    numbers: usize,
}

impl StrictRequest {
    /// Returns every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter();
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Reads one request as RFC 9112 has it, without any leniency that it allows.
    pub fn read(bytes: &[u8]) -> Step<Self> {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            return match bytes.len() {
                0..2_000_000 => Step::More,
                _ => Step::Wrong("an endless head".to_owned()),
            };
        };
        let mut request = match head(&bytes[..end + 2]) {
            Ok(request) => request,
            Err(wrong) => return Step::Wrong(wrong),
        };
        let rest = &bytes[end + 4..];
        let body = match (
            request.all("transfer-encoding").as_slice(),
            request.all("content-length").as_slice(),
        ) {
            ([], []) => Step::Done(0, (Vec::new(), Vec::new())),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => chunks(rest),
            ([], [length]) => by_length(rest, length),
            framing => Step::Wrong(format!("framed by {framing:?}")),
        };
        match body {
            Step::Done(length, (body, trailers)) => {
                request.body = body;
                request.trailers = trailers;
                Step::Done(end + 4 + length, request)
            }
            Step::More => Step::More,
            Step::Wrong(wrong) => Step::Wrong(wrong),
        }
    }
}

impl Strict {
    /// Starts it on a port that the system chooses.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let backend = Self {
            address: listener.local_addr().expect("is bound"),
            seen: Arc::default(),
        };
        let serving = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        backend
    }

    /// Returns what was seen since this was asked last.
    pub fn take(&self) -> Seen {
        let mut seen = self.seen.lock().expect("is not poisoned");
        let numbers = seen.numbers;
        let empty = Seen {
            numbers,
            ..Seen::default()
        };
        std::mem::replace(&mut *seen, empty)
    }

    async fn serve(self, mut stream: TcpStream) {
        let (mut bytes, mut part) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let number = match StrictRequest::read(&bytes) {
                Step::More => match stream.read(&mut part).await {
                    Ok(length @ 1..) => {
                        bytes.extend_from_slice(&part[..length]);
                        continue;
                    }
                    Ok(0) | Err(_) => return,
                },
                Step::Wrong(wrong) => {
                    let shown = String::from_utf8_lossy(&bytes);
                    let wrong = format!("{wrong} in {shown:?}");
                    self.seen.lock().expect("is not poisoned").wrong.push(wrong);
                    return;
                }
                Step::Done(length, request) => {
                    bytes.drain(..length);
                    let mut seen = self.seen.lock().expect("is not poisoned");
                    seen.numbers += 1;
                    let number = seen.numbers;
                    let head = request.method == "HEAD";
                    seen.requests.insert(number, request);
                    (number, head)
                }
            };
            let (number, head) = number;
            let body = if head { "" } else { "ok" };
            let answer =
                format!("HTTP/1.1 200 OK\r\nX-Strict: {number}\r\nContent-Length: 2\r\n\r\n{body}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Returns where `part` begins.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|here| here == part)
}

fn is_name(name: &str) -> bool {
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(in_name)
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

fn head(bytes: &[u8]) -> Result<StrictRequest, String> {
    let text = latin(bytes);
    let mut lines = text.split_terminator("\r\n");
    let first = lines.next().unwrap_or_default();
    let words: Vec<_> = first.split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return Err(format!("a first line of {first:?}"));
    };
    if !is_name(method) || target.chars().any(|c| c <= ' ' || c == '\x7f') {
        return Err(format!("a first line of {first:?}"));
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(format!("a line of {line:?}"))?;
        let value = value.trim_matches([' ', '\t']);
        let clean = |c: char| c == '\t' || (c >= ' ' && c != '\x7f');
        if !is_name(name) || !value.chars().all(clean) {
            return Err(format!("a line of {line:?}"));
        }
        if ["content-length", "transfer-encoding"].contains(&folded(name).as_str())
            && name.contains(|c: char| !c.is_ascii_alphabetic() && c != '-')
        {
            return Err(format!("a framing alias {line:?}"));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let request = StrictRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
        trailers: Vec::new(),
    };
    if request.all("host").len() > 1 {
        return Err("more than one Host".to_owned());
    }
    Ok(request)
}

fn by_length(bytes: &[u8], length: &str) -> Step<(Vec<u8>, Vec<String>)> {
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return Step::Wrong(format!("a length of {length:?}"));
    }
    match length.parse::<usize>() {
        Ok(length) => match bytes.get(..length) {
            Some(body) => Step::Done(length, (body.to_vec(), Vec::new())),
            None => Step::More,
        },
        Err(error) => Step::Wrong(format!("a length of {length:?}: {error}")),
    }
}

fn chunks(bytes: &[u8]) -> Step<(Vec<u8>, Vec<String>)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = find(rest, b"\r\n") else {
            return Step::More;
        };
        let line = latin(&rest[..end]);
        let size = match line.split_once(';') {
            Some((size, _)) => size.trim_end_matches([' ', '\t']).to_owned(),
            None => line.clone(),
        };
        let clean = line.chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f'));
        // A sign would be read as well.
        let digits = size.len() < 17 && size.bytes().all(|b| b.is_ascii_hexdigit());
        let (true, true, Ok(size)) = (clean, digits, usize::from_str_radix(&size, 16)) else {
            return Step::Wrong(format!("a chunk of {line:?}"));
        };
        let rest = &rest[end + 2..];
        at += end + 2;
        if size == 0 {
            return match trailers(rest) {
                Step::Done(length, names) => Step::Done(at + length, (body, names)),
                Step::More => Step::More,
                Step::Wrong(wrong) => Step::Wrong(wrong),
            };
        }
        let Some(chunk) = rest.get(..size.saturating_add(2)) else {
            return Step::More;
        };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
            return Step::Wrong("a chunk that is longer than it says".to_owned());
        };
        body.extend_from_slice(chunk);
        at += size + 2;
    }
}

fn trailers(bytes: &[u8]) -> Step<Vec<String>> {
    let (mut at, mut names) = (0, Vec::new());
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            return Step::More;
        };
        let line = latin(&bytes[at..at + end]);
        at += end + 2;
        if line.is_empty() {
            return Step::Done(at, names);
        }
        let clean = |c: char| c == '\t' || (c >= ' ' && c != '\x7f');
        match line.split_once(':') {
            Some((name, value)) if is_name(name) && value.chars().all(clean) => {
                names.push(name.to_owned());
            }
            _ => return Step::Wrong(format!("a trailer of {line:?}")),
        }
    }
}
