//! Moves the response from the server to the client.

use std::task::{Context, Poll};

use super::state::{Download, End, Progress, Pump, Upload, Wait};
use crate::server::exchange::failure::Failure;
use crate::server::exchange::inbound;
use crate::server::message::{Part, ResponseHead};

impl Pump<'_, '_> {
    /// Takes one step.
    pub(super) fn poll_download(&mut self, cx: &mut Context<'_>) -> Result<Progress, Failure> {
        match self.download {
            Download::Head if !self.client.is_full() || !self.server.holds_heads_back() => {
                match self.server.poll_head(cx) {
                    Poll::Ready(head) => return self.take_head(head?),
                    Poll::Pending if self.client.has_output() => {}
                    Poll::Pending => return Ok(Progress::Waits(Some(Wait::ServerRead))),
                }
            }
            Download::Body if !self.client.is_full() => match self.server.poll_part(cx) {
                Poll::Ready(part) => {
                    match part? {
                        Part::Data(data) => {
                            self.exchange.sent_bytes += data.len() as u64;
                            self.client.put(data);
                        }
                        Part::End(trailers) => {
                            self.client.finish(trailers.and_then(inbound::trailers));
                            self.download = Download::Flushing;
                        }
                    }
                    return Ok(Progress::Moved);
                }
                Poll::Pending if self.client.has_output() => {}
                Poll::Pending => return Ok(Progress::Waits(Some(Wait::ServerRead))),
            },
            Download::Head | Download::Body | Download::Flushing => {}
            Download::Over => return Ok(Progress::Done(End::Response)),
        }
        match self.client.poll_flush(cx) {
            Poll::Ready(Ok(())) if self.download == Download::Flushing => {
                self.download = Download::Over;
                Ok(Progress::Done(End::Response))
            }
            Poll::Ready(Ok(())) => Ok(Progress::Moved),
            Poll::Ready(Err(_)) => Err(Failure::ClientGone),
            Poll::Pending => Ok(Progress::Waits(Some(Wait::ClientWrite))),
        }
    }

    fn take_head(&mut self, head: ResponseHead) -> Result<Progress, Failure> {
        if head.is_interim() {
            self.client.put_interim(inbound::interim(head));
            return Ok(Progress::Moved);
        }
        self.exchange.attempts.answered();
        self.exchange.asked = Some(self.begun.into_std());
        self.exchange.first_byte = Some(self.begun.elapsed());
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            if !self.request.handshake || !inbound::is_websocket(&head) {
                return Err(Failure::UnaskedUpgrade);
            }
            return Ok(Progress::Done(End::Upgrade(Box::new(head))));
        }
        self.replay.give_up();
        let body = inbound::length(&head, self.server.body(), self.request);
        let head = inbound::shape(head, self.exchange);
        self.exchange.status = head.status.as_u16();
        let is_early = !self.client.has_whole_body();
        if is_early && (self.upload == Upload::Abandoned || body.length() == Some(0)) {
            // Nobody reads the rest of the request.
            self.client.close_after();
        }
        self.client.put_head(head, body);
        self.download = Download::Body;
        Ok(Progress::Moved)
    }
}
