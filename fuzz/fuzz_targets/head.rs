//! The head of an HTTP/1 request of any bytes is refused, or means the same to every reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::request::{NormalPath, admit, check_head, check_start};
use menshen_fuzz::Head;

fuzz_target!(|bytes: &[u8]| {
    let head = [bytes, b"\r\n\r\n"].concat();
    let end = head.windows(4).position(|part| part == b"\r\n\r\n");
    let (head, _) = head.split_at(end.expect("an end") + 4);
    if check_head(head).is_err() {
        return;
    }
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
    let head = Head::parsed(head).expect("the parser behind takes what was let by");
    if let Ok(request) = admit(&head.message(), 64 * 1024) {
        let path = request.path.as_str();
        let again = NormalPath::parse(path.as_bytes()).expect("a normal path is one");
        assert_eq!(again.as_str(), path);
    }
});
