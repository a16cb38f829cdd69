//! Where a request that came over plain HTTP is sent on to.

use super::{Denial, Message, admit};
use crate::config::Server;

/// The HTTPS side of this server.
#[derive(Clone, Debug)]
pub struct Secure {
    /// The origin that the operator named.
    origin: Option<String>,
    /// The port of the HTTPS listener.
    port: u16,
    max_header_bytes: usize,
}

impl Secure {
    /// Prepares the redirects to the listener on `port`.
    pub fn new(server: &Server, port: u16) -> Self {
        Self {
            origin: server.public_url.clone(),
            port,
            max_header_bytes: server.max_header_bytes,
        }
    }

    /// Returns the URL of the same thing over HTTPS; refuses what would be refused there.
    pub fn location(&self, message: &Message<'_>) -> Result<String, Denial> {
        let request = admit(message, self.max_header_bytes)?;
        let mut location = match &self.origin {
            Some(origin) => origin.clone(),
            None if request.host.is_empty() => {
                return Err(Denial::BadRequest("The request names no host."));
            }
            None if self.port == 443 => format!("https://{}", request.host),
            None => format!("https://{}:{}", request.host, self.port),
        };
        location.push_str(request.path.as_str());
        if let Some(query) = request.query {
            location.push('?');
            location.push_str(query);
        }
        Ok(location)
    }
}

#[cfg(test)]
mod tests {
    use http::header::HOST;
    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::*;

    fn location(
        origin: Option<&str>,
        port: u16,
        host: &str,
        target: &str,
    ) -> Result<String, Denial> {
        let secure = Secure {
            origin: origin.map(str::to_owned),
            port,
            max_header_bytes: 1024,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        secure.location(&Message {
            method: &Method::GET,
            target: target.as_bytes(),
            authority: None,
            version: Version::HTTP_11,
            headers: &headers,
        })
    }

    #[test]
    fn a_request_is_sent_to_the_same_host_and_path() {
        for (port, host, target, expected) in [
            (443, "a.example", "/", "https://a.example/"),
            (443, "a.example:80", "/x?y=1&z", "https://a.example/x?y=1&z"),
            (8443, "a.example", "/x", "https://a.example:8443/x"),
            (443, "[::1]:80", "/x", "https://[::1]/x"),
            (
                443,
                "a.example",
                "//evil.example/x",
                "https://a.example//evil.example/x",
            ),
        ] {
            assert_eq!(location(None, port, host, target).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn the_origin_that_the_operator_names_is_used_instead() {
        let named = location(Some("https://b.example"), 8443, "a.example", "/x?y");
        assert_eq!(named.as_deref(), Ok("https://b.example/x?y"));
    }

    #[test]
    fn what_has_two_readings_is_sent_nowhere() {
        for (host, target) in [
            ("a b", "/"),
            ("a.example", "/../x"),
            ("a.example", "/%2e%2e/x"),
            ("a.example", "http://b.example/"),
            ("a@b.example", "/"),
            ("", "/"),
        ] {
            assert!(
                location(None, 443, host, target).is_err(),
                "{host} {target}"
            );
        }
    }
}
