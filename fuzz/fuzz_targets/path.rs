//! A path of any bytes is refused or has one normal form, and no dot segment in any reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::request::NormalPath;

fn unescaped(path: &str) -> Vec<u8> {
    let mut bytes = path.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let digits: Vec<u8> = bytes.by_ref().take(2).collect();
        let digits = std::str::from_utf8(&digits).expect("digits");
        plain.push(u8::from_str_radix(digits, 16).expect("a whole escape"));
    }
    plain
}

fuzz_target!(|raw: &[u8]| {
    // A path ends where the query begins; who asks has cut it there.
    let raw = raw.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Ok(path) = NormalPath::parse(raw) else {
        return;
    };
    let text = path.as_str();
    assert!(text.starts_with('/') && text.is_ascii());
    assert!(
        !text
            .bytes()
            .any(|b| b <= b' ' || b == 0x7f || b == b'#' || b == b'?' || b == b'\\')
    );
    assert_eq!(
        NormalPath::parse(text.as_bytes())
            .expect("a normal path is one")
            .as_str(),
        text
    );
    let plain = unescaped(text);
    let plain = String::from_utf8(plain).expect("text");
    assert_eq!(
        plain.matches('/').count(),
        text.matches('/').count(),
        "no escaped slash"
    );
    assert!(!plain.contains(['\\', '\0', '\n', '\r']));
    let dots = |path: &str| {
        path.split('/')
            .any(|s| matches!(s.split(';').next(), Some("." | "..")))
    };
    assert!(!dots(text) && !dots(&plain));
    if let Some(other) = path.other_reading() {
        assert!(other.starts_with('/') && !other.contains("//") && !other.contains(';'));
        assert!(!dots(&other));
    }
});
