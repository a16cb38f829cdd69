//! Menshen: a reverse proxy that logs WeChat users in, so that the backend behind it does not have to.
//!
//! # Two flows
//!
//! A request, which waits for nothing but its upstream:
//!
//! ```text
//! server::connection → server::exchange → request::admit → route → bearer → token::cache (→ token::verify)
//!                                       → request::identity → the upstream
//! ```
//!
//! A login, which makes one call to WeChat and one durable write:
//!
//! ```text
//! server::exchange::own → login::body → wechat::code → login::choose → wechat::code2session → session → token::issue
//! ```
//!
//! # Layout
//!
//! [`cli`] and [`app`] start things: [`config`] is read, [`app`] constructs the parts. [`server`] is the wire and the
//! only module that knows pingora, [`control`] the private listener. [`request`] decides without I/O, [`login`] is the other flow. [`wechat`],
//! [`session`] and [`token`] are what they share, [`traces`] records both flows, and [`trust`] is whom TLS believes. [`simulator`] and [`demo`] stand in for WeChat and a backend during
//! development.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod demo;
pub mod log;
pub mod login;
pub mod metrics;
pub mod owner;
pub mod page;
pub mod request;
pub mod secret;
pub mod server;
pub mod session;
pub mod simulator;
pub mod token;
pub mod traces;
pub mod trust;
pub mod wechat;
