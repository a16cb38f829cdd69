//! Redeems a code once: single-flight on this node, a claim in the store among nodes, and a nonce by which its sender is known again.
//!
//! `redeemer` has requests join the flight of their code (`single_flight`). `redemption` is the course of one flight: claim, wait for
//! the turn, call WeChat with the app's `credentials`, store the session; `failure` is where it may end instead. `by_browser` is
//! what a browser's code needs besides.

mod by_browser;
mod credentials;
mod failure;
mod nonce;
mod redeemer;
mod redemption;
mod single_flight;

pub use self::nonce::Nonce;
pub(super) use self::redeemer::{Redeemer, Refused};
pub(super) use self::single_flight::Codes;
#[cfg(test)]
pub(super) use self::single_flight::Outcome;
