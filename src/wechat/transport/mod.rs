//! Carries requests of any size to WeChat and answers back, and holds little of them at any moment.
//!
//! reqwest keeps up to 400 KiB for each connection; these connections have buffers of a fixed size.

mod connect;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use self::connect::{Connected, Connector};
use super::client::ClientError;
use super::lost::lost;
use super::reach::Way;
use super::{CallError, Reach, UnreachableCause};
use crate::config::WeChat;

/// The size of the buffer in each direction.
const BUFFER: usize = 8 * 1024;
/// The most connections that are kept, and for how long.
const MOST_IDLE: usize = 64;
const IDLE: Duration = Duration::from_secs(30);

/// Connections to WeChat; clones share them.
pub struct Transport<B>(Arc<TransportParts<B>>);

struct TransportParts<B> {
    connector: Connector,
    idle: Mutex<VecDeque<Idle<B>>>,
    way: Way,
    reach: Reach,
    timeout: Duration,
}

struct Idle<B> {
    line: Line<B>,
    since: Instant,
}

/// One connection.
struct Line<B> {
    requests: SendRequest<B>,
    by_proxy: Option<Option<String>>,
}

/// A connection that comes back to the others when its answer has been read.
pub struct Lease<B: Body + Send + 'static> {
    line: Option<Line<B>>,
    home: Transport<B>,
}

impl<B> Clone for Transport<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> std::fmt::Debug for Transport<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport(…)")
    }
}

impl<B> Transport<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Prepares to make connections, and notes in `reach` whether WeChat can be reached.
    pub fn new(config: &WeChat, reach: Reach) -> Result<Self, ClientError> {
        Ok(Self(Arc::new(TransportParts {
            connector: Connector::new(config)?,
            idle: Mutex::default(),
            way: Way::of(config),
            reach,
            timeout: config.timeout,
        })))
    }

    /// Returns how long WeChat may take for each step.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Sends a request whose URI is path and query, and returns the head of the answer.
    ///
    /// One that was not sent because a kept connection had ended is sent on a new one.
    pub async fn send(
        &self,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Lease<B>), CallError> {
        while let Some(mut line) = self.kept() {
            self.address(&mut request, &line)?;
            match line.requests.try_send_request(request).await {
                Ok(answer) => return Ok((answer, self.lease(line))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.lost(&error.into_error())),
                },
            }
        }
        // On its own, since what it takes to connect is not to be kept for as long as the call lasts.
        let mut line = Box::pin(self.connect()).await?;
        self.address(&mut request, &line)?;
        match line.requests.try_send_request(request).await {
            Ok(answer) => Ok((answer, self.lease(line))),
            Err(error) => Err(self.lost(&error.into_error())),
        }
    }

    /// Takes notice of what a lost call says about who is there. The caller is told no more than that there is no answer: a call that
    /// changes something may have been passed on.
    fn lost(&self, error: &hyper::Error) -> CallError {
        match lost(error) {
            CallError::NotWeChat(what) => self.met_a_page(what),
            CallError::BrokenOff => {
                let TransportParts { reach, way, .. } = &*self.0;
                reach.met(UnreachableCause::BrokenOff, None, way);
            }
            CallError::Unreachable(_)
            | CallError::NoAnswer
            | CallError::NotAnAnswer(_)
            | CallError::Gateway(_) => {}
        }
        CallError::NoAnswer
    }

    /// Takes notice that something else answered.
    pub fn met_a_page(&self, what: &'static str) {
        self.0
            .reach
            .met(UnreachableCause::Page, Some(what), &self.0.way);
    }

    /// Takes notice that WeChat answered.
    pub fn reached(&self) {
        self.0.reach.reached(&self.0.way);
    }

    fn lease(&self, line: Line<B>) -> Lease<B> {
        Lease {
            line: Some(line),
            home: self.clone(),
        }
    }

    fn kept(&self) -> Option<Line<B>> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one first, so that those that nobody needs grow old.
        while let Some(Idle { line, since }) = idle.pop_back() {
            if since.elapsed() < IDLE && line.requests.is_ready() {
                return Some(line);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Line<B>, CallError> {
        let shared = &*self.0;
        let connected = shared.connector.connect().await.map_err(|error| {
            let detail = error.detail.as_deref();
            shared.reach.met(error.cause, detail, &shared.way);
            CallError::from(&error)
        })?;
        let Connected { stream, by_proxy } = connected;
        let made = http1::Builder::new()
            .max_buf_size(BUFFER)
            // What is written by reference keeps each buffer that it was read into, however little is in it. A copy takes twice
            // this size at most.
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await;
        let (requests, connection) = made.map_err(|_| CallError::NoAnswer)?;
        // It ends when the other half is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(cause = %CauseOnly(&error), "a connection to WeChat failed");
            }
        });
        Ok(Line { requests, by_proxy })
    }

    /// Completes the target of a request and its `Host`, as the connection wants them.
    fn address(&self, request: &mut Request<B>, line: &Line<B>) -> Result<(), CallError> {
        let not_one = |_| CallError::NotAnAnswer("the request cannot be written");
        let base = self.0.connector.base();
        let authority = base.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority).map_err(|_| CallError::NoAnswer)?;
        request.headers_mut().insert(HOST, host);
        let asked = request.uri().path_and_query();
        let asked = asked.map_or("/", PathAndQuery::as_str).to_owned();
        let prefix = base.path().trim_end_matches('/');
        let target = match &line.by_proxy {
            // The request may have been addressed before, to a connection that had ended.
            _ if asked.starts_with(prefix) && request.extensions().get::<Addressed>().is_some() => {
                asked
            }
            _ => format!("{prefix}{asked}"),
        };
        request.extensions_mut().insert(Addressed);
        let Some(auth) = &line.by_proxy else {
            *request.uri_mut() = target.parse::<Uri>().map_err(not_one)?;
            return Ok(());
        };
        let whole = format!("http://{authority}{target}");
        *request.uri_mut() = whole.parse::<Uri>().map_err(not_one)?;
        if let Some(auth) = auth {
            let mut auth = HeaderValue::from_str(auth).map_err(|_| CallError::NoAnswer)?;
            auth.set_sensitive(true);
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth);
        }
        Ok(())
    }
}

/// Says that a request's target has the API's own path before it.
#[derive(Clone, Copy)]
struct Addressed;

/// What an error of hyper's is about, without what was on the wire.
struct CauseOnly<'e>(&'e hyper::Error);

impl std::fmt::Display for CauseOnly<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_parse() {
            "it is not HTTP"
        } else if self.0.is_incomplete_message() {
            "it broke off"
        } else {
            "it was lost"
        })
    }
}

impl<B: Body + Send + 'static> Lease<B> {
    /// Gives the connection back, behind an answer that was read to its end.
    pub fn give_back(mut self) {
        let Some(line) = self.line.take() else {
            return;
        };
        let idle = &self.home.0.idle;
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == MOST_IDLE {
            idle.pop_front();
        }
        let since = Instant::now();
        idle.push_back(Idle { line, since });
    }
}
