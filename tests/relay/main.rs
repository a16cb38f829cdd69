//! Calls of backends to WeChat's API: the access_token, the relay, and what runs unchanged on it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod access_token;
mod answers;
mod calls;
mod cloud_run;
mod day;
mod reach;
mod sdks;
