//! Signs URLs for those that cannot send a header: images, videos, downloads.

use std::time::Duration;

use http::{HeaderValue, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::browser_origin::BrowserOrigin;
use crate::login::Logins;
use crate::login::body::object;
use crate::request::{Admitted, Denial, SIGNATURE};
use crate::token::{Issued, SignedUrl, UrlUser, Verified};

const DEFAULT_TTL: Duration = Duration::from_secs(300);
const LONGEST_PATH: usize = 2048;

/// What is to be signed, as a client writes it.
#[derive(Debug, Deserialize)]
pub struct SignBody {
    path: Option<String>,
    method: Option<String>,
    ttl: Option<Value>,
}

impl SignBody {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, Denial> {
        object(body)
    }

    /// Returns the path, with its query.
    pub fn path(&self) -> Result<&str, Denial> {
        let path = self.path.as_deref().unwrap_or_default();
        match path.len() {
            1..=LONGEST_PATH => Ok(path),
            _ => Err(Denial::BadRequest(
                "The path is missing or longer than 2048 bytes.",
            )),
        }
    }

    /// Returns the method; GET where none is named.
    pub fn method(&self) -> Result<Method, Denial> {
        let method = self.method.as_deref().unwrap_or("GET");
        Method::from_bytes(method.as_bytes())
            .map_err(|_| Denial::BadRequest("The method is not one."))
    }

    /// Returns how long the URL is to be good: seconds, or a text with a unit.
    fn ttl(&self) -> Result<Duration, Denial> {
        const WRONG: Denial =
            Denial::BadRequest("The ttl must be seconds, or a duration such as \"10m\".");
        let ttl = match &self.ttl {
            None | Some(Value::Null) => Some(DEFAULT_TTL),
            Some(Value::Number(secs)) => secs.as_u64().map(Duration::from_secs),
            Some(Value::String(text)) => humantime::parse_duration(text).ok(),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        ttl.filter(|ttl| ttl.as_secs() > 0).ok_or(WRONG)
    }
}

impl Logins {
    /// Signs a URL that a request could ask for, and returns the JSON that its user gets.
    pub fn sign(
        &self,
        who: &Verified,
        request: &Admitted<'_>,
        body: &SignBody,
        browser: &BrowserOrigin,
    ) -> Result<Vec<u8>, Denial> {
        // "/a?" and "/a" would be the same URL once the signature is added.
        let query = request.query.filter(|query| !query.is_empty());
        let url = SignedUrl {
            method: request.method.as_str(),
            host: request.host,
            path: request.path.as_str(),
            query,
        };
        let issued = self.sign_for(who, &url, body.ttl()?)?;
        let (path, token) = (request.path.as_str(), issued.token.expose());
        let target = match query {
            Some(query) => format!("{path}?{query}&{SIGNATURE}={token}"),
            None => format!("{path}?{SIGNATURE}={token}"),
        };
        let scheme = if browser.https { "https" } else { "http" };
        let told = json!({
            "url": format!("{scheme}://{}{target}", browser.host),
            "path": target,
            "expires_in": issued.expires_in.as_secs(),
        });
        Ok(told.to_string().into_bytes())
    }

    /// Signs what is good for one thing alone, as its user.
    pub(super) fn sign_for(
        &self,
        who: &Verified,
        url: &SignedUrl<'_>,
        lives: Duration,
    ) -> Result<Issued, Denial> {
        let app = self.apps.get(who.app()).ok_or(Denial::AppUnknown)?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let openid = text(who.openid());
        let unionid = who.unionid().map(text);
        let user = UrlUser {
            app: &app.name,
            appid: &app.appid,
            openid: &openid,
            unionid: unionid.as_deref(),
            session: *who.session(),
            source: who.source(),
        };
        self.issuer.sign_url(&user, url, lives).map_err(|error| {
            tracing::error!(%error, "a URL could not be signed");
            Denial::Internal
        })
    }
}
