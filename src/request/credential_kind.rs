//! By which kind of credential somebody said who they are, for those who ask afterwards why a request was refused.

use http::HeaderMap;

use super::{DecidingHeaders, Denial, Field, Signed, bearer};

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// None, or none of ours.
    None,
    /// A token in `Authorization`.
    Bearer,
    /// A token among the sub-protocols of a WebSocket handshake.
    Subprotocol,
    /// The cookie of a session.
    Cookie,
    /// The signature of a URL.
    SignedUrl,
    /// A code in `X-WX-Code`.
    Code,
    /// A code in the body of a login, or in the URL by which WeChat sends a browser back.
    LoginCode,
    /// A refresh token in the body of a refresh.
    RefreshToken,
    /// A ticket in the path.
    Ticket,
    /// More than one, or one twice.
    Several,
}

impl CredentialKind {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer => "bearer",
            Self::Subprotocol => "subprotocol",
            Self::Cookie => "cookie",
            Self::SignedUrl => "signed_url",
            Self::Code => "code",
            Self::LoginCode => "login_code",
            Self::RefreshToken => "refresh_token",
            Self::Ticket => "ticket",
            Self::Several => "several",
        }
    }

    /// Tells where the one token of a request is.
    pub(super) fn of_token(headers: &DecidingHeaders<'_>) -> Self {
        match headers.subprotocol_token {
            Field::Absent => Self::Bearer,
            Field::Once(_) | Field::Repeated => Self::Subprotocol,
        }
    }

    /// Finds out what a request came with that was refused before anybody looked, or that is for us.
    ///
    /// Only these pay for another look at their headers.
    pub fn of(headers: &HeaderMap, query: Option<&str>, https: bool) -> Self {
        let headers = DecidingHeaders::of(headers);
        let cookie = if https {
            headers.session_cookie
        } else {
            headers.plain_cookie
        };
        let token = match bearer(&headers) {
            Ok(token) => token.map(|_| Self::of_token(&headers)),
            Err(Denial::TokenSchemeMissing | Denial::TokenSchemeRepeated) => Some(Self::Bearer),
            Err(_) => return Self::Several,
        };
        let is_signed = !matches!(Signed::find(query), Ok(None));
        let found = [
            token,
            Self::if_there(cookie, Self::Cookie),
            Self::if_there(headers.code, Self::Code),
            is_signed.then_some(Self::SignedUrl),
        ];
        let mut kinds = found.into_iter().flatten();
        match (kinds.next(), kinds.next()) {
            (None, _) => Self::None,
            (Some(kind), None) => kind,
            (Some(_), Some(_)) => Self::Several,
        }
    }

    fn if_there<T>(field: Field<T>, kind: Self) -> Option<Self> {
        match field {
            Field::Absent => None,
            Field::Once(_) => Some(kind),
            Field::Repeated => Some(Self::Several),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn each_kind_is_told_from_the_others() {
        let socket = ("upgrade", "websocket");
        let offered = ("sec-websocket-protocol", "chat, menshen.bearer.a");
        for (lines, query, expected) in [
            (vec![], None, "none"),
            (vec![("authorization", "Bearer a")], None, "bearer"),
            (vec![("authorization", "Basic a")], None, "none"),
            (vec![("authorization", "Bearer undefined")], None, "none"),
            (vec![("authorization", "eyJh.eyJp.c")], None, "bearer"),
            (vec![socket, offered], None, "subprotocol"),
            (vec![("cookie", "menshen=a~b")], None, "cookie"),
            (vec![("x-wx-code", "0abc")], None, "code"),
            (vec![], Some("a=1&menshen_signature=b"), "signed_url"),
            (
                vec![("authorization", "Bearer a"), ("cookie", "menshen=a~b")],
                None,
                "several",
            ),
            (
                vec![("x-wx-code", "0abc"), ("x-wx-code", "0abd")],
                None,
                "several",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &lines {
                let name = HeaderName::from_static(name);
                headers.append(name, HeaderValue::from_static(value));
            }
            let kind = CredentialKind::of(&headers, query, false);
            assert_eq!(kind.as_str(), expected, "{lines:?} {query:?}");
        }
    }
}
