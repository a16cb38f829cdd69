//! The JSON bodies that clients send to Menshen's own endpoints.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize as _;

use crate::request::Denial;

/// The body of a login; the code is wiped when it is dropped.
#[derive(Deserialize)]
pub struct LoginBody {
    /// The code from `wx.login`.
    pub code: Option<String>,
    /// The app's name.
    pub app: Option<String>,
}

impl Drop for LoginBody {
    fn drop(&mut self) {
        self.code.zeroize();
    }
}

/// The body of a refresh.
#[derive(Deserialize)]
pub struct RefreshBody {
    /// The refresh token.
    pub refresh_token: Option<String>,
}

/// The body of a logout; it may be empty.
#[derive(Default, Deserialize)]
pub struct LogoutBody {
    /// Whether all of the user's sessions in this app end.
    #[serde(default)]
    pub everywhere: bool,
}

impl LoginBody {
    /// Reads the body of a login.
    pub fn parse(body: &[u8]) -> Result<Self, Denial> {
        object(body)
    }
}

impl RefreshBody {
    /// Reads the body of a refresh.
    pub fn parse(body: &[u8]) -> Result<Self, Denial> {
        object(body)
    }
}

impl LogoutBody {
    /// Reads the body of a logout.
    pub fn parse(body: &[u8]) -> Result<Self, Denial> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        object(body)
    }
}

fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denial> {
    // serde also reads a struct from an array, which nobody means.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Denial::BadRequest("The body is not a JSON object."));
    }
    serde_json::from_slice(body)
        .map_err(|_| Denial::BadRequest("The body is not the JSON object that belongs here."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bodies_are_refused() {
        for body in [
            "",
            "null",
            "[]",
            "[\"a\"]",
            "{",
            "{\"code\":1}",
            "{\"code\":\"a\"}x",
            "\u{feff}{}",
            "code=a",
        ] {
            assert!(LoginBody::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(LogoutBody::parse(b"{\"everywhere\":\"yes\"}").is_err());
    }

    #[test]
    fn unknown_fields_are_left_alone() {
        let body = LoginBody::parse(br#" {"code":"0a","app":"shop","more":{}}"#).unwrap();
        assert_eq!(body.code.as_deref(), Some("0a"));
        assert_eq!(body.app.as_deref(), Some("shop"));
        assert!(
            LogoutBody::parse(b"{\"everywhere\":true}")
                .unwrap()
                .everywhere
        );
        assert!(!LogoutBody::parse(b"").unwrap().everywhere);
    }
}
