//! What a decision comes to.

use std::sync::Arc;

use super::{CredentialKind, Endpoint};
use crate::config::Route;
use crate::token::Verified;

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Menshen answers it itself.
    Own(Endpoint),
    /// It goes to an upstream.
    Forward(Pass),
    /// The user is logged in first, then it goes to an upstream.
    LogIn(FirstLogin),
    /// The session goes on by its cookie first, then it goes to an upstream.
    Renew(Box<Renewal>),
    /// The person who loads the page is sent to WeChat.
    SignIn(SignIn),
}

/// A request of a session whose token has expired, in a cookie that renews it.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// What the session goes on by, not yet opened.
    pub cookie: String,
    /// How the request goes on; nobody is known yet.
    pub pass: Pass,
    /// What becomes of the request where the session is over; `None` where it is refused.
    pub otherwise: Option<SignIn>,
}

/// A page load that leads to a login.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The app that logs users in in this browser; `None` where none can.
    pub app: Option<usize>,
    /// The path and query to come back to.
    pub return_to: String,
}

/// Who sent a request to one of our own endpoints.
#[derive(Clone, Debug)]
pub enum Caller {
    /// This user.
    Known(Arc<Verified>),
    /// Whoever this cookie renews the session of, not yet opened.
    Lapsed(String),
}

/// A request that may be forwarded.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The route that takes it.
    pub route: Arc<Route>,
    /// Who sent it; `None` on routes that let strangers in.
    pub who: Option<Arc<Verified>>,
    /// The path and query to ask the upstream for; `None` when they are what the client sent.
    pub target: Option<String>,
    /// Whether `Authorization` holds our token, which the upstream does not get.
    pub hide_authorization: bool,
    /// Whether the upstream gets no line of `Authorization` that stands for no token, since there is another line.
    pub hide_spare_bearers: bool,
    /// By what its sender is known.
    pub credential: CredentialKind,
}

/// A login on the first request.
#[derive(Clone, Debug)]
pub struct FirstLogin {
    /// The code, not yet checked.
    pub code: String,
    /// The nonce that proves who sent it, not yet checked.
    pub nonce: Option<String>,
    /// The app's name, where the client gave one.
    pub app: Option<String>,
    /// How the request goes on; nobody is known yet.
    pub pass: Pass,
}
