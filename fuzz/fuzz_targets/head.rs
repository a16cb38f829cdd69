//! The head of an HTTP/1 request of any bytes is refused, or means the same to every reader.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use menshen::request::{NormalPath, admit, check_start, end_of_head, parse_head};

fuzz_target!(|bytes: &[u8]| {
    let whole = [bytes, b"\r\n\r\n"].concat();
    let Ok(Some(end)) = end_of_head(&whole, 0) else {
        return;
    };
    for cut in [end / 3, end / 2, end - 1] {
        assert_eq!(end_of_head(&whole[..cut], 0), Ok(None), "an end before the end");
        assert_eq!(end_of_head(&whole, cut), Ok(Some(end)), "the cut moved the end");
    }
    let raw = Bytes::copy_from_slice(&whole[..end]);
    let Ok(parsed) = parse_head(&raw) else {
        return;
    };
    let head = &raw[..];
    for cut in 0..head.len() {
        assert!(check_start(&head[..cut]).is_ok(), "a good head begins well");
    }
    let text = head.strip_suffix(b"\r\n").expect("an empty line");
    assert!(!text.windows(2).any(|two| two == b"\n " || two == b"\n\t"));
    let mut lines = text.split_inclusive(|b| *b == b'\n');
    lines.next();
    let (mut hosts, mut framing) = (0, 0);
    for line in lines {
        let line = line.strip_suffix(b"\r\n").expect("a whole line");
        assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        let at = line.iter().position(|b| *b == b':').expect("a colon");
        let name = line[..at].to_ascii_lowercase();
        assert!(!name.is_empty());
        assert!(
            name.iter()
                .all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(b))
        );
        hosts += usize::from(name == b"host");
        framing += usize::from(name == b"content-length" || name == b"transfer-encoding");
    }
    assert!(hosts < 2 && framing < 2);
    if let Ok(request) = admit(&parsed.message(), 64 * 1024) {
        let path = request.path.as_str();
        let again = NormalPath::parse(path.as_bytes()).expect("a normal path is one");
        assert_eq!(again.as_str(), path);
    }
});
