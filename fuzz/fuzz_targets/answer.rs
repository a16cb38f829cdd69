//! An answer of WeChat's of any bytes is refused or holds texts that fit a header.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use menshen::wechat::Fields;

fuzz_target!(|body: &[u8]| {
    if let Ok(fields) = Fields::parse(body)
        && let Ok(openid) = fields.text("openid")
    {
        assert!(!openid.is_empty());
        HeaderValue::from_str(&openid).expect("an openid becomes a header");
        let _ = fields.optional_text("unionid");
        let _ = fields.secret("session_key");
    }
});
