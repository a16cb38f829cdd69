//! What the tests on real sockets share.

pub(crate) mod backends;
