//! The JSON bodies that clients send to Menshen's own endpoints.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize as _;

use crate::request::{Denial, is_placeholder};

/// The body of a login; code and nonce are wiped when it is dropped.
#[derive(Deserialize)]
pub struct LoginBody {
    /// The code from `wx.login`.
    pub code: Option<String>,
    /// Proves to be the same client when the code is sent again.
    pub nonce: Option<String>,
    /// The app's name.
    pub app: Option<String>,
}

impl Drop for LoginBody {
    fn drop(&mut self) {
        self.code.zeroize();
        self.nonce.zeroize();
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
    /// Whether all of the user's sessions in this app end; missing and `null` mean no.
    pub everywhere: Option<bool>,
}

impl LoginBody {
    /// Reads the body of a login.
    pub fn parse(body: &[u8]) -> Result<Self, Denial> {
        object(body)
    }

    /// Returns the code; what stands for none is empty.
    pub(super) fn code(&self) -> &str {
        sent(self.code.as_deref()).unwrap_or("")
    }

    /// Returns the nonce, where the client sent one.
    pub(super) fn nonce(&self) -> Option<&str> {
        sent(self.nonce.as_deref())
    }

    /// Returns the app's name, where the client gave one.
    pub(super) fn app(&self) -> Option<&str> {
        sent(self.app.as_deref())
    }
}

impl RefreshBody {
    /// Reads the body of a refresh.
    pub fn parse(body: &[u8]) -> Result<Self, Denial> {
        object(body)
    }

    /// Returns the refresh token, where the client sent one.
    pub(super) fn refresh_token(self) -> Option<String> {
        let token = self.refresh_token;
        token.filter(|token| !is_placeholder(token.as_bytes()))
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

fn sent(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !is_placeholder(text.as_bytes()))
}

pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denial> {
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
        let everywhere = |body: &[u8]| LogoutBody::parse(body).unwrap().everywhere;
        assert_eq!(everywhere(b"{\"everywhere\":true}"), Some(true));
        assert_eq!(everywhere(b""), None);
    }

    #[test]
    fn null_is_a_member_that_is_missing() {
        let body = LoginBody::parse(br#"{"code":null,"app":null}"#).unwrap();
        assert_eq!((body.code(), body.app()), ("", None));
        let body = RefreshBody::parse(br#"{"refresh_token":null}"#).unwrap();
        assert_eq!(body.refresh_token(), None);
        let body = LogoutBody::parse(br#"{"everywhere":null}"#).unwrap();
        assert_eq!(body.everywhere, None);
    }

    #[test]
    fn what_stands_for_a_value_is_a_member_that_is_missing() {
        for nothing in ["", " ", "undefined", "null"] {
            let body = format!(r#"{{"code":"{nothing}","app":"{nothing}"}}"#);
            let body = LoginBody::parse(body.as_bytes()).unwrap();
            assert_eq!((body.code(), body.app()), ("", None), "{nothing:?}");
            let body = format!(r#"{{"refresh_token":"{nothing}"}}"#);
            let body = RefreshBody::parse(body.as_bytes()).unwrap();
            assert_eq!(body.refresh_token(), None, "{nothing:?}");
        }
        let body = RefreshBody::parse(br#"{"refresh_token":"a"}"#).unwrap();
        assert_eq!(body.refresh_token().as_deref(), Some("a"));
    }
}
