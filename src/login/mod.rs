//! The path of a login, in order: read the body, choose the app, redeem the code, open a session, issue a token.

mod body;
mod choose;
mod grant;
mod log_in;
mod log_out;
mod renew;

pub use body::{LoginBody, LogoutBody, RefreshBody};
pub use grant::Grant;
pub use log_in::Logins;
