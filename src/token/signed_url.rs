//! Signed URLs: a token for one method, host, path and query, for images, videos and downloads, which send no headers.
//!
//! A signature is a JWT of another `typ` with a digest of what it is for. So it passes the one place that verifies, names
//! the session that it ends with, and needs no store. It lives no longer than a token, since revocations are kept no
//! longer. It is the last parameter of the query and is removed before the request is forwarded. A cookie beside it is
//! ignored, since browsers send theirs with every image. It is verified each time, since the same URL is seldom asked for
//! twice.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::session::{SessionId, Source};

/// The `typ` of such a signature, which keeps it apart from tokens.
pub(super) const URL_TYPE: &str = "menshen-url";

/// A URL as the router reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedUrl<'a> {
    /// The method; HEAD is taken for GET.
    pub method: &'a str,
    /// The host without its port.
    pub host: &'a str,
    /// The path in normal form.
    pub path: &'a str,
    /// The query without the signature; `None` where there is none.
    pub query: Option<&'a str>,
}

/// Whose a signed URL is.
#[derive(Clone, Copy, Debug)]
pub struct UrlUser<'a> {
    /// The app's name.
    pub app: &'a str,
    /// The appid.
    pub appid: &'a str,
    /// The openid.
    pub openid: &'a str,
    /// The unionid, where WeChat gave one.
    pub unionid: Option<&'a str>,
    /// The session that it ends with.
    pub session: SessionId,
    /// How the user logged in.
    pub source: Source,
}

impl SignedUrl<'_> {
    /// Returns the digest of all of it; no two URLs have the same text.
    pub(super) fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        let method = match self.method {
            "HEAD" => "GET",
            method => method,
        };
        let host = self.host.to_ascii_lowercase();
        for part in [method, &host, self.path] {
            context.update(part.as_bytes());
            // None of these can hold one.
            context.update(b"\n");
        }
        if let Some(query) = self.query {
            context.update(b"?");
            context.update(query.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_url_counts_and_head_is_get() {
        let url = SignedUrl {
            method: "GET",
            host: "shop.example",
            path: "/a",
            query: Some("b=1"),
        };
        for other in [
            SignedUrl {
                method: "PUT",
                ..url
            },
            SignedUrl {
                host: "www.shop.example",
                ..url
            },
            SignedUrl { path: "/ab", ..url },
            SignedUrl {
                query: Some("b=2"),
                ..url
            },
            SignedUrl { query: None, ..url },
        ] {
            assert_ne!(other.digest(), url.digest(), "{other:?}");
        }
        let head = SignedUrl {
            method: "HEAD",
            host: "SHOP.example",
            ..url
        };
        assert_eq!(head.digest(), url.digest());
    }
}
