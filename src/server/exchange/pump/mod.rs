//! Carries a request to a server and its response back, both at once, each as fast as the slower side takes it.
//!
//! `state` is what is known meanwhile; `upload` and `download` take one step each, and `deadlines` waits.

mod deadlines;
mod download;
mod state;
mod upload;

use std::pin::pin;
use std::task::{Context, Poll};

use tokio::task::yield_now;

use self::state::Progress;
pub(super) use self::state::{End, Pump, Upload};
use super::failure::Failure;

/// After so many steps the other exchanges of the thread have their turn: a step may be a read of 64 KiB, or some hundred chunks of one
/// byte.
const MOST_STEPS: u32 = 16;

impl Pump<'_, '_> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        loop {
            if let Some(entry) = &self.entry
                && entry.handle().poll_ending(cx).is_ready()
            {
                return Poll::Ready(Err(Failure::SessionEnded));
            }
            let (mut has_risen, mut has_fallen) = (false, false);
            let mut waits = [None, None];
            for step in 0.. {
                if step == MOST_STEPS {
                    self.up.note(has_risen, self.server.written());
                    self.down.note(has_fallen, self.client.written());
                    if self.poll_deadlines(cx, waits)?.is_ready() {
                        break;
                    }
                    // `yield_now` wakes this task once the thread has looked for what the others wait for.
                    match pin!(yield_now()).poll(cx) {
                        Poll::Ready(()) => break,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                let (up, wait_up) = self.poll_upload(cx)?;
                let (down, wait_down) = match self.poll_download(cx)? {
                    Progress::Done(end) => return Poll::Ready(Ok(end)),
                    Progress::Moved => (true, None),
                    Progress::Waits(wait) => (false, wait),
                };
                has_risen |= up;
                has_fallen |= down;
                waits = [wait_up, wait_down];
                if !up && !down {
                    self.up.note(has_risen, self.server.written());
                    self.down.note(has_fallen, self.client.written());
                    match self.poll_deadlines(cx, waits)? {
                        Poll::Ready(()) => break,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }
}
