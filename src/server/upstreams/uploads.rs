//! What the uploads on one connection of HTTP/2 may hold of its window, which they share.
//!
//! A server that does not read one upload keeps what it holds of the connection's window, and another that needs more than what is
//! left waits for it. So no upload gets a place on a connection where that could happen. Bodies whose length is unknown hold all of
//! a connection, but for calls of gRPC, which share one until they have sent half of its window.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The window that every connection begins with (RFC 9113, section 6.9.2). A larger one is not counted on.
const WINDOW: u32 = 65_535;
/// Calls that have sent more than that get no further ones beside them.
const MOST_CALLED: u32 = WINDOW / 2;

/// What one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Unread {
    /// It has no body.
    None,
    /// As much as the whole body.
    Bytes(u32),
    /// As much as a call of gRPC has sent by now.
    Call(u32),
}

impl Unread {
    /// Describes a body of this length, or of one that is unknown.
    pub(in crate::server) fn of(length: Option<u64>) -> Self {
        match length.map_or(WINDOW, capped) {
            0 => Self::None,
            bytes => Self::Bytes(bytes),
        }
    }

    /// Describes a call of gRPC that has sent nothing yet.
    pub(in crate::server) fn call() -> Self {
        Self::Call(0)
    }
}

/// What the uploads on a connection hold.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: u32,
    calls: u32,
    called: u32,
}

impl Uploads {
    /// Lets an upload begin, if none can wait for another then.
    pub(super) fn begin(&self, upload: Unread) -> bool {
        // Most requests have no body.
        if upload == Unread::None {
            return true;
        }
        let mut held = self.held();
        let fits = match upload {
            Unread::None => true,
            Unread::Bytes(bytes) => held.calls == 0 && held.bytes + bytes <= WINDOW,
            Unread::Call(_) => held.bytes == 0 && held.called <= MOST_CALLED,
        };
        if fits {
            held.add(upload);
        }
        fits
    }

    /// Lets the upload of a new connection begin.
    pub(super) fn begin_first(&self, upload: Unread) {
        self.held().add(upload);
    }

    /// Notes what a call has sent more.
    pub(super) fn grow(&self, upload: &mut Unread, more: usize) {
        if let Unread::Call(sent) = upload {
            let now = capped(u64::from(*sent) + more as u64);
            self.held().called += now - *sent;
            *sent = now;
        }
    }

    /// Notes the length of an upload that has come to its end; returns whether it holds less then.
    pub(super) fn end(&self, upload: &mut Unread, length: u64) -> bool {
        let Unread::Bytes(bytes) = upload else {
            return false;
        };
        let now = capped(length).min(*bytes);
        let is_less = now < *bytes;
        self.held().bytes -= *bytes - now;
        *bytes = now;
        is_less
    }

    /// Notes that a server has let go of an upload.
    pub(super) fn forget(&self, upload: Unread) {
        if upload != Unread::None {
            self.held().take(upload);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn add(&mut self, upload: Unread) {
        match upload {
            Unread::None => {}
            Unread::Bytes(bytes) => self.bytes += bytes,
            Unread::Call(sent) => {
                self.calls += 1;
                self.called += sent;
            }
        }
    }

    fn take(&mut self, upload: Unread) {
        match upload {
            Unread::None => {}
            Unread::Bytes(bytes) => self.bytes -= bytes,
            Unread::Call(sent) => {
                self.calls -= 1;
                self.called -= sent;
            }
        }
    }
}

fn capped(bytes: u64) -> u32 {
    u32::try_from(bytes).map_or(WINDOW, |bytes| bytes.min(WINDOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_together_no_longer_than_the_window_shares_a_connection() {
        let uploads = Uploads::default();
        let (small, large) = (Unread::of(Some(1_000)), Unread::of(Some(1 << 40)));
        for _ in 0..65 {
            assert!(uploads.begin(small));
        }
        assert!(!uploads.begin(small) && !uploads.begin(large) && !uploads.begin(Unread::call()));
        assert!(uploads.begin(Unread::of(Some(0))));
        for _ in 0..65 {
            uploads.forget(small);
        }
        assert!(uploads.begin(large) && !uploads.begin(Unread::of(None)));
    }

    #[test]
    fn what_has_come_to_its_end_holds_no_more_than_it_is_long() {
        let uploads = Uploads::default();
        let mut unknown = Unread::of(None);
        assert!(uploads.begin(unknown) && !uploads.begin(Unread::of(Some(1))));
        assert!(uploads.end(&mut unknown, 10));
        assert_eq!(unknown, Unread::Bytes(10));
        assert!(uploads.begin(Unread::of(Some(65_525))));
        uploads.forget(unknown);
        assert!(uploads.begin(Unread::of(Some(10))));
    }

    #[test]
    fn calls_share_a_connection_until_they_have_sent_half_of_its_window() {
        let uploads = Uploads::default();
        let (mut one, mut other) = (Unread::call(), Unread::call());
        assert!(uploads.begin(one) && uploads.begin(other));
        assert!(!uploads.begin(Unread::of(Some(1))));
        uploads.grow(&mut one, 30_000);
        assert!(uploads.begin(Unread::call()));
        uploads.grow(&mut other, 1 << 20);
        assert!(!uploads.begin(Unread::call()));
        uploads.forget(other);
        assert!(uploads.begin(Unread::call()));
    }
}
