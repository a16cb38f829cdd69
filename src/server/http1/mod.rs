//! HTTP/1 on a connection: bytes in, messages out, and the other way round; for clients and for servers.
//!
//! # Layout
//! `stream` buffers the connection, `head` parses and writes heads, `body` frames bodies. [`ServerSide`] serves a client,
//! whose heads `reading` reads; [`ClientSide`] asks a server.

mod body;
mod client;
mod head;
mod reading;
mod server;
mod stream;

pub(super) use self::body::Malformed;
pub(super) use self::client::{ClientSide, ResponseError};
pub(super) use self::head::{declared_length, write_field};
pub(super) use self::reading::{Limits, Read};
pub(super) use self::server::{BodyError, ServerSide};
pub(super) use self::stream::Buffered;
