//! A request head of any bytes is refused or has one reading.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};
use libfuzzer_sys::fuzz_target;
use menshen::request::{Message, NormalPath, admit, credential};

fuzz_target!(|head: &[u8]| {
    let mut lines = head.split(|b| *b == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take(50) {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let message = Message {
        method: &Method::GET,
        target,
        authority: None,
        version: Version::HTTP_11,
        headers: &headers,
    };
    if let Ok(request) = admit(&message, 64 * 1024) {
        let path = request.path.as_str();
        let again = NormalPath::parse(path.as_bytes()).expect("a normal path is one");
        assert_eq!(again.as_str(), path);
        assert!(
            !path
                .split('/')
                .any(|segment| segment == "." || segment == "..")
        );
        for https in [false, true] {
            let _ = credential(&request.headers, https);
        }
    }
});
