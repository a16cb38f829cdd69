//! Who serves exchanges, and what is done with their requests.

use std::sync::Arc;

use super::generations::Generations;
use crate::request::Secure;

/// Serves exchanges.
#[derive(Clone)]
pub(in crate::server) struct Proxy {
    pub(in crate::server) generations: Arc<Generations>,
    pub(in crate::server) duty: Duty,
}

/// What is done with requests.
#[derive(Clone)]
pub(in crate::server) enum Duty {
    /// They are answered or forwarded.
    Serve,
    /// They are sent on to HTTPS.
    Redirect(Secure),
    /// They came on a connection over the limit, which is all that they are told.
    Refuse,
}

impl Proxy {
    pub(in crate::server) fn new(generations: &Arc<Generations>, duty: Duty) -> Self {
        let generations = Arc::clone(generations);
        Self { generations, duty }
    }
}
