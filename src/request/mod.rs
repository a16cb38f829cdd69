//! The path of a request, in order: admit the message, route it, find the credential, verify it, rewrite the headers.

mod admit;
mod bearer;
mod client;
mod decide;
mod denial;
mod destination;
mod endpoint;
mod explain;
mod forward_auth;
mod head;
mod identity;
mod names;
mod path;
mod rates;
mod request_id;
mod route;
mod subprotocol;
mod survey;

pub use admit::{Admitted, Message, admit};
pub use bearer::{Credential, bearer, credential};
pub use client::{Client, Connection, client};
pub use decide::{Decision, FirstLogin, Pass, Requests};
pub use denial::{Denial, Errcode};
pub use destination::{Destination, Destinations, Reading, Taken, admit_stranger};
pub use endpoint::Endpoint;
pub use explain::{Explanation, Question, QuestionError};
pub use forward_auth::Allowed;
pub use head::{check_head, check_start};
pub use identity::{Edits, Identities};
pub use names::OwnedNames;
pub use path::NormalPath;
pub use rates::{Rates, network};
pub use request_id::RequestId;
pub use route::RouteTable;
pub use subprotocol::{Subprotocols, without_tokens};
pub use survey::{Field, Survey};
