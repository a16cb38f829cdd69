//! Serves a client of HTTP/2: one stream, which is one request and its response.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version};

use super::budget::{SectionBudget, may_be_trailers, size_of};
use super::outgoing::{Outgoing, OutgoingStream};
use super::sending::Sending;
use crate::server::http1::{BodyError, Malformed, declared_length};
use crate::server::message::{Body, Part, RequestHead, ResponseHead, Spelling};

/// The stream.
#[derive(Debug)]
pub(in crate::server) struct ServerStream {
    receiving: RecvStream,
    /// What its connection may bring in header sections.
    budget: Arc<SectionBudget>,
    /// What h2 holds of the response.
    outgoing: Arc<OutgoingStream>,
    respond: SendResponse<Bytes>,
    sending: Option<Sending>,
    has_whole_body: bool,
    expects_continue: bool,
    is_head_request: bool,
    is_lost: bool,
}

impl ServerStream {
    /// Takes a stream apart into its request and what answers it.
    pub(in crate::server) fn accept(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        budget: Arc<SectionBudget>,
        outgoing: Arc<Outgoing>,
    ) -> (RequestHead, Self) {
        let (parts, receiving) = request.into_parts();
        let path = parts.uri.path_and_query();
        let target = path.map_or_else(Bytes::new, |path| {
            Bytes::copy_from_slice(path.as_str().as_bytes())
        });
        let body = match declared_length(&parts.headers) {
            _ if receiving.is_end_stream() => Body::Empty,
            Some(length) => Body::Length(length),
            None => Body::Unknown,
        };
        let expected = parts.headers.get(EXPECT);
        let stream = Self {
            respond,
            budget,
            outgoing: OutgoingStream::new(outgoing),
            sending: None,
            has_whole_body: body == Body::Empty,
            expects_continue: body != Body::Empty
                && expected.is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue")),
            is_head_request: parts.method == Method::HEAD,
            is_lost: false,
            receiving,
        };
        let head = RequestHead {
            method: parts.method,
            target,
            authority: parts
                .uri
                .authority()
                .map(|authority| authority.as_str().to_owned()),
            names_https: parts.uri.scheme() == Some(&Scheme::HTTPS),
            version: Version::HTTP_2,
            headers: parts.headers,
            spelling: Spelling::default(),
            body,
            handshake: false,
        };
        (head, stream)
    }

    pub(in crate::server) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Part, BodyError>> {
        if self.has_whole_body {
            return Poll::Ready(Ok(Part::End(None)));
        }
        match ready!(self.receiving.poll_data(cx)) {
            Some(Ok(data)) => {
                let _ = self.receiving.flow_control().release_capacity(data.len());
                return Poll::Ready(Ok(Part::Data(data)));
            }
            Some(Err(_)) => return Poll::Ready(Err(self.gone())),
            None => {}
        }
        match ready!(self.receiving.poll_trailers(cx)) {
            Ok(trailers) => {
                self.has_whole_body = true;
                if !trailers
                    .as_ref()
                    .is_none_or(|trailers| self.takes(trailers))
                {
                    return Poll::Ready(Err(Malformed::TooLarge.into()));
                }
                Poll::Ready(Ok(Part::End(trailers)))
            }
            Err(_) => Poll::Ready(Err(self.gone())),
        }
    }

    /// Reads the rest of a body that nobody wants, unless there is more than `most`.
    pub(in crate::server) async fn read_rest(&mut self, most: usize) {
        let mut read = 0;
        while read <= most {
            match poll_fn(|cx| self.poll_part(cx)).await {
                Ok(Part::Data(data)) => read += data.len(),
                Ok(Part::End(_)) | Err(_) => break,
            }
        }
    }

    /// Returns whether trailers may be so large: named by HPACK, they are larger than what was sent.
    fn takes(&self, trailers: &HeaderMap) -> bool {
        self.budget.take(size_of(trailers));
        may_be_trailers(trailers)
    }

    fn gone(&mut self) -> BodyError {
        self.is_lost = true;
        BodyError::Gone
    }

    /// Resolves when the client has given the stream up.
    pub(in crate::server) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(match &mut self.sending {
            None => self.respond.poll_reset(cx).map(drop),
            Some(sending) => sending.poll_reset(cx).map(drop),
        });
        self.is_lost = true;
        Poll::Ready(())
    }

    pub(in crate::server) fn has_whole_body(&self) -> bool {
        self.has_whole_body
    }

    pub(in crate::server) fn put_continue(&mut self) {
        if std::mem::take(&mut self.expects_continue) {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::CONTINUE;
            let _ = self.respond.send_informational(response);
        }
    }

    pub(in crate::server) fn put_interim(&mut self, head: ResponseHead) {
        if head.status == StatusCode::CONTINUE {
            self.expects_continue = false;
        }
        let _ = self.respond.send_informational(response(head));
    }

    /// Sends the head of the response; nothing in it may frame the body.
    pub(in crate::server) fn put_head(&mut self, mut head: ResponseHead, body: Body) {
        let status = head.status;
        let without_body = self.is_head_request
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let Body::Length(length) = body
            && status != StatusCode::NO_CONTENT
        {
            head.added.push((CONTENT_LENGTH, length.into()));
        }
        let is_over = without_body || body.length() == Some(0);
        let mut response = response(head);
        let size = size_of(response.headers());
        if let Some(id) = response.headers_mut().get_mut(X_REQUEST_ID) {
            self.outgoing.count_head(id, size);
        }
        match self.respond.send_response(response, is_over) {
            Ok(stream) => {
                let outgoing = Some(Arc::clone(&self.outgoing));
                self.sending = Some(Sending::new(stream, is_over, outgoing));
            }
            Err(_) => self.is_lost = true,
        }
    }

    pub(in crate::server) fn put(&mut self, data: Bytes) {
        if let Some(sending) = &mut self.sending {
            sending.put(data);
        }
    }

    pub(in crate::server) fn finish(&mut self, trailers: Option<HeaderMap>) {
        if let Some(sending) = &mut self.sending {
            sending.finish(trailers);
        }
    }

    pub(in crate::server) fn has_output(&self) -> bool {
        self.sending.as_ref().is_some_and(Sending::has_waiting)
    }

    /// Returns how many bytes were sent so far. Once h2 has the whole response, what the connection sends is what is waited for.
    pub(in crate::server) fn written(&self) -> u64 {
        self.sending
            .as_ref()
            .map_or(0, |sending| match sending.is_over() {
                true => sending.sent() + self.outgoing.connection().sent(),
                false => sending.sent(),
            })
    }

    /// Returns whether data waits to be sent.
    pub(in crate::server) fn has_data(&self) -> bool {
        self.sending.as_ref().is_some_and(Sending::has_data)
    }

    pub(in crate::server) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        if self.is_lost {
            return Poll::Ready(Err(BodyError::Gone));
        }
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let flushed = ready!(sending.poll_flush(cx));
        let is_over = sending.is_over();
        flushed.map_err(|_| self.gone())?;
        if self.outgoing.is_lost() {
            return Poll::Ready(Err(self.gone()));
        }
        if !is_over || self.outgoing.is_little_held() {
            return Poll::Ready(Ok(()));
        }
        self.poll_nothing_held(cx)
    }

    /// Flushes, and resolves when h2 has written it all.
    pub(in crate::server) fn poll_sent(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        ready!(self.poll_flush(cx))?;
        self.poll_nothing_held(cx)
    }

    fn poll_nothing_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        // A stream that is reset is dropped too.
        if self.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(BodyError::Gone));
        }
        let held = ready!(self.outgoing.poll_nothing_held(cx));
        Poll::Ready(held.map_err(|_| self.gone()))
    }

    /// Breaks the response off.
    pub(in crate::server) fn reset(&mut self, reason: Reason) {
        match &mut self.sending {
            Some(sending) => sending.reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Returns whether the client gave the stream up before its response was sent.
    pub(in crate::server) fn is_lost(&self) -> bool {
        self.is_lost
    }
}

/// The header by which a head is counted: each has another value, which the other side need not remember.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn response(head: ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.into_headers();
    response
}
