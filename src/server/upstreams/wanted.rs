//! What an exchange asks of its upstream.

use std::time::Duration;

use super::uploads::Unread;
use crate::config::UpstreamTimeouts;

/// What an exchange asks of its upstream.
#[derive(Debug)]
pub(in crate::server) struct Wanted<'a> {
    /// Who is asking, to be sent to the same server again.
    pub(in crate::server) openid: Option<&'a [u8]>,
    /// Whether it is about to leave HTTP, which only HTTP/1.1 can.
    pub(in crate::server) upgrade: bool,
    /// Whether it may be sent twice.
    pub(in crate::server) repeatable: bool,
    /// What its body may hold of the window of a connection of HTTP/2.
    pub(in crate::server) upload: Unread,
    /// The route's own limits.
    pub(in crate::server) timeouts: UpstreamTimeouts<Option<Duration>>,
}
