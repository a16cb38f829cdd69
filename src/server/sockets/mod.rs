//! The index of long exchanges and WebSockets by session: each ends with the session that opened it.
//!
//! # Layout
//! `index` lists what is open and ends what belongs to a session. `handle` ends one of them, `pump` carries a WebSocket, and
//! `frames` finds where a close frame fits.

mod frames;
mod handle;
mod index;
mod pump;

pub use self::index::Sockets;
pub(super) use self::index::{Entry, Kind};
pub(super) use self::pump::{WebSocket, WebSocketLimits};
