//! The messages of an exchange, as both protocols and both sides of the proxy know them.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::request::Message;

/// The head of a request.
pub(super) struct RequestHead {
    pub(super) method: Method,
    /// In origin form, as the client sent it.
    pub(super) target: Bytes,
    /// What HTTP/2 sends in place of `Host`.
    pub(super) authority: Option<String>,
    /// Whether HTTP/2 names `https` beside it.
    pub(super) names_https: bool,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) spelling: Spelling,
    pub(super) body: Body,
    /// Whether it asks for a WebSocket.
    pub(super) handshake: bool,
}

/// The head of a response.
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    /// The reason that HTTP/1 gives, where it is not the usual one.
    pub(super) reason: Option<Bytes>,
    pub(super) headers: HeaderMap,
    pub(super) spelling: Spelling,
    /// Names in `headers` that are not sent on. They stay in the map, which `spelling` belongs to.
    pub(super) hidden: Vec<HeaderName>,
    /// Headers that are sent behind those of the map.
    pub(super) added: Vec<(HeaderName, HeaderValue)>,
}

/// How long a body is, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Empty,
    Length(u64),
    /// The length is known when the body has ended.
    Unknown,
}

/// A piece of a body, or its end.
#[derive(Debug)]
pub(super) enum Part {
    Data(Bytes),
    End(Option<HeaderMap>),
}

/// How the names of a head of HTTP/1 were spelled, in the order of the map's keys.
///
/// Some clients compare names by their case, so HTTP/1 keeps what HTTP/1 said. Nothing may be removed from the map that
/// this belongs to.
#[derive(Clone, Default)]
pub(super) struct Spelling {
    raw: Bytes,
    names: Vec<Range<u32>>,
}

/// The most interim responses to one request.
const MOST_INTERIM: u32 = 32;
/// The most bytes of their heads, which are read whether or not the client has room: HTTP/2 has no window for them.
const MOST_OF_INTERIM: usize = 64 * 1024;

/// Counts the interim responses to one request.
#[derive(Debug, Default)]
pub(super) struct InterimBudget {
    heads: u32,
    bytes: usize,
}

impl InterimBudget {
    /// Takes another head of so many bytes; returns whether there may be so much.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.heads += 1;
        self.bytes += bytes;
        self.heads <= MOST_INTERIM && self.bytes <= MOST_OF_INTERIM
    }

    /// Returns whether there was none.
    pub(super) fn is_untouched(&self) -> bool {
        self.heads == 0
    }
}

impl RequestHead {
    /// Returns what the decision reads.
    pub(super) fn message(&self) -> Message<'_> {
        let scheme = if self.names_https { "https" } else { "http" };
        Message {
            method: &self.method,
            target: &self.target,
            authority: self
                .authority
                .as_deref()
                .map(|authority| (scheme, authority)),
            version: self.version,
            headers: &self.headers,
        }
    }

    /// Returns the path without its query, for the log.
    pub(super) fn path(&self) -> &str {
        let target = std::str::from_utf8(&self.target).unwrap_or("");
        target.split('?').next().unwrap_or("")
    }

    /// Returns the query.
    pub(super) fn query(&self) -> Option<&str> {
        let target = std::str::from_utf8(&self.target).ok()?;
        target.split_once('?').map(|(_, query)| query)
    }
}

impl ResponseHead {
    /// Begins a response of our own.
    pub(super) fn new(status: StatusCode) -> Self {
        Self {
            status,
            reason: None,
            headers: HeaderMap::with_capacity(12),
            spelling: Spelling::default(),
            hidden: Vec::new(),
            added: Vec::new(),
        }
    }

    /// Sets a header in place of one of the server's.
    pub(super) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        if self.headers.contains_key(&name) {
            self.hidden.push(name.clone());
        }
        self.added.push((name, value));
    }

    /// Returns what is sent, for a protocol that spells all names in one way.
    pub(super) fn into_headers(self) -> HeaderMap {
        let mut headers = self.headers;
        for name in self.hidden {
            headers.remove(name);
        }
        for (name, value) in self.added {
            headers.append(name, value);
        }
        headers
    }

    /// Returns whether another head follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

impl Body {
    /// Returns the length where the head says one.
    pub(super) fn length(self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Length(length) => Some(length),
            Self::Unknown => None,
        }
    }
}

impl Spelling {
    pub(super) fn new(raw: Bytes, names: Vec<Range<u32>>) -> Self {
        Self { raw, names }
    }

    /// Returns the spelling of the map's key at this position.
    pub(super) fn of(&self, key: usize) -> Option<&[u8]> {
        let range = self.names.get(key)?;
        self.raw.get(range.start as usize..range.end as usize)
    }
}

/// Calls `line` with each line of a header section, its name as HTTP/1 spells it.
pub(super) fn for_each_line<'h>(
    headers: &'h HeaderMap,
    spelling: &'h Spelling,
    mut line: impl FnMut(&'h HeaderName, Option<&'h [u8]>, &'h HeaderValue),
) {
    let (mut key, mut last) = (0, None);
    for (name, value) in headers {
        // All values of a name come one behind the other.
        if last.is_some_and(|last| !std::ptr::eq(last, name)) {
            key += 1;
        }
        last = Some(name);
        line(name, spelling.of(key), value);
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and query hold secrets.
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
