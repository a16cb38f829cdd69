//! Finds the one credential of a request.

use http::HeaderValue;

use super::{DecidingHeaders, Denial, Field, is_placeholder};

/// What a client identifies itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A token of ours, not yet verified.
    Token(&'a [u8]),
    /// The cookie of a session, not yet verified.
    Cookie(&'a [u8]),
    /// A login on the first request.
    Code {
        /// The code from `wx.login`, not yet checked.
        code: &'a str,
        /// The nonce that proves who sent it, not yet checked.
        nonce: Option<&'a str>,
        /// The app's name, where the client gave one.
        app: Option<&'a str>,
    },
    /// Nothing.
    None,
}

/// Returns the credential of a request; two are an error, not a choice.
///
/// Over `https` the cookie is the one that no other host can have set.
pub fn credential<'a>(
    headers: &DecidingHeaders<'a>,
    https: bool,
) -> Result<Credential<'a>, Denial> {
    let token = bearer(headers)?;
    let code = text(headers.code)?;
    let cookie = match https {
        true => headers.session_cookie,
        false => headers.plain_cookie,
    };
    match (token, code, cookie) {
        (Some(token), None, Field::Absent) => Ok(Credential::Token(token)),
        (None, None, Field::Once(cookie)) => Ok(Credential::Cookie(cookie)),
        (None, Some(code), Field::Absent) => Ok(Credential::Code {
            code,
            nonce: text(headers.nonce)?,
            app: text(headers.app)?,
        }),
        (None, None, Field::Absent) => Ok(Credential::None),
        _ => Err(Denial::TokenAmbiguous),
    }
}

/// Returns the token of `Authorization: Bearer` or of the sub-protocols; two are an error.
pub fn bearer<'a>(headers: &DecidingHeaders<'a>) -> Result<Option<&'a [u8]>, Denial> {
    match (authorization(headers)?, headers.subprotocol_token) {
        (Some(_), Field::Once(_)) | (_, Field::Repeated) => Err(Denial::TokenAmbiguous),
        (None, Field::Once(token)) => Ok(Some(token)),
        (token, Field::Absent) => Ok(token),
    }
}

/// Returns whether `Authorization` is the scheme `Bearer` and no token, which is as good as no header.
pub(super) fn is_empty_bearer(headers: &DecidingHeaders<'_>) -> bool {
    let Field::Once(value) = headers.authorization else {
        return false;
    };
    let (scheme, token) = split(value);
    is_bearer(scheme) && is_placeholder(token)
}

/// Returns the token of `Authorization: Bearer`; other schemes are the backend's business.
fn authorization<'a>(headers: &DecidingHeaders<'a>) -> Result<Option<&'a [u8]>, Denial> {
    let (scheme, token) = match headers.authorization {
        Field::Absent => return Ok(None),
        Field::Once(value) => split(value),
        Field::Repeated => return Err(Denial::TokenAmbiguous),
    };
    if is_bearer(scheme) {
        return Ok(Some(token).filter(|token| !is_placeholder(token)));
    }
    if token.is_empty() && is_jwt(scheme) {
        return Err(Denial::TokenSchemeMissing);
    }
    Ok(None)
}

fn split(value: &HeaderValue) -> (&[u8], &[u8]) {
    let value = value.as_bytes();
    let (scheme, token) = match value.iter().position(|b| matches!(b, b' ' | b'\t')) {
        Some(at) => value.split_at(at),
        None => (value, &[][..]),
    };
    (scheme, token.trim_ascii())
}

fn is_bearer(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"bearer")
}

/// Returns whether a text is three parts in base64url, of which the first begins as the JSON of a JWT's header does.
fn is_jwt(text: &[u8]) -> bool {
    let in_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_part =
        |part: Option<&[u8]>| part.is_some_and(|part| !part.is_empty() && part.iter().all(in_part));
    let mut parts = text.split(|&b| b == b'.');
    text.starts_with(b"eyJ")
        && is_part(parts.next())
        && is_part(parts.next())
        && is_part(parts.next())
        && parts.next().is_none()
}

fn text(field: Field<&HeaderValue>) -> Result<Option<&str>, Denial> {
    match field {
        Field::Absent => Ok(None),
        Field::Once(value) => value
            .to_str()
            .map(Some)
            .map_err(|_| Denial::BadRequest("A login header holds something else than text.")),
        Field::Repeated => Err(Denial::TokenAmbiguous),
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn found(pairs: &[(&'static str, &str)]) -> Result<String, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        credential(&DecidingHeaders::of(&map), false)
            .map(|found| match found {
                Credential::Token(token) => format!("Token {:?}", str::from_utf8(token)),
                Credential::Cookie(cookie) => format!("Cookie {:?}", str::from_utf8(cookie)),
                Credential::Code { .. } | Credential::None => format!("{found:?}"),
            })
            .map_err(|d| d.code())
    }

    #[test]
    fn one_credential_is_found() {
        assert_eq!(found(&[]).unwrap(), "None");
        assert_eq!(found(&[("authorization", "Basic eA==")]).unwrap(), "None");
        for value in ["Bearer abc", "bearer  abc ", "BEARER\tabc"] {
            assert_eq!(
                found(&[("authorization", value)]).unwrap(),
                "Token Ok(\"abc\")",
                "{value:?}"
            );
        }
        assert_eq!(
            found(&[("x-wx-code", "0abc"), ("x-menshen-app", "shop")]).unwrap(),
            "Code { code: \"0abc\", nonce: None, app: Some(\"shop\") }"
        );
    }

    #[test]
    fn what_stands_for_no_credential_is_none() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "bearer undefined",
            "Bearer null",
            "Bearer \"\"",
        ] {
            let authorization = ("authorization", value);
            assert_eq!(found(&[authorization]).unwrap(), "None", "{value:?}");
            for code in ["", " ", "undefined", "null"] {
                let code = ("x-wx-code", code);
                assert_eq!(found(&[authorization, code]).unwrap(), "None", "{code:?}");
                let token = ("authorization", "Bearer a");
                assert_eq!(found(&[token, code]).unwrap(), "Token Ok(\"a\")");
                let found = found(&[code, ("x-wx-code", "0abc"), authorization]);
                assert_eq!(
                    found.unwrap(),
                    "Code { code: \"0abc\", nonce: None, app: None }"
                );
            }
        }
        let app = [("x-wx-code", "0abc"), ("x-menshen-app", "undefined")];
        assert_eq!(
            found(&app).unwrap(),
            "Code { code: \"0abc\", nonce: None, app: None }"
        );
        let offered = "menshen.bearer.undefined, menshen.bearer.";
        let socket = [
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", offered),
        ];
        assert_eq!(found(&socket).unwrap(), "None");
    }

    #[test]
    fn a_jwt_without_its_scheme_is_not_passed_over() {
        let (jwt, code) = ("eyJh.eyJp.c-_1", ("x-wx-code", "0abc"));
        assert_eq!(found(&[("authorization", jwt)]), Err("token_missing"));
        assert_eq!(found(&[("authorization", jwt), code]), Err("token_missing"));
        for other in [
            "eyJh",
            "eyJh.eyJp",
            "eyJh..c",
            "eyJh.b.c.d",
            "xyJh.b.c",
            "eyJh.b.c d",
            "eyJh.b.c=",
        ] {
            assert_eq!(
                found(&[("authorization", other)]).unwrap(),
                "None",
                "{other}"
            );
        }
    }

    #[test]
    fn the_cookie_of_the_scheme_is_a_credential() {
        let cookies = "a=1; menshen=p~q; __Host-menshen=s~t";
        let mut map = HeaderMap::new();
        map.insert("cookie", HeaderValue::from_static(cookies));
        let found = |https| credential(&DecidingHeaders::of(&map), https);
        assert_eq!(found(true), Ok(Credential::Cookie(b"s~t")));
        assert_eq!(found(false), Ok(Credential::Cookie(b"p~q")));
    }

    #[test]
    fn two_credentials_are_refused() {
        for pairs in [
            [("authorization", "Bearer a"), ("cookie", "menshen=b~c")],
            [("x-wx-code", "0abc"), ("cookie", "menshen=b~c")],
            [("cookie", "menshen=b~c; menshen=b~c"), ("x-a", "1")],
            [("cookie", "menshen=b~c"), ("cookie", "menshen=d~e")],
            [("authorization", "Bearer a"), ("authorization", "Basic b")],
            [("authorization", "Bearer a"), ("x-wx-code", "0abc")],
            [("x-wx-code", "0abc"), ("x-wx-code", "0abc")],
        ] {
            assert_eq!(found(&pairs), Err("token_ambiguous"), "{pairs:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_authorization_never_panics(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut map = HeaderMap::new();
                map.insert(AUTHORIZATION, value);
                let _ = credential(&DecidingHeaders::of(&map), false);
            }
        }
    }
}
