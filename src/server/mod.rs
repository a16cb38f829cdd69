//! The wire: listeners, pingora's phases in call order, replies and upstreams; the only folder that knows pingora.

mod access_log;
mod body;
mod certificates;
mod connection;
mod cookies;
mod exchange;
mod failure;
mod gate;
mod gates;
mod head;
mod http2;
mod inbound;
mod listen;
mod looks;
mod outbound;
mod own;
mod phases;
mod proxy_protocol;
mod receive;
mod reply;
mod retries;
mod run;
mod seats;
mod sockets;
mod tls;
mod upstreams;
mod watched;

pub use certificates::TlsError;
pub use gate::Gate;
pub use gates::Gates;
pub use listen::{BindError, Listening};
pub use run::run;
pub use sockets::Sockets;
pub use tls::Encryption;
pub use upstreams::{UpstreamError, Upstreams};
