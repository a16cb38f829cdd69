//! Where a browser is: the scheme and host that it uses.

use super::settings::WebLogins;
use crate::request::Denial;

/// The origin that a browser used for a request.
#[derive(Clone, Debug)]
pub struct BrowserOrigin {
    /// Whether it speaks HTTPS.
    pub https: bool,
    /// The host, with its port.
    pub host: String,
}

impl BrowserOrigin {
    /// Returns the origin, if logins are for it.
    ///
    /// Cookies are of one host, so that a login that began on another could not end on this one.
    pub(super) fn origin(&self, settings: &WebLogins) -> Result<String, Denial> {
        let scheme = if self.https { "https" } else { "http" };
        let origin = format!("{scheme}://{}", self.host.to_ascii_lowercase());
        match &settings.public_url {
            Some(public) if !same_origin(public, &origin) => Err(Denial::HostNotOurs),
            Some(public) => Ok(public.clone()),
            None if is_host(&self.host) => Ok(origin),
            None => Err(Denial::HostNotOurs),
        }
    }
}

fn same_origin(one: &str, other: &str) -> bool {
    plain(one).eq_ignore_ascii_case(plain(other))
}

/// Leaves a port out that need not be said.
fn plain(origin: &str) -> &str {
    let port = if origin.starts_with("https://") {
        ":443"
    } else {
        ":80"
    };
    origin.strip_suffix(port).unwrap_or(origin)
}

fn is_host(host: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    !host.is_empty() && host.len() <= 260 && host.bytes().all(allowed)
}
