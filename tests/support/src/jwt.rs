//! Parts of JWTs, as a test reads and makes them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Encodes a header or claims as a part of a JWT.
pub fn encode_part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// Reads the id of the key that signed a JWT.
pub fn read_kid(jwt: &str) -> String {
    let header = jsonwebtoken::decode_header(jwt).expect("a JWT");
    header.kid.expect("a kid")
}
