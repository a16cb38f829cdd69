//! What the uploads on one connection of HTTP/2 may hold of its window, which they share.
//!
//! A server that does not read one upload keeps what it holds of the connection's window, and another that needs more than what is
//! left waits for it. So no upload gets a place on a connection where that could happen. A body whose length is unknown, as that of
//! a call of gRPC that goes on, could hold any window, and has a connection for itself among those with a body. Its share cannot be
//! bounded instead: servers give back nothing of a stream's window before they have read half of it, and with the default windows
//! that is half of the connection's.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What uploads hold at the most of a connection that they share: half of the window that every connection begins with (RFC 9113,
/// section 6.9.2). The other half may be away, read by the server and not given back yet. A larger window is not counted on.
const SHARED: u32 = 65_535 / 2;
/// A connection on which as much was lost gets no further exchanges.
const MOST_LOST: u32 = SHARED / 2;

/// What one request may hold: as much as its body, where that can share a connection, or else all of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Unread(u32);

impl Unread {
    /// There is no body.
    pub(in crate::server) const NONE: Self = Self(0);

    /// Describes a body of this length, or of one that is unknown.
    pub(in crate::server) fn of(length: Option<u64>) -> Self {
        let bytes = length.and_then(|length| u32::try_from(length).ok());
        Self(bytes.map_or(SHARED, |bytes| bytes.min(SHARED)))
    }
}

/// What the uploads on a connection hold.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: u32,
    /// What was given up, and is among `bytes` for ever: the server may not let go of it.
    lost: u32,
}

impl Uploads {
    /// Lets an upload begin, if none can wait for another then.
    pub(super) fn begin(&self, upload: Unread) -> bool {
        // Most requests have no body.
        if upload == Unread::NONE {
            return true;
        }
        let mut held = self.held();
        let fits = held.bytes + upload.0 <= SHARED;
        if fits {
            held.bytes += upload.0;
        }
        fits
    }

    /// Returns whether an upload could begin.
    pub(super) fn has_room(&self, upload: Unread) -> bool {
        upload == Unread::NONE || self.held().bytes + upload.0 <= SHARED
    }

    /// Notes the length of an upload that has come to its end; returns whether it holds less then.
    pub(super) fn end(&self, upload: &mut Unread, length: u64) -> bool {
        let now = Unread::of(Some(length)).0.min(upload.0);
        let less = upload.0 - now;
        upload.0 = now;
        if less > 0 {
            self.held().bytes -= less;
        }
        less > 0
    }

    /// Notes that a server has let go of an upload.
    pub(super) fn forget(&self, upload: Unread) {
        if upload != Unread::NONE {
            self.held().bytes -= upload.0;
        }
    }

    /// Notes that an upload was given up, which a server that does not read it may not see; returns whether too much was lost so.
    pub(super) fn lose(&self, upload: Unread) -> bool {
        if upload == Unread::NONE {
            return false;
        }
        let mut held = self.held();
        held.lost += upload.0;
        held.lost > MOST_LOST
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_together_no_longer_than_half_the_window_shares_a_connection() {
        let uploads = Uploads::default();
        let (small, large) = (Unread::of(Some(1_000)), Unread::of(Some(1 << 40)));
        for _ in 0..32 {
            assert!(uploads.begin(small));
        }
        assert!(!uploads.begin(small) && !uploads.begin(large));
        assert!(uploads.begin(Unread::of(Some(0))));
        for _ in 0..32 {
            uploads.forget(small);
        }
        assert!(uploads.begin(large) && !uploads.begin(Unread::of(None)));
        assert!(!uploads.begin(Unread::of(Some(1))));
    }

    #[test]
    fn what_has_come_to_its_end_holds_no_more_than_it_is_long() {
        let uploads = Uploads::default();
        let mut unknown = Unread::of(None);
        assert!(uploads.begin(unknown) && !uploads.begin(Unread::of(Some(1))));
        assert!(uploads.end(&mut unknown, 10));
        assert_eq!(unknown, Unread::of(Some(10)));
        assert!(!uploads.end(&mut unknown, 1 << 20));
        let rest = Unread::of(Some(u64::from(SHARED) - 10));
        assert!(uploads.begin(rest) && !uploads.begin(Unread::of(Some(10))));
        uploads.forget(unknown);
        assert!(uploads.begin(Unread::of(Some(10))));
    }

    #[test]
    fn what_was_given_up_is_counted_on_no_more() {
        let uploads = Uploads::default();
        let given_up = Unread::of(Some(16_000));
        assert!(uploads.begin(given_up) && !uploads.lose(given_up));
        assert!(uploads.begin(given_up) && !uploads.begin(given_up));
        assert!(uploads.lose(given_up) && !uploads.lose(Unread::of(Some(0))));
    }
}
