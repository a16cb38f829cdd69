//! Finds the one credential of a request.

use http::HeaderValue;

use super::{Denial, Field, Survey};

/// What a client identifies itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A token of ours, not yet verified.
    Token(&'a [u8]),
    /// A login on the first request.
    Code {
        /// The code from `wx.login`, not yet checked.
        code: &'a str,
        /// The app's name, where the client gave one.
        app: Option<&'a str>,
    },
    /// Nothing.
    None,
}

/// Returns the credential of a request; two are an error, not a choice.
pub fn credential<'a>(survey: &Survey<'a>) -> Result<Credential<'a>, Denial> {
    let token = bearer(survey)?;
    let code = text(survey.code)?;
    match (token, code) {
        (Some(_), Some(_)) => Err(Denial::TokenAmbiguous),
        (Some(token), None) => Ok(Credential::Token(token)),
        (None, Some(code)) => Ok(Credential::Code {
            code,
            app: text(survey.app)?,
        }),
        (None, None) => Ok(Credential::None),
    }
}

/// Returns the token of `Authorization: Bearer` or of the sub-protocols; two are an error.
pub fn bearer<'a>(survey: &Survey<'a>) -> Result<Option<&'a [u8]>, Denial> {
    match (authorization(survey)?, survey.subprotocol_token) {
        (Some(_), Field::Once(_)) | (_, Field::Repeated) => Err(Denial::TokenAmbiguous),
        (None, Field::Once(token)) => Ok(Some(token)),
        (token, Field::Absent) => Ok(token),
    }
}

/// Returns the token of `Authorization: Bearer`; other schemes are the backend's business.
fn authorization<'a>(survey: &Survey<'a>) -> Result<Option<&'a [u8]>, Denial> {
    let value = match survey.authorization {
        Field::Absent => return Ok(None),
        Field::Once(value) => value.as_bytes(),
        Field::Repeated => return Err(Denial::TokenAmbiguous),
    };
    let (scheme, token) = match value.iter().position(|b| matches!(b, b' ' | b'\t')) {
        Some(at) => value.split_at(at),
        None => (value, &[][..]),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    Ok(Some(token.trim_ascii()))
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
        credential(&Survey::of(&map))
            .map(|found| match found {
                Credential::Token(token) => format!("Token {:?}", str::from_utf8(token)),
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
            found(&[("authorization", "Bearer")]).unwrap(),
            "Token Ok(\"\")"
        );
        assert_eq!(
            found(&[("x-wx-code", "0abc"), ("x-menshen-app", "shop")]).unwrap(),
            "Code { code: \"0abc\", app: Some(\"shop\") }"
        );
    }

    #[test]
    fn two_credentials_are_refused() {
        for pairs in [
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
                let _ = credential(&Survey::of(&map));
            }
        }
    }
}
