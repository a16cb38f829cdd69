//! The path of a login, in order: read the body, choose the app, redeem the code, open a session, issue a token.
//!
//! # Layout
//! `log_in` is the path itself, with `body`, `choose` and, at its end, `grant`. `redeem` exchanges a code once, however often it is
//! sent. `queue` lets calls to WeChat go in turn, at the pace of the quota, and none while its circuit breaker is open. `web` is how
//! browsers log in. `caller` describes the client, `rates` limits the bad codes of an address, `charge` is what one of them counts, and `state`
//! outlasts a reload. `renew` and `log_out` are the other two endpoints. `audit` writes the lines about all this, and
//! `trace` its spans.

mod audit;
mod body;
mod caller;
mod charge;
mod choose;
mod grant;
mod log_in;
mod log_out;
mod queue;
mod rates;
mod redeem;
mod renew;
mod state;
mod trace;
mod web;

pub use body::{LoginBody, LogoutBody, RefreshBody};
pub use caller::Caller;
pub use charge::Charge;
pub use grant::Grant;
pub use log_in::Logins;
pub use rates::LoginRates;
pub use redeem::Nonce;
pub use state::LoginState;
pub use trace::LoginTrace;
pub use web::{
    BrowserOrigin, Callback, ReturnTo, SignBody, Started, WebGrant, expired_session_cookie, explain,
};
