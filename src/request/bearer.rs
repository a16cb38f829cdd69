//! Finds the one credential of a request.

use http::HeaderValue;
use memchr::memmem::{find, find_iter};

use super::placeholder::{after_scheme, is_placeholder_of_token};
use super::{DecidingHeaders, Denial, Field, stands_for_no_token};

/// How every JWT begins: its header is JSON, in base64url.
const JWT_BEGINS: &[u8] = b"eyJ";

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
    matches!(headers.authorization, Field::Once(value) if stands_for_no_token(value))
}

/// Returns the token of `Authorization: Bearer`; other schemes are the backend's business.
fn authorization<'a>(headers: &DecidingHeaders<'a>) -> Result<Option<&'a [u8]>, Denial> {
    let (scheme, token) = match headers.authorization {
        Field::Absent => return Ok(None),
        Field::Once(value) => split(value),
        Field::Repeated => return Err(Denial::TokenAmbiguous),
    };
    if is_bearer(scheme) {
        if is_placeholder_of_token(token) {
            return Ok(None);
        }
        if after_scheme(token).is_some() {
            return Err(Denial::TokenSchemeRepeated);
        }
        return Ok(Some(token));
    }
    if token.is_empty() && ends_with_jwt(scheme) {
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

/// Returns whether a text ends with a JWT: three parts in base64url, of which the first begins as the JSON of a header does.
fn ends_with_jwt(text: &[u8]) -> bool {
    let text = find(text, JWT_BEGINS).and_then(|at| text.get(at..));
    let is_part =
        |part: Option<&[u8]>| part.is_some_and(|part| !part.is_empty() && part.iter().all(in_part));
    text.is_some_and(|text| {
        let mut parts = text.split(|&b| b == b'.');
        is_part(parts.next())
            && is_part(parts.next())
            && is_part(parts.next())
            && parts.next().is_none()
    })
}

/// Returns, for each place of a text at which a JWT may begin, the three parts that are there; `None` where there are fewer.
///
/// What stands around it may be letters of base64url too, as in `Bearer%20TOKEN`.
pub(super) fn jwts(text: &[u8]) -> impl Iterator<Item = Option<&str>> {
    find_iter(text, JWT_BEGINS).map(move |at| {
        let rest = text.get(at..)?;
        let mut dots = 0;
        let ends = |b: &u8| {
            dots += u32::from(*b == b'.');
            dots == 3 || !(in_part(b) || *b == b'.')
        };
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        let parts = rest.get(..end).filter(|_| dots >= 2)?;
        std::str::from_utf8(parts).ok()
    })
}

fn in_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
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
            "Bearer NULL",
            "Bearer NaN",
            "Bearer false",
            "Bearer [object Object]",
            "Bearer \"undefined\"",
            "Bearer \"null\"",
            "Bearer Bearer undefined",
            "Bearer bearer",
            "Bearer \u{a0}",
            "undefined",
            "null",
            "\"Bearer undefined\"",
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
    fn what_stands_for_no_credential_is_no_second_one() {
        let (empty, token) = (
            ("authorization", "Bearer undefined"),
            ("authorization", "Bearer a"),
        );
        let basic = ("authorization", "Basic b");
        for lines in [[empty, token], [token, empty]] {
            assert_eq!(found(&lines).unwrap(), "Token Ok(\"a\")", "{lines:?}");
        }
        for lines in [[empty, empty], [empty, basic], [basic, empty]] {
            assert_eq!(found(&lines).unwrap(), "None", "{lines:?}");
        }
        for lines in [
            [token, empty, basic],
            [empty, basic, token],
            [token, token, empty],
        ] {
            assert_eq!(found(&lines), Err("token_ambiguous"), "{lines:?}");
        }
        for offered in ["menshen.bearer.\"\"", "\"menshen.bearer.\"\"\""] {
            let socket = [
                ("upgrade", "websocket"),
                ("sec-websocket-protocol", offered),
            ];
            assert_eq!(found(&socket).unwrap(), "None", "{offered}");
        }
    }

    #[test]
    fn a_jwt_without_its_scheme_is_not_passed_over() {
        let (jwt, code) = ("eyJh.eyJp.c-_1", ("x-wx-code", "0abc"));
        assert_eq!(found(&[("authorization", jwt)]), Err("token_missing"));
        assert_eq!(found(&[("authorization", jwt), code]), Err("token_missing"));
        for before in [
            "Bearer",
            "Bearer%20",
            "Bearer_",
            "Token",
            "Bearer.",
            "eyJ",
            "é",
        ] {
            let value = format!("{before}{jwt}");
            let found = found(&[("authorization", &value)]);
            assert_eq!(found, Err("token_missing"), "{value}");
        }
        for other in [
            "eyJh",
            "eyJh.eyJp",
            "eyJh..c",
            "eyJh.b.c.d",
            "xyJh.b.c",
            "BearerxyJh.b.c",
            "BearereyJh.b",
            "BearereyJh.b.c.d",
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
    fn a_token_behind_two_schemes_is_refused() {
        for value in ["Bearer Bearer eyJh.b.c", "bearer  BEARER\teyJh.b.c"] {
            assert_eq!(found(&[("authorization", value)]), Err("token_invalid"));
        }
        let map = HeaderMap::from_iter([(
            AUTHORIZATION,
            HeaderValue::from_static("Bearer Bearer eyJh.b.c"),
        )]);
        let refused = credential(&DecidingHeaders::of(&map), false).unwrap_err();
        assert_eq!(refused, Denial::TokenSchemeRepeated);
    }

    #[test]
    fn what_stands_for_no_credential_goes_no_further() {
        for value in [
            "undefined",
            "null",
            "\"Bearer undefined\"",
            "Bearer Bearer undefined",
            "Bearer NaN",
        ] {
            let map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert!(is_empty_bearer(&DecidingHeaders::of(&map)), "{value}");
        }
        for value in ["Basic eA==", "Bearer a", "Bearer Bearer a", "\"Bearer a\""] {
            let map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert!(!is_empty_bearer(&DecidingHeaders::of(&map)), "{value}");
        }
    }

    #[test]
    fn a_jwt_is_found_whatever_stands_around_it() {
        let found = |text: &'static str| jwts(text.as_bytes()).collect::<Vec<_>>();
        let jwt = Some("eyJh.b.c-_1");
        for text in [
            "eyJh.b.c-_1",
            "xeyJh.b.c-_1.d",
            "x.eyJh.b.c-_1%20",
            "\"eyJh.b.c-_1\"",
        ] {
            assert_eq!(found(text), [jwt], "{text}");
        }
        assert_eq!(found("eyJh.eyJb.c"), [Some("eyJh.eyJb.c"), None]);
        assert_eq!(found("eyJh.b eyJh.b.c-_1"), [None, jwt]);
        assert!(found("Basic eA==").is_empty());
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
