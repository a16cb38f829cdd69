//! Open data of any bytes is refused; any text that was encrypted opens as it was, for its user and app, or not at all.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use menshen::secret::Secret;
use menshen::session::SessionKeys;
use menshen::wechat::{Owner, decrypt, is_signed};
use serde_json::Value;

const OWNER: Owner<'static> = Owner {
    appid: "wx4f4bc4dec97d474b",
    openid: "oGZUI0egBJY1zhBYw2KhdUfwVJJE",
};

static KEYS: LazyLock<SessionKeys> = LazyLock::new(|| SessionKeys {
    latest: Secret::new("HyVFkGl5F5OQWJZZaNzBBg=="),
    previous: Some(Secret::new("tiihtNczf5v6AKRyjwEUhQ==")),
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (data, iv) = text.split_once('\n').unwrap_or((text, ""));
        assert!(decrypt(&KEYS, OWNER, data, iv).is_err());
        assert!(!is_signed(&KEYS, data, iv));
    }
    let Some((iv, plain)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let key = STANDARD.decode("tiihtNczf5v6AKRyjwEUhQ==").expect("base64");
    let key = UnboundCipherKey::new(&AES_128, &key).expect("a key");
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).expect("a key");
    let mut data = plain.to_vec();
    key.less_safe_encrypt(&mut data, EncryptionContext::Iv128((*iv).into()))
        .expect("encrypts");
    let opened = decrypt(&KEYS, OWNER, &STANDARD.encode(data), &STANDARD.encode(iv));
    if let Ok(opened) = opened {
        assert_eq!(opened, plain);
        let json: Value = serde_json::from_slice(&opened).expect("JSON");
        assert!(json.is_object());
        assert_eq!(json["watermark"]["appid"], OWNER.appid);
        assert!(json["openId"].is_null() || json["openId"] == OWNER.openid);
    }
});
