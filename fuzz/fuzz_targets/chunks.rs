//! A chunked body of any bytes is refused, or ends where httparse's reading of its sizes ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::request::Chunks;

fuzz_target!(|bytes: &[u8]| {
    let mut chunks = Chunks::default();
    let mut over = None;
    for (at, byte) in bytes.iter().enumerate() {
        if chunks.data_left() > 0 {
            chunks.take_data(1);
        } else if chunks.frame(*byte).is_err() {
            return;
        }
        if chunks.is_over() {
            over = Some(at + 1);
            break;
        }
    }
    let Some(over) = over else {
        return;
    };
    let (body, _) = bytes.split_at(over);
    let mut at = 0;
    loop {
        let size = httparse::parse_chunk_size(&body[at..]).expect("a size");
        let httparse::Status::Complete((start, size)) = size else {
            panic!("a whole size");
        };
        at += start;
        if size == 0 {
            let end = body[at - 2..]
                .windows(4)
                .position(|part| part == b"\r\n\r\n");
            assert_eq!(end.expect("an end") + at + 2, over);
            return;
        }
        at += usize::try_from(size).expect("fits");
        assert_eq!(&body[at..at + 2], b"\r\n");
        at += 2;
    }
});
