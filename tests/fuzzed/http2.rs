//! Generated and spoiled HTTP/2: nothing crashes or hangs, and the backend gets what one strict reader reads.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use menshen_test_support::{Fuzzed, IDENTITY, PREFACE, StrictRequest, fuzz};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CASES: u32 = 400;

/// Longer than the gateway waits for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// How long an answer may take where it is waited for, although none may be due.
const SOON: Duration = Duration::from_millis(25);

const SMUGGLED: &[u8] =
    b"GET /smuggled HTTP/1.1\r\nHost: h\r\nX-Case: smuggled\r\nContent-Length: 0\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

type Field = (String, Vec<u8>);

/// What is done to the fields of a good request.
#[derive(Clone, Debug)]
enum Change {
    Add(Field),
    /// At a place, so that it may come before `:path`.
    Insert(usize, Field),
    Drop(usize),
    Repeat(usize),
    ToTheEnd(usize),
    UpperCase(usize),
    Value(usize, Vec<u8>),
}

/// How a header block is cut into frames.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cut {
    Whole,
    Parts(Vec<u16>),
    /// With this frame between the parts, which is not allowed.
    Between(u8, u32),
    /// Without an end.
    Never,
}

#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    changes: Vec<Change>,
    cut: Cut,
    padded: Option<u8>,
    priority: bool,
    data: Vec<Vec<u8>>,
    /// The declared length less the true one; `None` declares nothing.
    declared: Option<i64>,
    trailers: Option<Vec<Field>>,
    ends: bool,
    resets: bool,
}

/// A frame that nobody asked for.
#[derive(Clone, Debug)]
struct Stray {
    kind: u8,
    flags: u8,
    stream: StrayTo,
    payload: Vec<u8>,
    /// What is added to the length that it says.
    longer: i32,
}

#[derive(Clone, Debug)]
enum StrayTo {
    Connection,
    Last,
    First,
    Next,
    Number(u32),
}

#[derive(Clone, Debug)]
enum Piece {
    Request(Request),
    Stray(Stray),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Client {
    settings: Vec<(u16, u32)>,
    pieces: Vec<Piece>,
    cuts: Vec<u16>,
    says_goodbye: bool,
}

/// What a strict reader knows of a request that was sent.
#[derive(Clone, Debug)]
struct Sent {
    id: String,
    method: String,
    body: Vec<u8>,
    malformed: bool,
    whole: bool,
    /// Whether something stray may have changed it.
    loose: bool,
}

fn field() -> impl Strategy<Value = Field> {
    let odd = select(vec![
        ("connection", "close"),
        ("connection", "x-wx-openid"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer_encoding", "chunked"),
        ("content_length", "5"),
        ("content-length", "5"),
        ("content-length", "0"),
        ("content-length", "+0"),
        ("content-length", "5, 5"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "trailers"),
        ("te", "chunked"),
        ("host", "h"),
        ("host", "other"),
        ("expect", "100-continue"),
        (":method", "POST"),
        (":path", "/smuggled"),
        (":authority", "other"),
        (":scheme", "ftp"),
        (":status", "200"),
        (":protocol", "websocket"),
        (":x", "y"),
        ("", "nameless"),
        ("x y", "z"),
        ("x:y", "z"),
        ("x\r\ntransfer-encoding", "chunked"),
        ("x-a", "a\r\nX-WX-OPENID: forged"),
        ("x-a", "a\nb"),
        ("x-a", "a\0b"),
        ("x-a", " a "),
        ("x-a", "\u{e9}"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("cookie", "a\r\nb"),
        ("authorization", "Bearer other"),
        ("authorization", "Basic eDp5"),
        ("x-original-url", "/smuggled"),
        ("trailer", "x-wx-openid"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
    ])
    .prop_map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let forged = (select(IDENTITY.to_vec()), "[!#$%&'*+.^_`|~-]{6}").prop_map(|(name, marks)| {
        let mut marks = marks.chars().cycle();
        let spell = |c: char| match c {
            '-' => marks.next().unwrap(),
            c => c.to_ascii_lowercase(),
        };
        let name: String = name.chars().map(spell).collect();
        (name, b"forged".to_vec())
    });
    let plain = ("x-[a-z0-9_.~-]{0,12}", "[!-~]{0,20}").prop_map(|(n, v)| (n, v.into_bytes()));
    prop_oneof![2 => odd, 4 => forged, 4 => plain]
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0_usize..7;
    prop_oneof![
        12 => field().prop_map(Change::Add),
        2 => (at.clone(), field()).prop_map(|(at, field)| Change::Insert(at, field)),
        1 => at.clone().prop_map(Change::Drop),
        1 => at.clone().prop_map(Change::Repeat),
        1 => at.clone().prop_map(Change::ToTheEnd),
        1 => at.clone().prop_map(Change::UpperCase),
        1 => (at, vec(any::<u8>(), 0..6)).prop_map(|(at, value)| Change::Value(at, value)),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        20 => select(vec!["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"]),
        1 => select(vec!["TRACE", "CONNECT", "G T", "", "get", "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"]),
    ];
    let path = prop_oneof![
        20 => select(vec!["/", "/a", "/public/a?b=c", "/optional", "/_auth/session"]),
        2 => select(vec![
            "", "*", "a", "/a/../smuggled", "/a%2fb", "/a b", "/a#b", "/a\r\nb", "/a HTTP/1.1\r\nHost: h\r\n\r\n",
            "//smuggled", "http://h/a", "/a\\b", "/a%00", "/?\u{e9}", "/%c0%af", "/a\0", "/_auth/verify/a",
        ]),
    ];
    let changes = prop_oneof![1 => Just(Vec::new()), 1 => vec(change(), 1..4)];
    let cut = prop_oneof![
        12 => Just(Cut::Whole),
        3 => vec(any::<u16>(), 1..4).prop_map(Cut::Parts),
        1 => (0_u8..12, 0_u32..6).prop_map(|(kind, stream)| Cut::Between(kind, stream)),
        1 => Just(Cut::Never),
    ];
    let part = prop_oneof![
        3 => Just(SMUGGLED.to_vec()),
        1 => Just([b"0\r\n\r\n", SMUGGLED].concat()),
        3 => vec(any::<u8>(), 0..40),
        1 => (10_000_usize..16_384).prop_map(|length| vec![b'x'; length]),
    ];
    let declared = prop_oneof![
        6 => Just(None),
        3 => Just(Some(0)),
        1 => (-60_i64..60).prop_map(Some),
    ];
    let trailers = prop_oneof![4 => Just(None), 1 => vec(field(), 0..3).prop_map(Some)];
    let ends = prop_oneof![12 => Just(true), 1 => Just(false)];
    let resets = prop_oneof![12 => Just(false), 1 => Just(true)];
    let padded = prop_oneof![6 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let data = prop_oneof![1 => Just(Vec::new()), 1 => vec(part, 1..4)];
    let said = (method, path, changes, cut, padded);
    (said, any::<bool>(), data, declared, trailers, ends, resets).prop_map(
        |(
            (method, path, changes, cut, padded),
            priority,
            data,
            declared,
            trailers,
            ends,
            resets,
        )| Request {
            method: method.to_owned(),
            path: path.to_owned(),
            changes,
            cut,
            padded,
            priority: priority && data.is_empty(),
            data,
            declared,
            trailers,
            ends,
            resets,
        },
    )
}

fn stray() -> impl Strategy<Value = Stray> {
    let stream = prop_oneof![
        Just(StrayTo::Connection),
        Just(StrayTo::Last),
        Just(StrayTo::First),
        Just(StrayTo::Next),
        select(vec![2, 4, 0x7fff_ffff, 0xffff_ffff]).prop_map(StrayTo::Number),
    ];
    let numbers =
        select(vec![0_u32, 1, 0x7fff_ffff, 0xffff_ffff]).prop_map(|n| n.to_be_bytes().to_vec());
    let payload = prop_oneof![
        3 => numbers,
        1 => Just(Vec::new()),
        1 => Just(SMUGGLED.to_vec()),
        2 => vec(any::<u8>(), 0..20),
        // A setting: some id, some value.
        1 => (0_u8..10, any::<u32>()).prop_map(|(id, value)| [&[0, id], &value.to_be_bytes()[..]].concat()),
    ];
    let longer = prop_oneof![10 => Just(0), 1 => -4..100_i32, 1 => Just(0xff_0000)];
    (0_u8..14, any::<u8>(), stream, payload, longer).prop_map(
        |(kind, flags, stream, payload, longer)| Stray {
            kind,
            flags,
            stream,
            payload,
            longer,
        },
    )
}

fn client() -> impl Strategy<Value = Client> {
    let piece = prop_oneof![
        24 => request().prop_map(Piece::Request),
        3 => stray().prop_map(Piece::Stray),
        1 => vec(any::<u8>(), 1..30).prop_map(Piece::Bytes),
    ];
    let settings = prop_oneof![
        3 => Just(Vec::new()),
        1 => vec((0_u16..10, prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()]), 1..4),
    ];
    let cuts = prop_oneof![1 => Just(Vec::new()), 1 => vec(any::<u16>(), 1..6)];
    (settings, vec(piece, 1..6), cuts, 0..200).prop_map(|(settings, pieces, cuts, n)| Client {
        settings,
        pieces,
        cuts,
        says_goodbye: n > 0,
    })
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], longer: i32) -> Vec<u8> {
    let length = i32::try_from(payload.len()).unwrap() + longer;
    let mut frame = length.max(0).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Writes a length as HPACK does, with a prefix of seven bits.
fn hpack_length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(127);
    let mut rest = length - 127;
    while rest > 127 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Writes fields without tables and without Huffman's code.
fn hpack(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        hpack_length(name.len(), &mut block);
        block.extend(name.bytes());
        hpack_length(value.len(), &mut block);
        block.extend(value);
    }
    block
}

/// Returns whether RFC 9113 calls a field malformed wherever it stands.
fn is_malformed(name: &str, value: &[u8]) -> bool {
    let in_name =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    let hop = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    name.is_empty()
        || !name.strip_prefix(':').unwrap_or(name).bytes().all(in_name)
        || hop.contains(&name)
        || (name == "te" && value != b"trailers")
        || value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// Returns whether these can be the fields of a request.
fn are_malformed(fields: &[Field]) -> bool {
    let pseudo = [":method", ":scheme", ":authority", ":path"];
    let count = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).count();
    let mut late = fields.iter().skip_while(|(name, _)| name.starts_with(':'));
    let unknown = |name: &str| name.starts_with(':') && !pseudo.contains(&name);
    let empty_path = |(name, value): &Field| name == ":path" && value.is_empty();
    fields.iter().any(|(name, value)| is_malformed(name, value))
        || fields.iter().any(|(name, _)| unknown(name))
        || late.any(|(name, _)| name.starts_with(':'))
        || pseudo.iter().any(|name| count(name) > 1)
        || [":method", ":scheme", ":path"]
            .iter()
            .any(|name| count(name) == 0)
        || fields.iter().any(empty_path)
}

/// What the declared lengths say of a body.
enum Declared {
    Nothing,
    Length(usize),
    Nonsense,
}

fn declared(fields: &[Field]) -> Declared {
    let mut lengths = fields.iter().filter(|(name, _)| name == "content-length");
    let Some((_, length)) = lengths.next() else {
        return Declared::Nothing;
    };
    let digits = length.iter().all(u8::is_ascii_digit) && lengths.next().is_none();
    let length = String::from_utf8_lossy(length)
        .parse()
        .ok()
        .filter(|_| digits);
    length.map_or(Declared::Nonsense, Declared::Length)
}

impl Request {
    fn fields(&self, id: &str, token: &str) -> Vec<Field> {
        let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let mut fields = vec![
            text(":method", &self.method),
            text(":scheme", "http"),
            text(":authority", "h"),
            text(":path", &self.path),
            text("authorization", &format!("Bearer {token}")),
            text("accept", "*/*"),
        ];
        if let Some(less) = self.declared {
            let length = self.data.concat().len();
            let length = i64::try_from(length).unwrap() + less;
            fields.push(text("content-length", &length.to_string()));
        }
        for change in &self.changes {
            let last = fields.len().saturating_sub(1);
            match change {
                Change::Add(field) => fields.push(field.clone()),
                Change::Insert(at, field) => fields.insert((*at).min(last), field.clone()),
                Change::Drop(at) => drop(fields.remove((*at).min(last))),
                Change::Repeat(at) => fields.push(fields[(*at).min(last)].clone()),
                Change::ToTheEnd(at) => {
                    let field = fields.remove((*at).min(last));
                    fields.push(field);
                }
                Change::UpperCase(at) => {
                    let name = &mut fields[(*at).min(last)].0;
                    *name = name.to_ascii_uppercase();
                }
                Change::Value(at, value) => fields[(*at).min(last)].1.clone_from(value),
            }
        }
        fields.push(text("x-case", id));
        fields
    }

    /// Returns its frames, and what a strict reader makes of them; `false` where the rest cannot be read any more.
    fn frames(&self, stream: u32, id: &str, token: &str) -> (Vec<u8>, Sent, bool) {
        let fields = self.fields(id, token);
        let ends_at_once = self.ends && self.data.is_empty() && self.trailers.is_none();
        let mut bytes = self.head(stream, &hpack(&fields), ends_at_once);
        let last = self.data.len().saturating_sub(1);
        for (at, part) in self.data.iter().enumerate() {
            let ends = self.ends && self.trailers.is_none() && at == last;
            let flags = if ends { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, stream, part, 0));
        }
        if let Some(trailers) = &self.trailers {
            let flags = END_HEADERS | if self.ends { END_STREAM } else { 0 };
            bytes.extend(frame(HEADERS, flags, stream, &hpack(trailers), 0));
        }
        if self.resets {
            bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8], 0));
        }
        let mut body = self.data.concat();
        let trailers = self.trailers.as_deref().unwrap_or_default();
        // Pseudo-headers there are overlooked by the crate h2; no trailer goes anywhere.
        let bad_trailers = trailers
            .iter()
            .any(|(name, value)| !name.starts_with(':') && is_malformed(name, value));
        let readable = matches!(self.cut, Cut::Whole | Cut::Parts(_));
        // In a block that goes on in another frame, the crate h2 (0.4.20) drops such fields instead of refusing them.
        let bad_fields = self.cut == Cut::Whole && are_malformed(&fields);
        let mut whole = self.ends;
        let bad_length = match declared(&fields) {
            Declared::Nothing => false,
            Declared::Nonsense => true,
            Declared::Length(length) => {
                // The backend has a whole body as soon as it is as long as declared, before anybody knows of more.
                whole = true;
                let short = length > body.len();
                body.truncate(length);
                short
            }
        };
        // Nor does anybody know yet what trailers will hold.
        let bad_trailers = bad_trailers && matches!(declared(&fields), Declared::Nothing);
        let method = fields.iter().find(|(name, _)| name == ":method");
        let method = method.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let sent = Sent {
            id: id.to_owned(),
            method: method.unwrap_or_default(),
            malformed: bad_fields || bad_length || bad_trailers || !readable,
            body,
            whole,
            loose: false,
        };
        (bytes, sent, readable)
    }

    fn head(&self, stream: u32, block: &[u8], ends: bool) -> Vec<u8> {
        let mut places = match &self.cut {
            Cut::Whole => Vec::new(),
            Cut::Parts(at) => at.iter().map(|at| usize::from(*at) % block.len()).collect(),
            Cut::Between(..) | Cut::Never => vec![block.len() / 2],
        };
        places.push(block.len());
        places.sort_unstable();
        let (mut bytes, mut from) = (Vec::new(), 0);
        let last = places.len() - 1;
        for (at, to) in places.into_iter().enumerate() {
            let done = at == last && self.cut != Cut::Never;
            let mut flags = if done { END_HEADERS } else { 0 };
            let part = &block[from..to];
            from = to;
            if at > 0 {
                if let Cut::Between(kind, stream) = self.cut {
                    bytes.extend(frame(kind, 0, stream, &[0; 8], 0));
                }
                bytes.extend(frame(CONTINUATION, flags, stream, part, 0));
                continue;
            }
            let mut payload = Vec::new();
            if ends {
                flags |= END_STREAM;
            }
            if let Some(padding) = self.padded {
                flags |= PADDED;
                payload.push(padding);
            }
            if self.priority {
                flags |= PRIORITY;
                payload.extend([0, 0, 0, 0, 15]);
            }
            payload.extend(part);
            payload.extend(vec![0; usize::from(self.padded.unwrap_or(0))]);
            bytes.extend(frame(HEADERS, flags, stream, &payload, 0));
        }
        bytes
    }
}

impl Client {
    /// Returns what it writes, and what a strict reader makes of it.
    fn bytes(&self, case: usize, token: &str) -> (Vec<u8>, BTreeMap<u32, Sent>) {
        let settings: Vec<u8> = self
            .settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &settings, 0)].concat();
        let mut sent: BTreeMap<u32, Sent> = BTreeMap::new();
        let (mut next, mut loose) = (1, false);
        for piece in &self.pieces {
            match piece {
                Piece::Request(request) => {
                    let id = format!("{case}-{next}");
                    let (frames, mut request, readable) = request.frames(next, &id, token);
                    request.loose = loose;
                    loose |= !readable;
                    bytes.extend(frames);
                    sent.insert(next, request);
                    next += 2;
                }
                Piece::Stray(stray) => {
                    let stream = match stray.stream {
                        StrayTo::Connection => 0,
                        StrayTo::Last => next.saturating_sub(2),
                        StrayTo::First => 1,
                        StrayTo::Next => next,
                        StrayTo::Number(number) => number,
                    };
                    // Its stream may have been left open, to be ended or gone on with by this.
                    if let Some(request) = sent.get_mut(&stream) {
                        request.loose = true;
                    }
                    loose |= stray.longer != 0;
                    bytes.extend(frame(
                        stray.kind,
                        stray.flags,
                        stream,
                        &stray.payload,
                        stray.longer,
                    ));
                }
                Piece::Bytes(any) => {
                    loose = true;
                    bytes.extend(any);
                }
            }
        }
        (bytes, sent)
    }
}

/// What came back, by stream: its data, and whether it is over.
#[derive(Debug, Default)]
struct Answers {
    streams: BTreeMap<u32, (Vec<u8>, bool)>,
    goodbye: bool,
}

impl Answers {
    fn read(mut bytes: &[u8]) -> Self {
        let mut answers = Self::default();
        while let Some((head, rest)) = bytes.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let Some((payload, rest)) = rest.split_at_checked(usize::try_from(length).unwrap())
            else {
                break;
            };
            bytes = rest;
            let (kind, flags) = (head[3], head[4]);
            match kind {
                DATA | HEADERS | RST_STREAM => {
                    let (data, over) = answers.streams.entry(stream).or_default();
                    *over |= kind == RST_STREAM || flags & END_STREAM != 0;
                    if kind == DATA {
                        data.extend(payload);
                    }
                }
                GOAWAY => answers.goodbye = true,
                SETTINGS | PING => {}
                kind => assert!(kind < 10, "a frame of kind {kind}"),
            }
        }
        answers
    }

    fn are_over(&self, sent: &BTreeMap<u32, Sent>) -> bool {
        let over = |stream| self.streams.get(stream).is_some_and(|(_, over)| *over);
        self.goodbye || sent.keys().all(over)
    }
}

/// The gateway that all cases share.
#[derive(Default)]
struct Fixture {
    gateway: Fuzzed,
    cases: Cell<usize>,
    /// What the latest cases sent.
    sent: RefCell<VecDeque<Sent>>,
    forwarded: Cell<usize>,
    refused: Cell<usize>,
}

impl Fixture {
    /// Sends what the client sends, and returns what came back.
    async fn run(
        &self,
        client: &Client,
        bytes: &[u8],
        sent: &BTreeMap<u32, Sent>,
    ) -> Result<Vec<u8>, TestCaseError> {
        let mut stream = TcpStream::connect(self.gateway.t.address).await.unwrap();
        let _ = stream.set_nodelay(true);
        let mut cuts: Vec<_> = client
            .cuts
            .iter()
            .map(|at| usize::from(*at) % (bytes.len() + 1))
            .collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut from, mut came, mut part) = (0, Vec::new(), vec![0; 16 * 1024]);
        for to in cuts {
            if stream.write_all(&bytes[from..to]).await.is_err() {
                break;
            }
            from = to;
            tokio::task::yield_now().await;
        }
        let answered = async {
            while !Answers::read(&came).are_over(sent) {
                match stream.read(&mut part).await {
                    Ok(length @ 1..) => came.extend_from_slice(&part[..length]),
                    Ok(0) | Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(SOON, answered).await;
        if client.says_goodbye {
            let _ = stream.shutdown().await;
        }
        let rest = tokio::time::timeout(LIMIT, async {
            while let Ok(length @ 1..) = stream.read(&mut part).await {
                came.extend_from_slice(&part[..length]);
            }
        });
        let ended = rest.await.is_ok();
        prop_assert!(ended, "still open; came {:?}", Answers::read(&came));
        Ok(came)
    }

    fn holds(&self, client: &Client) -> TestCaseResult {
        let case = self.cases.get() + 1;
        self.cases.set(case);
        let (bytes, sent) = client.bytes(case, &self.gateway.token);
        let came = self.run(client, &bytes, &sent);
        let came = self.gateway.runtime.block_on(came)?;
        let answers = Answers::read(&came);
        let seen = self.gateway.backend.take();
        let shown = || {
            let shown = format!(
                "\nsent {sent:?}\ncame {answers:?}\nseen {:?}",
                seen.requests
            );
            shown.replace("120, ", "")
        };
        prop_assert!(seen.wrong.is_empty(), "{:?}{}", seen.wrong, shown());
        let mut known = self.sent.borrow_mut();
        known.extend(sent.values().cloned());
        let surplus = known.len().saturating_sub(50);
        known.drain(..surplus);
        for request in seen.requests.values() {
            self.gateway.is_sound(request)?;
            for name in [
                "connection",
                "keep-alive",
                "proxy-connection",
                "upgrade",
                "te",
            ] {
                prop_assert_eq!(request.all(name).len(), 0, "{}: {:?}", name, request);
            }
            let ids = request.all("x-case");
            let at = known.iter().position(|sent| ids == [sent.id.as_str()]);
            prop_assert!(at.is_some(), "nobody sent {request:?}{}", shown());
            let sent = known.remove(at.unwrap()).unwrap();
            prop_assert!(
                !sent.malformed,
                "malformed, but forwarded: {request:?}{}",
                shown()
            );
            prop_assert!(
                sent.loose || sent.whole,
                "half, but forwarded: {request:?}{}",
                shown()
            );
            prop_assert_eq!(&request.method, &sent.method);
            prop_assert!(
                sent.loose || request.body == sent.body,
                "{request:?}{}",
                shown()
            );
        }
        let mut refused = 0;
        for (stream, sent) in &sent {
            let Some((data, _)) = answers.streams.get(stream) else {
                continue;
            };
            let theirs = ["{\"error\":\"upstream_", "{\"error\":\"internal_"];
            let by_us = data.starts_with(b"{\"error\":\"");
            if by_us
                && !theirs
                    .iter()
                    .any(|theirs| data.starts_with(theirs.as_bytes()))
            {
                refused += 1;
                let arrived = seen
                    .requests
                    .values()
                    .any(|r| r.all("x-case") == [sent.id.as_str()]);
                prop_assert!(!arrived, "refused, but forwarded: {sent:?}{}", shown());
            }
        }
        self.forwarded
            .set(self.forwarded.get() + seen.requests.len());
        self.refused.set(self.refused.get() + refused);
        let vouched = |r: &StrictRequest| {
            known
                .iter()
                .any(|sent| r.all("x-case") == [sent.id.as_str()] && !sent.malformed)
        };
        self.gateway.is_alive(vouched)
    }
}

#[test]
fn what_http2_clients_send_is_read_in_one_way_or_refused() {
    let fixture = Fixture::default();
    fuzz(CASES, &client(), |client| fixture.holds(&client));
    let (cases, forwarded) = (fixture.cases.get(), fixture.forwarded.get());
    let refused = fixture.refused.get();
    println!("{cases} connections: {forwarded} requests forwarded, {refused} refused in our words");
    // Otherwise nothing was tried.
    assert!(
        forwarded * 5 > cases && refused * 20 > cases,
        "{forwarded} {refused} of {cases}"
    );
}
