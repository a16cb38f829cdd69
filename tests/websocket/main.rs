//! WebSockets: the handshake, what passes, and how they end.

mod clients;
mod endings;
mod handshake;
mod quick_backends;
mod sessions;
