//! Tests of how bodies are read: lengths, chunks, trailers and what is neither.

use super::*;

/// Takes a body that comes in pieces of `size` bytes.
fn taken(
    mut body: Incoming,
    bytes: &[u8],
    size: usize,
) -> Result<(Vec<u8>, Option<HeaderMap>), Malformed> {
    let (mut input, mut data) = (BytesMut::new(), Vec::new());
    let mut pieces = bytes.chunks(size);
    loop {
        match body.take(&mut input, false)? {
            Some(Part::Data(part)) => data.extend_from_slice(&part),
            Some(Part::End(trailers)) => return Ok((data, trailers)),
            None => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return body.take(&mut input, true).map(|_| (data, None)),
            },
        }
    }
}

#[test]
fn chunks_are_taken_however_they_are_cut() {
    let body = b"5\r\nhello\r\n1;a=b\r\n \r\n5\r\nworld\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
    for size in 1..body.len() {
        let (data, trailers) = taken(Incoming::chunks(Chunks::default()), body, size).unwrap();
        assert_eq!(data, b"hello world", "{size}");
        assert_eq!(trailers.unwrap()["x-b"], "2", "{size}");
    }
}

#[test]
fn a_large_chunk_is_taken_as_it_comes() {
    let mut body = Incoming::chunks(Chunks::default());
    let mut input = BytesMut::from(&b"100000\r\n"[..]);
    for size in [70_000, 100, 20_000] {
        input.extend_from_slice(&vec![b'x'; size]);
        match body.take(&mut input, false).unwrap() {
            Some(Part::Data(data)) => assert_eq!(data.len(), size),
            other => panic!("{other:?}"),
        }
        assert!(body.take(&mut input, false).unwrap().is_none());
    }
}

#[test]
fn short_chunks_are_gathered_and_not_without_end() {
    let mut input = BytesMut::from(&*"1\r\na\r\n".repeat(1000));
    let mut body = Incoming::chunks(Chunks::default());
    for length in [GATHERED_CHUNKS, 1000 - GATHERED_CHUNKS] {
        match body.take(&mut input, false).unwrap() {
            Some(Part::Data(data)) => assert_eq!(data.len(), length),
            other => panic!("{other:?}"),
        }
    }
    assert!(body.take(&mut input, false).unwrap().is_none());
}

#[test]
fn what_is_malformed_stays_so_however_often_it_is_asked_for() {
    for bytes in [
        "5;\n",
        "0\r\nX: y\n\r\n",
        "\r\n0\r\n\r\n",
        "zz\r\n0\r\n\r\n",
    ] {
        let mut body = Incoming::chunks(Chunks::default());
        let mut input = BytesMut::from(bytes);
        for _ in 0..5 {
            assert!(body.take(&mut input, false).is_err(), "{bytes:?}");
            assert!(!body.is_over());
        }
    }
}

#[test]
fn framing_without_end_is_refused() {
    let endless = format!("1;{}", "x".repeat(MAX_FRAMING));
    let found = taken(
        Incoming::chunks(Chunks::default()),
        endless.as_bytes(),
        1000,
    );
    assert_eq!(found.unwrap_err(), Malformed::TooLarge);
    let endless = format!("0\r\n{}", "X: y\r\n".repeat(MAX_FRAMING));
    let found = taken(
        Incoming::chunks(Chunks::default()),
        endless.as_bytes(),
        1000,
    );
    assert_eq!(found.unwrap_err(), Malformed::TooLarge);
}

#[test]
fn a_body_that_breaks_off_is_no_whole_one() {
    for body in [Incoming::length(3), Incoming::chunks(Chunks::default())] {
        assert_eq!(taken(body, b"2", 1).unwrap_err(), Malformed::BrokenOff);
    }
    assert_eq!(taken(Incoming::UntilEnd, b"all", 1).unwrap().0, b"all");
}

#[test]
fn sizes_are_written_in_hexadecimal() {
    for size in [1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
        let mut line = [0; 18];
        assert_eq!(
            hex_line(size, &mut line),
            format!("{size:x}\r\n").as_bytes()
        );
    }
}
