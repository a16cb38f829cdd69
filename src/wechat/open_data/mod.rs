//! What WeChat's client encrypts and signs with a user's session_key, and what is signed with it for WeChat.
//!
//! AES takes the bytes of a session_key, while signatures take the base64 text in which WeChat gives it.
//!
//! AES-CBC without a MAC is a padding oracle for whoever can tell one failure from another, and whoever sends the `iv`
//! can change the first 16 bytes unseen. So every failure is the same error after the same work: each key is tried to the
//! end, data with wrong padding is parsed all the same, and a stand-in replaces invalid base64. Repeated fields are
//! refused, and so are names of a phone number or the watermark that differ in case alone. Openid and watermark are compared where they
//! exist, the openid in any case of its name; data without an openid (phone numbers, groups, chat tools) opens only with its own user's key. The price
//! is that an operator cannot see why data did not open. `control/failures` limits the failures of each user.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::session::SessionKeys;

/// Also the length of the initialization vector, and of the key.
const BLOCK: usize = 16;

/// The data does not open for this user; why is told to nobody, since whoever knew could work out the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data does not open with the user's session_key")]
pub struct NotOpened;

/// Whose data it must be.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// WeChat's id of the app.
    pub appid: &'a str,
    /// WeChat's id of the user in this app.
    pub openid: &'a str,
}

/// Decrypts `encryptedData`, and returns the JSON object as WeChat wrote it.
///
/// All that can be wrong is one error, and costs about the same: every session_key is tried to the end, and what has the
/// wrong padding is read as JSON all the same. What it says holds for the user of these keys only, and not even that is
/// proven: whoever chooses the `iv` can change the first 16 bytes.
pub fn decrypt(
    keys: &SessionKeys,
    owner: Owner<'_>,
    encrypted_data: &str,
    iv: &str,
) -> Result<Vec<u8>, NotOpened> {
    let whole_blocks = |bytes: &[u8]| !bytes.is_empty() && bytes.len().is_multiple_of(BLOCK);
    let data = bytes_of(encrypted_data, whole_blocks);
    let vector = bytes_of(iv, |bytes| bytes.len() == BLOCK);
    let vector: Option<[u8; BLOCK]> = vector.and_then(|bytes| bytes.try_into().ok());
    let well_formed = data.is_some() && vector.is_some();
    // Something as long stands in for what cannot be decrypted.
    let data = data.unwrap_or_else(|| vec![0; (encrypted_data.len() / BLOCK + 1) * BLOCK]);
    let vector = vector.unwrap_or_default();
    let mut opened = None;
    for key in [Some(&keys.latest), keys.previous.as_ref()]
        .into_iter()
        .flatten()
    {
        let plain = decrypt_with(key, owner, &data, vector);
        opened = opened.or(plain);
    }
    opened.filter(|_| well_formed).ok_or(NotOpened)
}

/// Returns whether this is the signature of `rawData`, the exact text that the client got.
pub fn is_signed(keys: &SessionKeys, raw_data: &str, signature: &str) -> bool {
    let signature = signature.to_ascii_lowercase();
    let signs = |key: &Secret| -> Choice {
        let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(raw_data.as_bytes());
        digest.update(key.expose().as_bytes());
        let expected = hex(digest.finish().as_ref());
        expected.as_bytes().ct_eq(signature.as_bytes())
    };
    let never = Choice::from(0);
    let previous = keys.previous.as_ref().map_or(never, signs);
    (signs(&keys.latest) | previous).into()
}

/// Signs with HMAC-SHA256, as WeChat's calls that ask for `sig_method=hmac_sha256` want it; in hex.
pub fn sign(session_key: &Secret, data: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, session_key.expose().as_bytes());
    hex(hmac::sign(&key, data).as_ref())
}

/// Reads base64 that went through forms and editors: white space in it is skipped, and where that leaves nothing that
/// fits, a space is the `+` that a form's decoder made one of.
fn bytes_of(text: &str, fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let without = |skipped: fn(&char) -> bool| -> Option<Vec<u8>> {
        let kept = text.chars().filter(|c| !skipped(c));
        let kept = kept.map(|c| if c == ' ' { '+' } else { c });
        let kept: String = kept.collect();
        STANDARD.decode(kept).ok().filter(|bytes| fits(bytes))
    };
    without(char::is_ascii_whitespace).or_else(|| without(|c| c.is_ascii_whitespace() && *c != ' '))
}

fn decrypt_with(
    key: &Secret,
    owner: Owner<'_>,
    data: &[u8],
    vector: [u8; BLOCK],
) -> Option<Vec<u8>> {
    // One that is no key opens nothing, whatever it is asked to open.
    let key = Zeroizing::new(STANDARD.decode(key.expose()).ok()?);
    let key = UnboundCipherKey::new(&AES_128, &key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let mut plain = data.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(vector));
    // aws-lc-rs decrypts everything before it looks at the padding, so that there is a text to read in any case.
    let padded = key.ok()?.decrypt(&mut plain, context);
    let length = padded.map(|text| text.len());
    plain.truncate(length.unwrap_or(data.len()));
    let is_theirs = is_data_of(owner, &plain);
    (is_theirs && length.is_ok()).then_some(plain)
}

/// What is looked at, and what must not stand there twice: a backend might take the other one.
#[derive(Deserialize)]
struct OpenData<'a> {
    #[serde(borrow, rename = "openId")]
    openid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    watermark: Option<Watermark<'a>>,
    #[serde(rename = "unionId")]
    unionid: Option<IgnoredAny>,
    #[serde(rename = "phoneNumber")]
    phone_number: Option<IgnoredAny>,
    #[serde(rename = "purePhoneNumber")]
    pure_phone_number: Option<IgnoredAny>,
    /// A group, as `wx.getShareInfo` spells it.
    #[serde(rename = "openGId")]
    _open_gid: Option<IgnoredAny>,
    /// A group, as `wx.getGroupEnterInfo` and `wx.getChatToolInfo` spell it.
    opengid: Option<IgnoredAny>,
    /// A chat of two, as they spell it.
    open_single_roomid: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Watermark<'a> {
    #[serde(borrow)]
    appid: Cow<'a, str>,
}

impl OpenData<'_> {
    /// Returns whether it is about a chat and no person: of some such calls, WeChat sends no watermark.
    fn is_of_chat(&self) -> bool {
        let names_person = self.openid.is_some()
            || self.unionid.is_some()
            || self.phone_number.is_some()
            || self.pure_phone_number.is_some();
        let names_chat = self.opengid.is_some() || self.open_single_roomid.is_some();
        names_chat && !names_person
    }
}

/// The names, beside those of the user, that identify a person or the app, each in the one spelling that WeChat has for it.
const NAMES: [&str; 3] = ["watermark", "phoneNumber", "purePhoneNumber"];

/// The fields whose names are WeChat's but for case: whoever chooses the `iv` can make them so, and hide a field from us but not from a
/// backend that passes over case.
#[derive(Default)]
struct Lookalikes {
    /// What those say that look like `openId`.
    openids: Vec<Value>,
    /// Whether one looks like `unionId`.
    unionid: bool,
    /// Whether one looks like one of [`NAMES`].
    others: bool,
}

impl Lookalikes {
    fn name_person(&self) -> bool {
        self.unionid || !self.openids.is_empty()
    }
}

impl<'de> Deserialize<'de> for Lookalikes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Lookalikes {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Self, M::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let is_like = |own: &str| name != own && name.eq_ignore_ascii_case(own);
            if is_like("openId") {
                self.openids.push(map.next_value()?);
                continue;
            }
            let IgnoredAny = map.next_value()?;
            self.unionid |= is_like("unionId");
            self.others |= NAMES.into_iter().any(is_like);
        }
        Ok(self)
    }
}

/// Returns whether a text is an object that WeChat made for this app, and for this user where it names one.
fn is_data_of(owner: Owner<'_>, text: &[u8]) -> bool {
    // serde also reads a struct from an array, and does not look at the bytes of texts that nobody asked for.
    let is_object = text.trim_ascii_start().first() == Some(&b'{');
    let is_text = std::str::from_utf8(text).is_ok();
    let lookalikes = serde_json::from_slice::<Lookalikes>(text);
    let data = serde_json::from_slice::<OpenData<'_>>(text);
    // A field that we cannot read may be one that a backend can.
    let (Ok(lookalikes), Ok(data)) = (lookalikes, data) else {
        return false;
    };
    // Phone numbers and groups name no user: that they open with the user's own key is all there is.
    let is_owners = data
        .openid
        .as_ref()
        .is_none_or(|openid| openid == owner.openid);
    let mut openids = lookalikes.openids.iter();
    let are_owners = openids.all(|openid| openid.is_null() || openid == owner.openid);
    let is_apps = match &data.watermark {
        Some(watermark) => watermark.appid == owner.appid,
        None => data.is_of_chat() && !lookalikes.name_person(),
    };
    is_object && is_text && !lookalikes.others && is_owners && are_owners && is_apps
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // It cannot fail: the text grows as it must.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
