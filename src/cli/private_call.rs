//! Has the process that runs do something, over its private listener, and reads what it answers.

use std::io;
use std::time::Duration;

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::runtime;
use crate::config::PrivateAddress;
use crate::control::{AskError, ask};
use crate::secret::Secret;

/// Many sessions take long to copy.
const LIMIT: Duration = Duration::from_secs(600);

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing could be sent.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It gives no answer.
    #[error("{0} {1}")]
    Away(PrivateAddress, #[source] AskError),
    /// It refuses.
    #[error("{0} refuses with {1}{2}")]
    Refused(PrivateAddress, u16, String),
    /// It says something else.
    #[error("{0} gives no answer of Menshen's")]
    Foreign(PrivateAddress),
}

/// Posts to a path, and reads what is answered.
pub(super) fn post<T: DeserializeOwned>(
    address: &PrivateAddress,
    path: &str,
    secret: Option<&Secret>,
) -> Result<T, CallError> {
    let asked = runtime(1)?.block_on(ask(address, secret, Method::POST, path, LIMIT));
    let (status, body) = asked.map_err(|error| CallError::Away(address.clone(), error))?;
    match status {
        200 => serde_json::from_slice(&body).map_err(|_| CallError::Foreign(address.clone())),
        status => {
            let error = error_in(&body);
            Err(CallError::Refused(address.clone(), status, error))
        }
    }
}

fn error_in(body: &[u8]) -> String {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let error = body.as_ref().and_then(|body| body.get("error")?.as_str());
    error.map(|error| format!(" {error}")).unwrap_or_default()
}
