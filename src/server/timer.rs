//! A timer that moves without touching the runtime's timers: it is armed early and looks again when it fires.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that may be set anew for each exchange of a connection.
///
/// To register a timer costs as much as a small part of a request. A deadline that moves later is left registered where
/// it is; when it fires too early, it is registered again.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Waits for a deadline.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline || Instant::now() >= deadline {
                // A timer that has fired is armed anew by whoever waits next.
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_is_kept_in_both_directions() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // It is armed for the tenth second first, and then asked about a later and an earlier one.
            match polls {
                1 => timer.poll(cx, at(10)),
                _ => timer.poll(cx, at(20)),
            }
        })
        .await;
        assert!(start.elapsed() >= Duration::from_secs(10));
        poll_fn(|cx| timer.poll(cx, at(60))).await;
        assert!(start.elapsed() >= Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(61));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            match polls {
                1 => {
                    let early = timer.poll(cx, at(300));
                    cx.waker().wake_by_ref();
                    early
                }
                _ => timer.poll(cx, at(90)),
            }
        })
        .await;
        assert!(start.elapsed() < Duration::from_secs(91));
    }
}
