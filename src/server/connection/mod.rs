//! Connections of clients: how many there may be, whose they are, TLS, and what they speak.

mod certificates;
mod http1;
mod http2;
mod limits;
mod progress;
mod proxy_protocol;
mod serve;
mod tls;

pub use self::certificates::TlsError;
pub(super) use self::limits::ConnectionLimits;
pub(super) use self::serve::{Connections, SHUTDOWN_DELAY};
pub use self::tls::Encryption;
