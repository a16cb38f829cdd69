//! Draws pictures that any viewer opens: PNG, grey, without compression.

/// What every PNG begins with.
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// The most bytes in one block that is stored as it is.
const MOST_STORED: usize = 0xffff;
/// How many fields a side has.
const FIELDS: u32 = 25;

/// Draws a square of black and white fields that looks another way for another text.
pub(super) fn picture(text: &str, width: u32) -> Vec<u8> {
    let seed = crc(&[text.as_bytes()]);
    let mut rows = Vec::new();
    for y in 0..width {
        // Each row begins with the number of its filter.
        rows.push(0);
        for x in 0..width {
            let field = (y * FIELDS / width) * FIELDS + x * FIELDS / width;
            let mixed = (seed ^ field).wrapping_mul(0x9e37_79b1);
            let is_dark = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b) >> 31 == 0;
            rows.push(if is_dark { 0 } else { 0xff });
        }
    }
    let mut out = SIGNATURE.to_vec();
    let size = width.to_be_bytes();
    let grey_of_eight_bits = [8, 0, 0, 0, 0];
    let head = [size.as_slice(), &size, &grey_of_eight_bits].concat();
    chunk(b"IHDR", &head, &mut out);
    chunk(b"IDAT", &stored(&rows), &mut out);
    chunk(b"IEND", &[], &mut out);
    out
}

fn chunk(kind: &[u8; 4], data: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    out.extend(length.to_be_bytes());
    out.extend(kind);
    out.extend(data);
    out.extend(crc(&[kind, data]).to_be_bytes());
}

/// Wraps bytes in the form of zlib (RFC 1950) without making them fewer.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(MOST_STORED).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend(((b << 16) | a).to_be_bytes());
    out
}

/// Computes the CRC-32 of PNG's annex D over all parts.
fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_that_others_compute() {
        assert_eq!(crc(&[b"1234", b"56789"]), 0xcbf4_3926);
        assert_eq!(crc(&[b"IEND"]), 0xae42_6082);
        let zlib = stored(b"Wikipedia");
        assert_eq!(zlib[zlib.len() - 4..], 0x11e6_0398_u32.to_be_bytes());
    }

    #[test]
    fn a_large_picture_is_whole_and_another_text_is_another_picture() {
        let picture_of = |text| picture(text, 430);
        let drawn = picture_of("a=1");
        assert!(drawn.starts_with(&SIGNATURE));
        assert!(drawn.len() > 430 * 431);
        assert_eq!(drawn, picture_of("a=1"));
        assert_ne!(drawn, picture_of("a=2"));
    }
}
