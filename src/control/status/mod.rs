//! The status page for people, and what it asks for.
//!
//! # Layout
//! `page` is the page itself, which holds nothing that needs a secret. `own` tells its requests from those of other sites' pages;
//! `login` lets a browser in that brings a secret, and `logins` knows it again. `document` is everything that the page shows:
//! `traffic`, `apps` and `parts`, read from the same numbers as `/metrics` by `shown`.

mod apps;
mod document;
mod login;
mod logins;
mod own;
mod page;
mod parts;
mod shown;
mod traffic;

use tokio_util::sync::CancellationToken;

use super::Control;

pub(super) use self::document::document;
pub(super) use self::login::{caller, log_in, log_out, logged_in};
pub use self::logins::PageLogins;
pub(super) use self::own::{is_by_page, is_login};
pub(super) use self::page::{is_page, page};

/// The page.
pub(super) const PAGE: &str = "/";
/// What it shows.
pub(super) const DOCUMENT: &str = "/v1/status";
/// Who looks at it, and what they may do there.
pub(super) const CALLER: &str = "/v1/status/caller";
/// Where a browser brings a secret.
pub(super) const LOGIN: &str = "/v1/status/login";
/// Where it is forgotten.
pub(super) const LOGOUT: &str = "/v1/status/logout";

/// Returns whether the page asks for it every few seconds.
pub(super) fn is_routine(call: &str) -> bool {
    [PAGE, DOCUMENT, CALLER].contains(&call)
}

/// Returns whether every secret is good for it.
pub(super) fn is_everybodys(call: &str) -> bool {
    [CALLER, LOGOUT].contains(&call)
}

/// Keeps the sums of the last hour until it is over.
pub(super) async fn sample(control: Control, over: CancellationToken) {
    let Control {
        hour,
        traffic,
        metrics,
        clock,
        ..
    } = control;
    tokio::select! {
        () = hour.keep(&traffic, &metrics, || clock.instant()) => {}
        () = over.cancelled() => {}
    }
}
