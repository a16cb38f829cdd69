//! Tests of open data against WeChat's published vectors and everything that is near them.

use aws_lc_rs::cipher::{EncryptionContext, PaddedBlockEncryptingKey};
use proptest::prelude::*;

use super::*;

const APPID: &str = "wx4f4bc4dec97d474b";
const OPENID: &str = "oGZUI0egBJY1zhBYw2KhdUfwVJJE";
const KEY: &str = "tiihtNczf5v6AKRyjwEUhQ==";
const IV: &str = "r7BXXKkLb8qrSNn05n0qiA==";
const DATA: &str = "CiyLU1Aw2KjvrjMdj8YKliAjtP4gsMZMQmRzooG2xrDcvSnxIMXFufNstNGTyaGS9uT5geRa0W4oTOb1WT7fJlAC+oNPdbB+3hVbJSRgv+4lGOETKUQz6OYStslQ142dNCuabNPGBzlooOmB231qMM85d2/fV6ChevvXvQP8Hkue1poOFtnEtpyxVLW1zAo6/1Xx1COxFvrc2d7UL/lmHInNlxuacJXwu0fjpXfz/YqYzBIBzD6WUfTIF9GRHpOn/Hz7saL8xz+W//FRAUid1OksQaQx4CMs8LOddcQhULW4ucetDf96JcR3g0gfRK4PC7E/r7Z6xNrXd2UIeorGj5Ef7b1pJAYB6Y5anaHqZ9J6nKEBvB4DnNLIVWSgARns/8wR2SiRS7MNACwTyrGvt9ts8p12PKFdlqYTopNHR1Vf7XjfhQlVsAJdNiKdYmYVoKlaRv85IfVunYzO0IKXsyl7JCUjCpoG20f0a04COwfneQAGGwd5oa+T8yO5hzuyDb/XcxxmK01EpqOyuxINew==";
const PLAIN: &str = r#"{"openId":"oGZUI0egBJY1zhBYw2KhdUfwVJJE","nickName":"Band","gender":1,"language":"zh_CN","city":"Guangzhou","province":"Guangdong","country":"CN","avatarUrl":"http://wx.qlogo.cn/mmopen/vi_32/aSKcBBPpibyKNicHNTMM0qJVh8Kjgiak2AHWr8MHM4WgMEm7GFhsf8OYrySdbvAMvTsw3mo8ibKicsnfN5pRjl1p8HQ/0","unionId":"ocMvos6NjeKLIBqg5Mr9QjxrP1FA","watermark":{"timestamp":1477314187,"appid":"wx4f4bc4dec97d474b"}}"#;

fn keys(latest: &str, previous: Option<&str>) -> SessionKeys {
    SessionKeys {
        latest: Secret::new(latest),
        previous: previous.map(Secret::new),
    }
}

fn open(data: &str, iv: &str) -> Result<String, NotOpened> {
    open_for(OPENID, data, iv)
}

fn open_for(openid: &str, data: &str, iv: &str) -> Result<String, NotOpened> {
    let owner = Owner {
        appid: APPID,
        openid,
    };
    let plain = decrypt(&keys(KEY, None), owner, data, iv)?;
    Ok(String::from_utf8(plain).unwrap())
}

/// Encrypts as WeChat does, under [`KEY`] and [`IV`].
fn encrypted(plain: &[u8]) -> String {
    let key = UnboundCipherKey::new(&AES_128, &STANDARD.decode(KEY).unwrap()).unwrap();
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap();
    let iv: [u8; BLOCK] = STANDARD.decode(IV).unwrap().try_into().unwrap();
    let mut data = plain.to_vec();
    key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv.into()))
        .unwrap();
    STANDARD.encode(data)
}

fn reopened(plain: &str) -> Result<String, NotOpened> {
    open(&encrypted(plain.as_bytes()), IV)
}

/// Changes a byte of the first block of plaintext, as whoever sends the `iv` can.
fn iv_that_changes(at: usize, from: u8, to: u8) -> String {
    let mut iv = STANDARD.decode(IV).unwrap();
    iv[at] ^= from ^ to;
    STANDARD.encode(iv)
}

/// Changes two bytes so.
fn iv_that_changes_two(one: (usize, u8), other: (usize, u8)) -> String {
    let mut iv = STANDARD.decode(IV).unwrap();
    for (at, change) in [one, other] {
        iv[at] ^= change;
    }
    STANDARD.encode(iv)
}

#[test]
fn the_official_data_opens() {
    assert_eq!(open(DATA, IV).unwrap(), PLAIN);
    assert_eq!(encrypted(PLAIN.as_bytes()), DATA);
}

#[test]
fn the_key_before_opens_too_and_a_third_does_not() {
    let owner = Owner {
        appid: APPID,
        openid: OPENID,
    };
    let other = "HyVFkGl5F5OQWJZZaNzBBg==";
    let opened = decrypt(&keys(other, Some(KEY)), owner, DATA, IV);
    assert_eq!(opened.unwrap(), PLAIN.as_bytes());
    let opened = decrypt(&keys(KEY, Some(other)), owner, DATA, IV);
    assert_eq!(opened.unwrap(), PLAIN.as_bytes());
    for keys in [
        keys(other, None),
        keys(other, Some("o0q0otL8aEzpcZL/FT9WsQ==")),
    ] {
        assert_eq!(decrypt(&keys, owner, DATA, IV), Err(NotOpened));
    }
}

#[test]
fn a_session_key_that_is_no_key_opens_nothing() {
    let owner = Owner {
        appid: APPID,
        openid: OPENID,
    };
    for key in ["", "k", "AAAA", "tiihtNczf5v6AKRyjwEUhQ"] {
        assert_eq!(decrypt(&keys(key, None), owner, DATA, IV), Err(NotOpened));
    }
}

#[test]
fn white_space_in_base64_is_skipped() {
    let mut lines = String::new();
    for (n, c) in DATA.chars().enumerate() {
        lines.extend((n % 64 == 63).then_some(" \r\n"));
        lines.push(c);
    }
    assert_eq!(open(&lines, &format!("\t{IV}\n")).unwrap(), PLAIN);
}

#[test]
fn a_plus_that_a_form_made_a_space_of_is_a_plus() {
    assert!(DATA.contains('+'));
    assert_eq!(open(&DATA.replace('+', " "), IV).unwrap(), PLAIN);
    assert_eq!(
        open(&format!("{}\n", DATA.replace('+', " ")), IV).unwrap(),
        PLAIN
    );
}

#[test]
fn everything_that_is_near_it_is_the_same_error() {
    let last = DATA.len() - 1;
    let cases = [
        // Lengths.
        ("", IV),
        (DATA, ""),
        (DATA, "MQ=="),
        (DATA, "r7BXXKkLb8qrSNn05n0qiIA="),
        (&format!("aaaa{DATA}"), IV),
        (DATA.get(..last).unwrap(), IV),
        (DATA.get(4..).unwrap(), IV),
        (DATA.get(..64 * 4).unwrap(), IV),
        // Base64.
        (&DATA.replace('/', "_"), IV),
        (&DATA.replacen('C', "*", 1), IV),
        (&format!("{DATA}===="), IV),
        ("\u{0}", "\u{0}"),
        // The openId is no UTF-8 any more, or another one.
        (DATA, "r7BXXKkLb8qrSNn05n2qiA=="),
        (DATA, &iv_that_changes(11, b'G', b'H')),
        // No openId for us, and another user's for who passes over case.
        (
            DATA,
            &iv_that_changes_two((6, b'I' ^ b'i'), (11, b'G' ^ b'H')),
        ),
        (DATA, &iv_that_changes_two((2, b'o' ^ b'O'), (14, 1))),
        // No JSON any more.
        (DATA, &iv_that_changes(0, b'{', b'[')),
        (DATA, &iv_that_changes(1, b'"', b' ')),
        // Another key's: the data of the third test of WxJava.
        ("BY6VOgcWbwGcyrunK0ECxQ==", "TarMFjnzHVxy8pdS93wQbw=="),
        // Never encrypted.
        (&STANDARD.encode(PLAIN), IV),
    ];
    for (data, iv) in cases {
        assert_eq!(open(data, iv), Err(NotOpened), "{data} {iv}");
    }
}

#[test]
fn data_of_another_user_or_another_app_is_refused() {
    assert_eq!(
        open_for("oGZUI0egBJY1zhBYw2KhdUfwVJJF", DATA, IV),
        Err(NotOpened)
    );
    let other = PLAIN.replace("wx4f4bc4dec97d474b\"}", "wx4f4bc4dec97d474c\"}");
    assert_eq!(reopened(&other), Err(NotOpened));
}

#[test]
fn what_names_no_user_is_taken_for_the_user_whose_key_it_is() {
    let phone = r#"{"phoneNumber":"13580006666","purePhoneNumber":"13580006666","countryCode":"86","watermark":{"appid":"wx4f4bc4dec97d474b","timestamp":1}}"#;
    assert_eq!(reopened(phone).unwrap(), phone);
}

#[test]
fn an_openid_in_another_case_opens_where_it_is_the_users_own() {
    let watermark = r#""watermark":{"timestamp":1,"appid":"wx4f4bc4dec97d474b"}"#;
    let data = |fields: &str| format!("{{{fields},{watermark}}}");
    for name in ["openid", "OpenId", "OPENID", "open\\u0069d"] {
        let own = data(&format!("\"{name}\":\"{OPENID}\""));
        assert_eq!(reopened(&own).unwrap(), own);
        for value in ["\"oOfAnother\"", "\"\"", "1", "[\"o\"]"] {
            let other = data(&format!("\"{name}\":{value}"));
            assert_eq!(reopened(&other), Err(NotOpened), "{other}");
            let beside = data(&format!("\"openId\":\"{OPENID}\",\"{name}\":{value}"));
            assert_eq!(reopened(&beside), Err(NotOpened), "{beside}");
        }
        let unmarked = format!("{{\"opengid\":\"tGroup1\",\"{name}\":\"{OPENID}\"}}");
        assert_eq!(reopened(&unmarked), Err(NotOpened), "{unmarked}");
    }
    let renamed = open(DATA, &iv_that_changes(6, b'I', b'i'));
    assert_eq!(renamed.unwrap(), PLAIN.replace("openId", "openid"));
}

#[test]
fn an_openid_in_another_case_that_cannot_be_read_is_refused() {
    for value in ["\"\\ud800\"", "1e999"] {
        for other in ["", "\"PhoneNumber\":\"1\","] {
            let watermark = format!("\"watermark\":{{\"appid\":\"{APPID}\"}}");
            let data = format!("{{\"OPENID\":{value},{other}{watermark}}}");
            assert_eq!(reopened(&data), Err(NotOpened), "{data}");
        }
    }
}

#[test]
fn a_unionid_opens_in_any_case_beside_a_watermark_alone() {
    for name in ["unionId", "unionid", "UnionID"] {
        let data = format!("{{\"{name}\":\"o1\",\"watermark\":{{\"appid\":\"{APPID}\"}}}}");
        assert_eq!(reopened(&data).unwrap(), data);
        let data = format!("{{\"opengid\":\"tGroup1\",\"{name}\":\"o1\"}}");
        assert_eq!(reopened(&data), Err(NotOpened), "{data}");
    }
}

#[test]
fn groups_open_as_each_call_of_wechat_spells_them() {
    let watermark = r#""watermark":{"timestamp":1,"appid":"wx4f4bc4dec97d474b"}"#;
    for group in [
        r#""openGId":"tGroup1""#,
        r#""opengid":"tGroup1""#,
        r#""openGId":"tGroup1","opengid":"tGroup1""#,
        r#""opengid":"tGroup1","open_single_roomid":"","group_openid":"oInGroup","chat_type":3"#,
    ] {
        let data = format!("{{{group},{watermark}}}");
        assert_eq!(reopened(&data).unwrap(), data);
        let twice = format!("{{{group},{group},{watermark}}}");
        assert_eq!(reopened(&twice), Err(NotOpened), "{twice}");
    }
}

#[test]
fn chats_without_a_watermark_open_and_nothing_else_does() {
    let data =
        r#"{"opengid":"tGroup1","open_single_roomid":"","group_openid":"oInGroup","chat_type":3}"#;
    assert_eq!(reopened(data).unwrap(), data);
    let single = r#"{"open_single_roomid":"sRoom1","group_openid":"oInRoom","chat_type":1}"#;
    assert_eq!(reopened(single).unwrap(), single);
    let owner = format!("\"openId\":\"{OPENID}\"");
    for more in [
        owner.as_str(),
        r#""unionId":"o1""#,
        r#""phoneNumber":"13580006666""#,
        r#""purePhoneNumber":"13580006666""#,
        r#""watermark":{"appid":"wx4f4bc4dec97d474c"}"#,
        r#""Watermark":{"appid":"wx4f4bc4dec97d474b"}"#,
        r#""OpenId":"o1""#,
    ] {
        let data = format!("{{\"opengid\":\"tGroup1\",{more}}}");
        assert_eq!(reopened(&data), Err(NotOpened), "{data}");
    }
    for data in [
        r#"{"group_openid":"o1"}"#,
        r#"{"opengid":null}"#,
        r#"{"stepInfoList":[]}"#,
    ] {
        assert_eq!(reopened(data), Err(NotOpened), "{data}");
    }
}

#[test]
fn what_is_no_object_with_a_watermark_is_refused() {
    for plain in [
        "",
        "null",
        "[]",
        r#"["oGZUI0egBJY1zhBYw2KhdUfwVJJE",["wx4f4bc4dec97d474b"],1,1,1,1]"#,
        r#"{"openId":"oGZUI0egBJY1zhBYw2KhdUfwVJJE"}"#,
        r#"{"watermark":"wx4f4bc4dec97d474b"}"#,
        r#"{"watermark":{"timestamp":1}}"#,
        r#"{"openId":1,"watermark":{"appid":"wx4f4bc4dec97d474b"}}"#,
        r#"{"watermark":{"appid":"wx4f4bc4dec97d474b"}}x"#,
        r#"{"watermark":{"appid":"wx4f4bc4dec97d474b"}"#,
    ] {
        assert_eq!(reopened(plain), Err(NotOpened), "{plain}");
    }
    let invalid = b"{\"nickName\":\"\xff\",\"watermark\":{\"appid\":\"wx4f4bc4dec97d474b\"}}";
    assert_eq!(open(&encrypted(invalid), IV), Err(NotOpened));
}

#[test]
fn what_decides_cannot_be_said_twice() {
    let twice = |name: &str, value: &str| PLAIN.replacen('{', &format!("{{\"{name}\":{value},"), 1);
    assert!(reopened(&twice("steps", "1")).is_ok());
    for name in ["openId", "open\\u0049d", "unionId"] {
        let plain = twice(name, &format!("\"{OPENID}\""));
        assert_eq!(reopened(&plain), Err(NotOpened), "{plain}");
    }
    let plain = twice("watermark", r#"{"appid":"wx4f4bc4dec97d474b"}"#);
    assert_eq!(reopened(&plain), Err(NotOpened));
    let plain = PLAIN.replace("\"appid\"", "\"appid\":\"wx1\",\"appid\"");
    assert_eq!(reopened(&plain), Err(NotOpened));
}

#[test]
fn padding_is_one_to_sixteen_bytes_that_all_say_so() {
    let with_padding = |pad: &[u8]| {
        // Encrypted with the padding of the library behind it, which is cut off.
        let mut plain = PLAIN.as_bytes().to_vec();
        plain.extend(pad);
        let whole = STANDARD.decode(encrypted(&plain)).unwrap();
        STANDARD.encode(&whole[..plain.len()])
    };
    let missing = BLOCK - PLAIN.len() % BLOCK;
    let good = vec![missing as u8; missing];
    assert!(open(&with_padding(&good), IV).is_ok());
    for wrong in [
        vec![0; missing],
        vec![missing as u8 - 1; missing],
        vec![missing as u8 + BLOCK as u8; missing + BLOCK],
        vec![BLOCK as u8 + 1; missing],
        [vec![missing as u8 ^ 1], vec![missing as u8; missing - 1]].concat(),
    ] {
        let data = with_padding(&wrong);
        // All but the last are JSON with something behind it, should the padding be taken for right.
        assert_eq!(open(&data, IV), Err(NotOpened), "{wrong:?}");
    }
}

#[test]
fn the_official_signature_of_raw_data_is_right() {
    let keys = |latest: &str, previous| keys(latest, previous);
    let raw = r#"{"nickName":"Band","gender":1,"language":"zh_CN","city":"Guangzhou","province":"Guangdong","country":"CN","avatarUrl":"http://wx.qlogo.cn/mmopen/vi_32/1vZvI39NWFQ9XM4LtQpFrQJ1xlgZxx3w7bQxKARol6503Iuswjjn6nIGBiaycAjAtpujxyzYsrztuuICqIM5ibXQ/0"}"#;
    let key = "HyVFkGl5F5OQWJZZaNzBBg==";
    let signature = "75e81ceda165f4ffa64f4068af58c64b8f54b88c";
    let (known, before) = (keys(key, None), keys(KEY, Some(key)));
    assert!(is_signed(&known, raw, signature));
    assert!(is_signed(&known, raw, &signature.to_uppercase()));
    assert!(is_signed(&before, raw, signature));
    assert!(!is_signed(&keys(KEY, None), raw, signature));
    for wrong in [&raw.replace(',', ", "), &format!("{raw} "), ""] {
        assert!(!is_signed(&known, wrong, signature), "{wrong}");
    }
    for wrong in [
        "",
        "75e81c",
        &format!("{signature}0"),
        &signature.replace('7', "8"),
    ] {
        assert!(!is_signed(&known, raw, wrong), "{wrong}");
    }
}

#[test]
fn signatures_for_wechat_take_the_text_of_the_key() {
    let official = r#"{"foo":"bar"}"#;
    for (key, data, signature) in [
        (
            "o0q0otL8aEzpcZL/FT9WsQ==",
            official,
            "654571f79995b2ce1e149e53c0a33dc39c0a74090db514261454e8dbe432aa0b",
        ),
        (
            "o0q0otL8aEzpcZL/FT9WsQ==",
            "",
            "46e043c5525c2d817c44be603d30837a808a1d930d038f6fdc3e62a201fed128",
        ),
        (
            KEY,
            "",
            "7154f9f8b4b76b92f541cbf0e37d48840fa06e5e42da92a6f80168a1516a4735",
        ),
        (
            "HyVFkGl5F5OQWJZZaNzBBg==",
            "",
            "252b75c92698025afe925b29cca5517fdf9ee67aae072cf3225ebf3a53783058",
        ),
    ] {
        assert_eq!(sign(&Secret::new(key), data.as_bytes()), signature);
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_it_panic(data in "\\PC{0,80}", iv in "\\PC{0,30}", key in "\\PC{0,30}") {
        let owner = Owner { appid: APPID, openid: OPENID };
        let _ = decrypt(&keys(&key, Some(KEY)), owner, &data, &iv);
        let _ = is_signed(&keys(&key, None), &data, &iv);
    }

    #[test]
    fn any_blocks_under_any_vector_are_refused(data: [[u8; 16]; 3], iv: [u8; 16]) {
        let data = STANDARD.encode(data.concat());
        prop_assert_eq!(open(&data, &STANDARD.encode(iv)), Err(NotOpened));
    }

    #[test]
    fn a_change_in_the_vector_never_makes_it_another_users(at in 0_usize..16, change in 1_u8..) {
        let iv = iv_that_changes(at, 0, change);
        if let Ok(plain) = open(DATA, &iv) {
            // The name of the field was changed, so that no user is named.
            let plain: serde_json::Value = serde_json::from_str(&plain).unwrap();
            prop_assert!(plain["openId"].is_null());
        }
    }
}
