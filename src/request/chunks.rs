//! Follows a chunked body as it comes, and finds what two parsers could read differently.

/// More digits would not be a size that anybody can hold.
const MOST_DIGITS: u8 = 16;

/// Says that chunks break the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are malformed")]
pub struct MalformedChunks;

/// Where in a chunked body a connection is.
///
/// Many parsers overlook a size without digits, line feeds in extensions and trailers that are none. A proxy in front that
/// reads those otherwise would take one request's body for the next request, or the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    state: ChunkState,
    /// Whether spaces may stand between a size and the end of its line, as some servers pad sizes.
    padded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// In spaces that only an extension may follow.
    Space { size: u64 },
    /// Before an extension, which must say something.
    Semicolon { size: u64 },
    /// In an extension.
    Extension { size: u64 },
    /// Before the line feed of a size's line.
    SizeEnd { size: u64 },
    /// In data, with so many bytes to come.
    Data { left: u64 },
    /// Before the line end behind data.
    DataEnd { feed: bool },
    /// At the beginning of a line behind the last chunk.
    Line,
    /// In the name of a trailer.
    Name,
    /// In the value of a trailer.
    Value,
    /// Before the line feed behind a trailer.
    LineEnd,
    /// Before the last line feed.
    LastFeed,
    /// Behind the body.
    Over,
}

impl Default for ChunkState {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// Begins with a body whose sizes may be padded with spaces.
    pub fn padded() -> Self {
        Self {
            padded: true,
            ..Self::default()
        }
    }

    /// Takes the next byte of what frames the data.
    pub fn frame(&mut self, byte: u8) -> Result<(), MalformedChunks> {
        self.state = match (self.state, byte) {
            (ChunkState::Space { size }, b'\r') if self.padded => ChunkState::SizeEnd { size },
            (state, _) => state.after(byte).ok_or(MalformedChunks)?,
        };
        Ok(())
    }

    /// Returns how many bytes of data follow.
    pub fn data_left(&self) -> u64 {
        let ChunkState::Data { left } = self.state else {
            return 0;
        };
        left
    }

    /// Takes the next bytes of the data, of which there are as many.
    pub fn take_data(&mut self, taken: u64) {
        self.state = match self.data_left().saturating_sub(taken) {
            0 => ChunkState::DataEnd { feed: false },
            left => ChunkState::Data { left },
        };
    }

    /// Returns whether the next byte belongs to the trailers, or to the empty line behind them.
    pub fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            ChunkState::Line
                | ChunkState::Name
                | ChunkState::Value
                | ChunkState::LineEnd
                | ChunkState::LastFeed
        )
    }

    /// Returns whether the whole body has come.
    pub fn is_over(&self) -> bool {
        self.state == ChunkState::Over
    }
}

impl ChunkState {
    /// Returns where a byte leads; `None` when it may not stand here.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                (digits < MOST_DIGITS).then_some(Self::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                })
            }
            (Self::Size { digits: 0, .. }, _) => None,
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => {
                Some(Self::SizeEnd { size })
            }
            (Self::Size { size, .. } | Self::Space { size }, b';') => {
                Some(Self::Semicolon { size })
            }
            (Self::Semicolon { size }, b' ' | b'\t') => Some(Self::Semicolon { size }),
            (Self::Semicolon { size }, _) if is_text(byte) => Some(Self::Extension { size }),
            (Self::Size { size, .. } | Self::Space { size }, b' ' | b'\t') => {
                Some(Self::Space { size })
            }
            (Self::Extension { size }, _) if is_text(byte) => Some(Self::Extension { size }),
            (Self::SizeEnd { size: 0 }, b'\n') | (Self::LineEnd, b'\n') => Some(Self::Line),
            (Self::SizeEnd { size }, b'\n') => Some(Self::Data { left: size }),
            (Self::DataEnd { feed: false }, b'\r') => Some(Self::DataEnd { feed: true }),
            (Self::DataEnd { feed: true }, b'\n') => Some(Self::default()),
            (Self::Line, b'\r') => Some(Self::LastFeed),
            (Self::LastFeed, b'\n') => Some(Self::Over),
            (Self::Line | Self::Name, _) if is_in_name(byte) => Some(Self::Name),
            (Self::Name, b':') => Some(Self::Value),
            (Self::Value, b'\r') => Some(Self::LineEnd),
            (Self::Value, _) if is_text(byte) => Some(Self::Value),
            _ => None,
        }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Follows a body as far as it goes.
    fn followed(body: &[u8]) -> Result<bool, MalformedChunks> {
        let mut chunks = Chunks::default();
        for &byte in body {
            if chunks.is_over() {
                break;
            }
            match chunks.data_left() {
                0 => chunks.frame(byte)?,
                _ => chunks.take_data(1),
            }
        }
        Ok(chunks.is_over())
    }

    #[test]
    fn chunks_by_the_grammar_pass() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\nGET / HTTP/1.1\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n0;last\r\n\r\n",
            "6;a=b;c=\"d e\"\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
            "5 ; a = b\r\nhello\r\n0\r\nX-A: b\r\nX-C:\r\n\r\n",
        ] {
            assert_eq!(followed(body.as_bytes()), Ok(true), "{body:?}");
        }
        for body in [
            "",
            "5",
            "5\r\nhel",
            "0\r\n",
            "0\r\nX: y\r\n",
            "ffffffffffffffff\r\nx",
        ] {
            assert_eq!(followed(body.as_bytes()), Ok(false), "{body:?}");
        }
    }

    #[test]
    fn chunks_with_two_readings_do_not() {
        for body in [
            "\r\n\r\n",
            ";a\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "00000000000000000\r\n\r\n",
            "5;\r\nhello\r\n0\r\n\r\n",
            "5; \r\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5;\0\r\nhello\r\n0\r\n\r\n",
            "5\nhello\n0\n\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0\n\n",
            "0\r\n\n",
            "0\r\n \r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\nX: a\r\n b\r\n\r\n",
            "0\r\nX: a\nY: b\r\n\r\n",
            "0\r\nX : a\r\n\r\n",
        ] {
            assert_eq!(followed(body.as_bytes()), Err(MalformedChunks), "{body:?}");
        }
    }

    #[test]
    fn only_a_padded_body_has_spaces_behind_its_sizes() {
        let mut padded = Chunks::padded();
        assert!(b"5  \r\n".iter().all(|byte| padded.frame(*byte).is_ok()));
        assert_eq!(padded.data_left(), 5);
        assert_eq!(followed(b"5  \r\n"), Err(MalformedChunks));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in "[0-9a-f;: \r\nx]{0,40}") {
            let _ = followed(body.as_bytes());
        }
    }
}
