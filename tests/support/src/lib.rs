//! What Menshen's tests on real sockets share: a gateway in the test's own process, a backend that remembers
//! everything it received, and the examples' backends.

mod backends;
mod gateway;
mod raw;
mod reply;
mod upstream;

pub use backends::Backend;
pub use gateway::{Builder, Grant, TestGateway};
pub use raw::raw;
pub use reply::Reply;
pub use upstream::{Received, Upstream};
