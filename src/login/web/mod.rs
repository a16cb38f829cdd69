//! How browsers log in: by way of WeChat's pages, or with a ticket of a mini-program's.
//!
//! # Layout
//! `settings` is what the configuration says, `browser_origin` where a browser is. `flow` is a login on its way, which the browser
//! keeps sealed in a cookie; `return_to` is where it ends. `sign_in` begins one and ends it, `ticket` opens a session for a
//! web-view, `tickets` knows which ones were used, `signed_url` signs URLs. `cookie` writes our cookies, `grant` is a session in one, `spent` what was used and
//! `explain` what a person is told when it did not work.

mod browser_origin;
mod cookie;
mod explain;
mod flow;
mod grant;
mod return_to;
mod settings;
mod sign_in;
mod signed_url;
mod spent;
mod ticket;
mod tickets;

pub use browser_origin::BrowserOrigin;
pub use cookie::expired_session_cookie;
pub use explain::explain;
pub(super) use flow::LONGEST_FLOW;
pub use grant::WebGrant;
pub use return_to::ReturnTo;
pub(super) use settings::WebLogins;
pub use sign_in::{Callback, Started};
pub use signed_url::SignBody;
pub(super) use spent::Spent;
pub(super) use tickets::Tickets;
