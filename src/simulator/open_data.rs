//! What a page gets when it asks WeChat's client for open data: encrypted, and signed.

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::world::World;
use super::{identity, random};

/// Why there is no open data.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenDataError {
    #[error("user: must have logged in to this app")]
    NoSession,
    #[error("data: must be an object, or a string that is encrypted as it is")]
    Data,
    #[error("the system cannot encrypt")]
    Cryptography(#[from] Unspecified),
}

/// Encrypts and signs under the session_key that a user has now.
pub(super) fn open_data(
    world: &mut World,
    appid: &str,
    user: &str,
    data: Value,
    now_ms: u64,
) -> Result<Value, OpenDataError> {
    let openid = identity::openid(appid, user);
    let session = world.session(appid, &openid, now_ms);
    let key = session.ok_or(OpenDataError::NoSession)?.key();
    let text = match data {
        Value::String(text) => text,
        Value::Object(mut fields) => {
            let watermark = json!({ "timestamp": now_ms / 1000, "appid": appid });
            fields.entry("watermark").or_insert(watermark);
            Value::Object(fields).to_string()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return Err(OpenDataError::Data);
        }
    };
    let iv = random::vector()?;
    let mut encrypted = text.clone().into_bytes();
    let bytes = STANDARD.decode(key).map_err(|_| Unspecified)?;
    PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, &bytes)?)?
        .less_safe_encrypt(&mut encrypted, EncryptionContext::Iv128(iv.into()))?;
    let signed = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{text}{key}").as_bytes());
    let signature: String = signed.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok(json!({
        "encryptedData": STANDARD.encode(encrypted),
        "iv": STANDARD.encode(iv),
        "rawData": text,
        "signature": signature,
    }))
}
