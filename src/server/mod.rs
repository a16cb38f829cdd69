//! The wire: the only folder that knows pingora.
//!
//! # Layout
//!
//! ```text
//! process → connection → exchange → upstreams, sockets → http1, http2 → message, tcp, timer, workers
//! ```
//!
//! `process` binds and stops, `connection` accepts and finds out what a client speaks, `exchange` serves one request,
//! `upstreams` connects to servers, `sockets` carries WebSockets and ends what outlasts its session. `http1` and `http2`
//! turn bytes into messages and back. `tcp` is a client's connection before TLS. `workers` has the threads that connections are served on.

mod connection;
mod exchange;
mod file_state;
mod http1;
mod http2;
mod message;
mod process;
mod sockets;
mod tcp;
mod timer;
mod upstreams;
mod workers;

pub use connection::{Encryption, TlsError};
pub use exchange::{ExchangeRecent, ExchangeTraffic, Generation, Generations, WORDS};
pub use file_state::FileState;
pub use process::{
    BindError, HandOverError, Listening, Predecessor, PrivateError, PrivateSocket, SETTLE_TIMEOUT,
    Serving, Successor, UpgradeSocket, can_bind, supervisor,
};
pub use sockets::Sockets;
pub use upstreams::{UpstreamError, Upstreams};
pub use workers::{WorkerThreads, Workers};
