//! Asks a server over HTTP/2: one stream, which is one request and its response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Error, Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::budget::{may_be_trailers, size_of};
use super::sending::Sending;
use crate::server::http1::{ResponseError, declared_length};
use crate::server::message::{Body, InterimBudget, Part, ResponseHead, Spelling};

/// The stream.
#[derive(Debug)]
pub(in crate::server) struct ClientStream {
    response: ResponseFuture,
    sending: Sending,
    receiving: Option<RecvStream>,
    interim: InterimBudget,
    is_head_request: bool,
    body: Body,
    is_over: bool,
}

impl ClientStream {
    /// Sends the head of a request.
    pub(in crate::server) fn start(
        connection: &mut SendRequest<Bytes>,
        request: Request<()>,
        is_over: bool,
    ) -> Result<Self, ResponseError> {
        let is_head_request = *request.method() == Method::HEAD;
        let sent: Result<(ResponseFuture, SendStream<Bytes>), Error> =
            connection.send_request(request, is_over);
        // What was not sent was not processed.
        let (response, stream) = sent.map_err(|_| ResponseError::Unprocessed)?;
        Ok(Self {
            response,
            sending: Sending::new(stream, is_over, None),
            receiving: None,
            interim: InterimBudget::default(),
            is_head_request,
            body: Body::Unknown,
            is_over: false,
        })
    }

    pub(in crate::server) fn put(&mut self, data: Bytes) {
        self.sending.put(data);
    }

    pub(in crate::server) fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.sending.finish(trailers);
    }

    pub(in crate::server) fn has_output(&self) -> bool {
        self.sending.has_waiting()
    }

    /// Returns how many bytes were sent so far.
    pub(in crate::server) fn written(&self) -> u64 {
        self.sending.sent()
    }

    /// Returns how many bytes were put so far.
    pub(in crate::server) fn length(&self) -> u64 {
        self.sending.length()
    }

    /// Returns whether data waits to be sent.
    pub(in crate::server) fn has_data(&self) -> bool {
        self.sending.has_data()
    }

    pub(in crate::server) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ResponseError>> {
        self.sending
            .poll_flush(cx)
            .map_err(|_| ResponseError::BrokenOff)
    }

    pub(in crate::server) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseError>> {
        match self.response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => {
                if !self.interim.take(size_of(interim.headers())) {
                    return Poll::Ready(Err(ResponseError::Malformed));
                }
                return Poll::Ready(Ok(head(interim)));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.unanswered(&error))),
            // To ask for the final head now would drop an interim one that has come meanwhile.
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {}
        }
        let answered = ready!(Pin::new(&mut self.response).poll(cx));
        let answered = answered.map_err(|error| self.unanswered(&error))?;
        let (parts, receiving) = answered.into_parts();
        let head = head(Response::from_parts(parts, ()));
        let without_body = self.is_head_request
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        self.body = match declared_length(&head.headers) {
            _ if without_body || receiving.is_end_stream() => Body::Empty,
            Some(length) => Body::Length(length),
            None => Body::Unknown,
        };
        self.receiving = Some(receiving);
        Poll::Ready(Ok(head))
    }

    /// Says what the end of a stream means of which no final head came.
    fn unanswered(&self, error: &Error) -> ResponseError {
        match error.is_io() && self.interim.is_untouched() {
            // The connection ended, as a kept one of HTTP/1 does.
            true => ResponseError::Closed,
            false => lost(error),
        }
    }

    /// Returns how long the response's body is, as far as its head said.
    pub(in crate::server) fn body(&self) -> Body {
        self.body
    }

    pub(in crate::server) fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Part, ResponseError>> {
        let Some(receiving) = &mut self.receiving else {
            return Poll::Ready(Err(ResponseError::BrokenOff));
        };
        match ready!(receiving.poll_data(cx)) {
            // Data after the end of a message belongs to no response and is ignored; after the answer to a HEAD, h2 itself refuses it.
            // Dropping the stream resets it where more would come.
            Some(_) if self.body == Body::Empty => {
                self.is_over = receiving.is_end_stream();
                return Poll::Ready(Ok(Part::End(None)));
            }
            Some(Ok(data)) => {
                let _ = receiving.flow_control().release_capacity(data.len());
                return Poll::Ready(Ok(Part::Data(data)));
            }
            Some(Err(error)) => return Poll::Ready(Err(lost(&error))),
            None => {}
        }
        let trailers = ready!(receiving.poll_trailers(cx)).map_err(|error| lost(&error))?;
        self.is_over = true;
        if trailers
            .as_ref()
            .is_some_and(|trailers| !may_be_trailers(trailers))
        {
            return Poll::Ready(Err(ResponseError::Malformed));
        }
        Poll::Ready(Ok(Part::End(trailers)))
    }

    /// Returns whether both directions have ended, so that dropping the stream resets nothing.
    pub(in crate::server) fn is_over(&self) -> bool {
        self.is_over && self.sending.is_over()
    }
}

fn head(response: Response<()>) -> ResponseHead {
    let (parts, ()) = response.into_parts();
    ResponseHead {
        status: parts.status,
        reason: None,
        headers: parts.headers,
        spelling: Spelling::default(),
        hidden: Vec::new(),
        added: Vec::with_capacity(4),
    }
}

/// Says what the end of a stream means for its request.
///
/// RFC 9113, section 8.7: a stream that is refused, or that a GOAWAY leaves out, was not processed. The crate h2 ends only
/// the latter with the GOAWAY's error.
fn lost(error: &Error) -> ResponseError {
    let refused =
        error.is_remote() && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    let left_out = error.is_remote() && error.is_go_away();
    if refused || left_out {
        return ResponseError::Unprocessed;
    }
    ResponseError::BrokenOff
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERIM: usize = 30;

    /// Answers each request with interim responses, each in a write of its own, and a final one.
    async fn serve(io: tokio::io::DuplexStream) {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(asked) = connection.accept().await {
            let (_, mut respond) = asked.unwrap();
            tokio::spawn(async move {
                for _ in 0..INTERIM {
                    let hints = Response::builder().status(StatusCode::EARLY_HINTS);
                    respond.send_informational(hints.body(()).unwrap()).unwrap();
                    tokio::task::yield_now().await;
                }
                respond.send_response(Response::new(()), true).unwrap();
            });
        }
    }

    // The connection is driven on another thread, so that a head can come at any moment of the one that asks for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn no_interim_head_is_lost_whenever_it_comes() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(serve(far));
        let (mut requests, driver) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(driver);
        for _ in 0..50 {
            requests = requests.ready().await.unwrap();
            let request = Request::new(());
            let mut stream = ClientStream::start(&mut requests, request, true).unwrap();
            let mut interim = 0;
            // Asked for without a pause, so that most heads come while one is asked for.
            tokio::task::block_in_place(|| {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                loop {
                    match stream.poll_head(&mut cx) {
                        Poll::Ready(head) if head.as_ref().unwrap().is_interim() => interim += 1,
                        Poll::Ready(_) => break,
                        Poll::Pending => std::hint::spin_loop(),
                    }
                }
            });
            assert_eq!(interim, INTERIM);
        }
    }
}
