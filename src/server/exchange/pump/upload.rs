//! Moves the request's body from the client to the server.

use std::task::{Context, Poll};

use super::state::{Download, Pump, Upload, Wait};
use crate::server::exchange::client::Leaving;
use crate::server::exchange::failure::Failure;
use crate::server::exchange::half_closed::HalfClosed;
use crate::server::message::Part;

impl Pump<'_, '_> {
    /// Takes one step; returns whether anything moved, and what is waited for.
    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<(bool, Option<Wait>), Failure> {
        let mut wait = None;
        match self.upload {
            Upload::Over | Upload::Abandoned => {
                if self.download != Download::Over
                    && let Poll::Ready(leaving) = self.client.poll_leaving(cx)
                {
                    match leaving {
                        Leaving::Gone => return Err(Failure::ClientGone),
                        Leaving::HalfClosed => {
                            let client = HalfClosed::new(self.client);
                            self.half_closed.get_or_insert(client);
                        }
                    }
                }
                return Ok((false, None));
            }
            Upload::Reading if !self.server.is_full() => match self.client.poll_part(cx) {
                Poll::Ready(part) => {
                    self.take_part(part?)?;
                    return Ok((true, None));
                }
                Poll::Pending => wait = Some(Wait::ClientRead),
            },
            Upload::Reading | Upload::Flushing => {}
        }
        if self.server.has_output() {
            match self.server.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // It may have answered before it closed.
                    self.upload = Upload::Abandoned;
                    return Ok((true, None));
                }
                Poll::Pending => {
                    if self.client.can_be_watched()
                        && self.client.poll_leaving(cx) == Poll::Ready(Leaving::Gone)
                    {
                        return Err(Failure::ClientGone);
                    }
                    return Ok((false, Some(Wait::ServerWrite)));
                }
            }
            if self.upload == Upload::Flushing {
                self.upload = Upload::Over;
            }
            return Ok((true, wait));
        }
        if self.upload == Upload::Flushing {
            self.upload = Upload::Over;
            return Ok((true, None));
        }
        Ok((false, wait))
    }

    fn take_part(&mut self, part: Part) -> Result<(), Failure> {
        let max = self.max_body_bytes;
        match self.replay.take(self.exchange, max, part)? {
            Part::Data(data) => self.server.put(data),
            Part::End(trailers) => {
                self.server.finish(trailers);
                self.upload = Upload::Flushing;
            }
        }
        Ok(())
    }
}
