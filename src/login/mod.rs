//! The path of a login, in order: read the body, choose the app, redeem the code, open a session, issue a token.
//!
//! # Layout
//! `log_in` is the way in, with `body`, `choose` and, at its end, `grant`. `desk` redeems the codes of one app: `once` has
//! each code go to WeChat once and knows by the `nonce` who may have its session again, `redemption` is its course
//! and `failure` where it may end; `charge` is what it counts for against its address. `queue` has the calls to WeChat made in turn, at
//! the pace of the `quota`, and none while the circuit `breaker` is open. `memory` is what outlasts a reload. `renew` and `log_out`
//! stand beside all that, `web` is how browsers log in, and `by_browser` what their codes take besides.

mod body;
mod breaker;
mod by_browser;
mod caller;
mod charge;
mod choose;
mod credentials;
mod desk;
mod failure;
mod grant;
mod log_in;
mod log_out;
mod memory;
mod nonce;
mod once;
mod queue;
mod quota;
mod redemption;
mod renew;
mod web;

pub use body::{LoginBody, LogoutBody, RefreshBody};
pub use caller::Caller;
pub use charge::Charge;
pub use grant::Grant;
pub use log_in::Logins;
pub use memory::Memory;
pub use nonce::Nonce;
pub use web::{
    Callback, Place, ReturnTo, SignBody, Started, WebGrant, expired_session_cookie, explain,
};
