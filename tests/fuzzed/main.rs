//! Generated and spoiled messages on real sockets. A program of its own, since any panic in its process fails the running case.

mod exchanges;
mod exchanges_http2;
mod http1;
mod http2;
mod misbehaving;
