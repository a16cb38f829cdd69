//! Reads WeChat's answers, which say 200 for errors and `text/plain` for JSON.

use std::net::IpAddr;

use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

use crate::secret::Secret;

/// Why an answer is of no use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnswerError {
    /// WeChat refused.
    #[error("WeChat answered errcode {errcode}")]
    Errcode {
        /// The number.
        errcode: i64,
        /// The id under which WeChat finds the call in its own logs.
        rid: Option<String>,
        /// What WeChat wrote beside the number, fit for the log.
        errmsg: Option<String>,
        /// The address that the call came from, where WeChat refuses it for that.
        address: Option<IpAddr>,
    },
    /// It is no JSON object, as all of WeChat's are: somebody else's, or cut off.
    #[error("the answer is not WeChat's: no JSON object")]
    NotAnObject,
    /// It is not what WeChat sends; the text says in which way, and holds nothing of the answer.
    #[error("WeChat's answer is not a valid one: {0}")]
    Invalid(&'static str),
}

/// The fields of an answer that is not an error; their texts are wiped when dropped.
pub struct Fields(Map<String, Value>);

impl Drop for Fields {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

impl Fields {
    /// Reads an answer's body; its status and content type say nothing reliable.
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(AnswerError::NotAnObject);
        };
        let errcode = match fields.get("errcode") {
            None | Some(Value::Null) => 0,
            // Some of WeChat's own pages show the number as a string.
            Some(Value::String(text)) => text
                .parse()
                .map_err(|_| AnswerError::Invalid("errcode is not a number"))?,
            Some(number) => number
                .as_i64()
                .ok_or(AnswerError::Invalid("errcode is not a number"))?,
        };
        if errcode == 0 {
            return Ok(Self(fields));
        }
        let errmsg = fields.get("errmsg").and_then(Value::as_str);
        Err(AnswerError::Errcode {
            errcode,
            rid: errmsg.and_then(rid).map(str::to_owned),
            errmsg: errmsg.map(words).filter(|words| !words.is_empty()),
            address: errmsg.and_then(address),
        })
    }

    /// Returns whether it holds a field by which each of WeChat's answers is known, right or not.
    pub fn are_wechats(&self) -> bool {
        [
            "errcode",
            "openid",
            "unionid",
            "session_key",
            "access_token",
        ]
        .into_iter()
        .any(|name| self.0.contains_key(name))
    }

    /// Returns a text that must be there, not empty, and fit for a header.
    pub fn text(&self, name: &str) -> Result<String, AnswerError> {
        self.optional_text(name)?.ok_or(AnswerError::Invalid(
            "a mandatory field is missing or empty",
        ))
    }

    /// Returns a text, where a missing one and an empty one are the same.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, AnswerError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if is_id(text) => Ok(Some(text.clone())),
            Some(_) => Err(AnswerError::Invalid("a field holds something unexpected")),
        }
    }

    /// Makes sure that the answer says it is no error, where WeChat always does.
    pub fn says_ok(&self) -> Result<(), AnswerError> {
        match self.0.get("errcode") {
            None | Some(Value::Null) => {
                Err(AnswerError::Invalid("it does not say how the call went"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Returns a number that must be there and above 0.
    pub fn number(&self, name: &str) -> Result<u64, AnswerError> {
        let number = self.0.get(name).and_then(Value::as_u64);
        number
            .filter(|number| *number > 0)
            .ok_or(AnswerError::Invalid(
                "a mandatory number is missing or none",
            ))
    }

    /// Returns an object that may be there.
    pub fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)?.as_object()
    }

    /// Returns an access_token, of which WeChat says that it may have more than 512 characters.
    pub fn access_token(&self) -> Result<Secret, AnswerError> {
        let token = self.0.get("access_token").and_then(Value::as_str);
        let is_token = |text: &&str| {
            (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        token
            .filter(is_token)
            .map(Secret::new)
            .ok_or(AnswerError::Invalid("the access_token is missing, or none"))
    }

    /// Returns a text with whatever is in it; empty where there is none.
    pub fn free_text(&self, name: &str) -> String {
        let text = self.0.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    }

    /// Returns a secret that must be there and not empty.
    pub fn secret(&self, name: &str) -> Result<Secret, AnswerError> {
        self.text(name).map(Secret::new)
    }
}

/// The longest access_token, in bytes.
const LONGEST_TOKEN: usize = 4096;

/// Makes JSON of what WeChat sends in place of it: texts with control characters as they are, or with broken UTF-8.
pub(super) fn mended(body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(body.len() * 2));
    let (mut in_text, mut escaped) = (false, false);
    for &byte in body {
        match byte {
            0..0x20 if in_text => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                escaped = false;
                continue;
            }
            b'"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = byte == b'\\' && in_text && !escaped;
        out.push(byte);
    }
    match std::str::from_utf8(&out) {
        Ok(_) => out,
        Err(_) => Zeroizing::new(String::from_utf8_lossy(&out).into_owned().into_bytes()),
    }
}

/// WeChat promises no alphabet; what could not be a header value is not an id.
fn is_id(text: &str) -> bool {
    text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Finds the trace id, whose spelling has changed over the years; what has not its shape is not one.
fn rid(errmsg: &str) -> Option<&str> {
    let behind = |label: &str| {
        let (_, after) = errmsg.split_once(label)?;
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        after.get(..end.unwrap_or(after.len()))
    };
    let is_rid = |id: &&str| {
        let is_part = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_hexdigit());
        id.split('-').count() == 3 && id.split('-').all(is_part)
    };
    let is_old = |id: &&str| (8..=24).contains(&id.len());
    let old = || behind("req_id: ").or_else(|| behind("hint: ["));
    behind("rid: ")
        .filter(is_rid)
        .or_else(|| old().filter(is_old))
}

/// Returns what an errmsg says before its trace id, on one line, without anything long enough to be a secret: who answers
/// at `api_base` need not be WeChat.
fn words(errmsg: &str) -> String {
    const LONGEST: usize = 200;
    const LONGEST_WORD: usize = 15;
    let said = rid(errmsg).and_then(|id| errmsg.split_once(id));
    let said = said.map_or(errmsg, |(before, _)| {
        let before = before.trim_end();
        let labels = ["rid:", "hints: [ req_id:", "hint: ["];
        let found = labels
            .into_iter()
            .find_map(|label| before.strip_suffix(label));
        found.unwrap_or(before).trim_end_matches([' ', ','])
    });
    let in_word = |c: char| c.is_ascii_alphanumeric() || "_-+/=%".contains(c);
    let (mut text, mut length) = (String::new(), 0);
    for c in said.chars().take(LONGEST) {
        length = if in_word(c) { length + 1 } else { 0 };
        if length <= LONGEST_WORD {
            text.push(if c.is_control() { ' ' } else { c });
        } else if length == LONGEST_WORD + 1 {
            text.truncate(text.trim_end_matches(in_word).len());
            text.push('…');
        }
    }
    text.trim().to_owned()
}

/// Finds the address in a text such as `invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist`.
fn address(errmsg: &str) -> Option<IpAddr> {
    let after = errmsg.split_once("invalid ip ");
    let named = after.and_then(|(_, after)| after.split([' ', ',']).next()?.parse().ok());
    // What is said of an address that an administrator must confirm has no known shape.
    let elsewhere = || {
        let words = errmsg.split([' ', ',', ';', '[', ']', '(', ')', '=']);
        words
            .filter_map(|word| word.trim_matches(':').parse().ok())
            .next()
    };
    named.or_else(|| after.is_none().then(elsewhere)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn errcode(body: &str) -> Option<i64> {
        match Fields::parse(body.as_bytes()) {
            Err(AnswerError::Errcode { errcode, .. }) => Some(errcode),
            Ok(_) | Err(AnswerError::Invalid(_) | AnswerError::NotAnObject) => None,
        }
    }

    #[test]
    fn an_errcode_is_an_error_as_a_number_and_as_a_string() {
        assert_eq!(
            errcode(r#"{"errcode":40029,"errmsg":"invalid code"}"#),
            Some(40029)
        );
        assert_eq!(errcode(r#"{"errcode":"40029"}"#), Some(40029));
        assert_eq!(
            errcode(r#"{"errcode":-1,"openid":"o1","session_key":"k"}"#),
            Some(-1)
        );
    }

    #[test]
    fn success_is_errcode_absent_or_zero() {
        for body in [
            r#"{"openid":"o1"}"#,
            r#"{"errcode":0,"openid":"o1"}"#,
            r#"{"errcode":"0","openid":"o1"}"#,
            r#"{"errcode":null,"errmsg":null,"openid":"o1"}"#,
        ] {
            let fields = Fields::parse(body.as_bytes()).unwrap();
            assert_eq!(fields.text("openid").unwrap(), "o1");
        }
    }

    #[test]
    fn an_answer_that_always_has_an_errcode_does_not_say_ok_without_one() {
        let says_ok = |body: &[u8]| Fields::parse(body).unwrap().says_ok();
        assert!(says_ok(br#"{"errcode":0}"#).is_ok());
        assert!(says_ok(br#"{"errcode":null}"#).is_err());
        assert!(says_ok(br"{}").is_err());
    }

    #[test]
    fn an_access_token_may_have_four_thousand_characters() {
        let long = "9".repeat(4096);
        for (token, taken) in [(long.as_str(), true), ("", false), ("a b", false)] {
            let body = serde_json::json!({ "access_token": token }).to_string();
            let fields = Fields::parse(body.as_bytes()).unwrap();
            assert_eq!(fields.access_token().is_ok(), taken);
        }
    }

    #[test]
    fn escaped_slashes_are_slashes() {
        let fields = Fields::parse(br#"{"session_key":"\/IkZjlZpIUAFICUVPmWbmw=="}"#).unwrap();
        assert_eq!(
            fields.secret("session_key").unwrap().expose(),
            "/IkZjlZpIUAFICUVPmWbmw=="
        );
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        for body in [
            "",
            "<html>",
            "[]",
            "null",
            "{\"openid\":\"o1\"",
            "\u{feff}{}",
            "{\"nick\":\"a\u{1}b\"}",
        ] {
            let parsed = Fields::parse(body.as_bytes());
            assert!(matches!(parsed, Err(AnswerError::NotAnObject)), "{body:?}");
        }
        for body in [r#"{"errcode":true}"#, r#"{"errcode":"x"}"#] {
            let parsed = Fields::parse(body.as_bytes());
            assert!(matches!(parsed, Err(AnswerError::Invalid(_))), "{body}");
        }
        for body in [
            r"{}",
            r#"{"openid":""}"#,
            r#"{"openid":1}"#,
            r#"{"openid":"a b"}"#,
            r#"{"openid":"a\nb"}"#,
        ] {
            let fields = Fields::parse(body.as_bytes()).unwrap();
            assert!(fields.text("openid").is_err(), "{body}");
        }
    }

    #[test]
    fn the_trace_id_is_found_in_each_of_its_spellings() {
        for (errmsg, id) in [
            (
                "invalid code, rid: 66c69111-4157f271-729ca238",
                "66c69111-4157f271-729ca238",
            ),
            (
                "invalid code, hints: [ req_id: gjUEFA0981th20 ]",
                "gjUEFA0981th20",
            ),
            ("invalid code hint: [RIJFrrMre-UcIqxa]", "RIJFrrMre-UcIqxa"),
            (
                "appid missing rid: 65713974-7970e3f9-1a07ebbf",
                "65713974-7970e3f9-1a07ebbf",
            ),
        ] {
            assert_eq!(rid(errmsg), Some(id));
        }
        assert_eq!(rid("system error"), None);
    }

    #[test]
    fn what_has_not_the_shape_of_a_trace_id_is_none() {
        for errmsg in [
            "rid: 0123456789abcdef0123456789abcdef",
            "rid: 66c69111-4157f271",
            "rid: 66c69111-4157f271-729ca238-00000000",
            "rid: 66c69111-4157f271-729ca23g",
            "rid: ",
            "req_id: 0123456789abcdef0123456789abcdef",
            "hint: [ab]",
        ] {
            assert_eq!(rid(errmsg), None, "{errmsg}");
        }
    }

    #[test]
    fn of_an_errmsg_the_words_are_kept_and_nothing_that_could_be_a_secret() {
        for (errmsg, kept) in [
            ("system error", "system error"),
            (
                "invalid code, rid: 66c69111-4157f271-729ca238",
                "invalid code",
            ),
            (
                "invalid code, hints: [ req_id: gjUEFA0981th20 ]",
                "invalid code",
            ),
            ("invalid code hint: [RIJFrrMre-UcIqxa]", "invalid code"),
            (
                "invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist rid: 65713974-7970e3f9-1a07ebbf",
                "invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist",
            ),
            ("secret=0123456789abcdef&code=0a1b2c", "…&code=0a1b2c"),
            ("a\r\nb\0", "a  b"),
            (" \n", ""),
        ] {
            assert_eq!(words(errmsg), kept, "{errmsg:?}");
        }
        assert!(words(&"a ".repeat(1000)).len() <= 200);
    }

    #[test]
    fn the_address_that_wechat_refuses_is_found() {
        let told = |errmsg: &str| {
            let body = format!(r#"{{"errcode":40164,"errmsg":"{errmsg}"}}"#);
            match Fields::parse(body.as_bytes()) {
                Err(AnswerError::Errcode { address, .. }) => address,
                Ok(_) | Err(AnswerError::Invalid(_) | AnswerError::NotAnObject) => None,
            }
        };
        let known = "invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist rid: 1";
        assert_eq!(told(known), "192.0.2.1".parse().ok());
        assert_eq!(
            told("invalid ip 2001:db8::1, not in"),
            "2001:db8::1".parse().ok()
        );
        assert_eq!(told("invalid ip evil, not in whitelist"), None);
        assert_eq!(told("system error"), None);
        let unconfirmed = "this ip is not confirmed, ip: [192.0.2.7] hints";
        assert_eq!(told(unconfirmed), "192.0.2.7".parse().ok());
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Fields::parse(&body);
        }
    }
}
