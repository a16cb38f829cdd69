//! Tracks the frame boundaries in the bytes that a server sends, without storing them (RFC 6455).

const CLOSE: u8 = 0x8;

/// The position of the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Frames {
    /// Between two frames.
    #[default]
    Between,
    /// Before the second byte of a frame; the first said whether it is a close frame.
    Length { last: bool },
    /// In the long form of the length.
    LongLength { left: u8, length: u64, rest: Rest },
    /// In the mask or in the payload.
    Payload { left: u64, last: bool },
    /// After a close frame, which nothing may follow.
    Closed,
}

/// What follows the long form of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    mask: u8,
    last: bool,
}

impl Frames {
    /// Advances over `bytes`.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Self::Payload { left, last } = *self {
                let here = left.min(bytes.len() as u64);
                *self = Self::payload(left - here, last);
                let here = usize::try_from(here).unwrap_or(usize::MAX);
                bytes = bytes.get(here..).unwrap_or(&[]);
            } else {
                *self = self.behind(byte);
                bytes = rest;
            }
        }
    }

    fn behind(self, byte: u8) -> Self {
        match self {
            Self::Between => Self::Length {
                last: byte & 0xf == CLOSE,
            },
            Self::Length { last } => {
                // A server must not mask its frames, but some backend may.
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                let long = |left| Self::LongLength {
                    left,
                    length: 0,
                    rest: Rest { mask, last },
                };
                match byte & 0x7f {
                    126 => long(2),
                    127 => long(8),
                    short => Self::payload(u64::from(short + mask), last),
                }
            }
            Self::LongLength { left, length, rest } => {
                let length = (length << 8) | u64::from(byte);
                if left > 1 {
                    let left = left - 1;
                    return Self::LongLength { left, length, rest };
                }
                Self::payload(length.saturating_add(u64::from(rest.mask)), rest.last)
            }
            Self::Payload { left, last } => Self::payload(left.saturating_sub(1), last),
            Self::Closed => Self::Closed,
        }
    }

    fn payload(left: u64, last: bool) -> Self {
        match (left, last) {
            (0, true) => Self::Closed,
            (0, false) => Self::Between,
            (left, last) => Self::Payload { left, last },
        }
    }
}

/// Returns an unmasked close frame, which a server sends; `reason` is at most 123 bytes.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    let reason = reason
        .as_bytes()
        .get(..reason.len().min(123))
        .unwrap_or(&[]);
    let mut frame = vec![0x80 | CLOSE, 2 + reason.len() as u8];
    frame.extend(code.to_be_bytes());
    frame.extend(reason);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a frame, its length in the form asked for where it fits in it.
    fn frame(opcode: u8, payload: &[u8], masked: bool, longer: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match (payload.len(), longer) {
            (length @ 0..=125, false) => frame.push(mask | length as u8),
            (length @ 0..=0xffff, _) if !longer || length <= 125 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            (length, _) => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(payload);
        frame
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..130),
            (0_usize..70_000).prop_map(|length| vec![0x88; length]),
        ];
        // Every opcode but that of a close frame.
        let opcode = prop::sample::select(vec![0, 1, 2, 9, 10]);
        let one = (opcode, payload, any::<bool>(), any::<bool>())
            .prop_map(|(opcode, payload, masked, longer)| frame(opcode, &payload, masked, longer));
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn frames_are_followed_however_the_stream_is_cut(
            frames in frames(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            ends in any::<bool>(),
        ) {
            let mut stream = Vec::new();
            let mut boundaries = vec![stream.len()];
            for frame in &frames {
                stream.extend(frame);
                boundaries.push(stream.len());
            }
            if ends {
                stream.extend(close(1000, "bye"));
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend(&boundaries);
            cuts.push(stream.len());
            cuts.sort();
            let (mut followed, mut at) = (Frames::default(), 0);
            for cut in cuts {
                followed.advance(&stream[at..cut]);
                at = cut;
                let closed = ends && at == stream.len();
                prop_assert_eq!(followed == Frames::Between, boundaries.contains(&at) && !closed);
                prop_assert_eq!(followed == Frames::Closed, closed);
            }
        }

        #[test]
        fn any_bytes_are_the_same_whole_and_one_by_one(bytes: Vec<u8>) {
            let (mut whole, mut single) = (Frames::Between, Frames::Between);
            whole.advance(&bytes);
            for byte in &bytes {
                single.advance(std::slice::from_ref(byte));
            }
            prop_assert_eq!(whole, single);
        }
    }

    #[test]
    fn the_largest_length_is_no_boundary() {
        let mut frames = Frames::Between;
        frames.advance(&[0x82, 0xff]);
        frames.advance(&[0xff; 8]);
        frames.advance(&[0; 1000]);
        assert!(matches!(frames, Frames::Payload { .. }));
    }

    #[test]
    fn a_close_frame_is_one_a_client_reads() {
        assert_eq!(close(4401, "over"), b"\x88\x06\x11\x31over");
        assert_eq!(close(1001, &"x".repeat(200)).len(), 2 + 125);
    }
}
