//! The path of a request, in order: admit the message, route it, find the credential, verify it, rewrite the headers.

mod admit;
mod bearer;
mod client;
mod decide;
mod denial;
mod endpoint;
mod identity;
mod names;
mod path;
mod route;

pub use admit::{Admitted, Message, admit};
pub use bearer::{Credential, bearer, credential};
pub use client::{Client, Connection, client};
pub use decide::{Decision, FirstLogin, Pass, Requests};
pub use denial::{Denial, Errcode};
pub use endpoint::Endpoint;
pub use identity::{Edits, Identities};
pub use names::OwnedNames;
pub use path::NormalPath;
pub use route::RouteTable;
