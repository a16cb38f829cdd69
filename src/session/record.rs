//! The bytes in which a session is stored.

use super::refresh_token::Fingerprint;
use super::{Identity, LONGEST_TEXT, Source};

const VERSION: u8 = 1;

/// A session as it is stored, without its id, which is its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) identity: Identity,
    pub(super) created: u64,
    pub(super) expires: u64,
    /// When the current refresh token replaced the one before it.
    pub(super) rotated: u64,
    /// The current refresh token. The one before it needs no place here: it is known by its
    /// successor, which is the current one.
    pub(super) current: Fingerprint,
}

/// Says that stored bytes are not what [`Record::to_bytes`] writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        out.push(VERSION);
        out.push(match self.identity.source {
            Source::MiniProgram => 1,
        });
        put_text(&mut out, &self.identity.app);
        put_text(&mut out, &self.identity.appid);
        put_text(&mut out, &self.identity.openid);
        // No identity has an empty unionid, so the empty text is free to mean none.
        put_text(&mut out, self.identity.unionid.as_deref().unwrap_or(""));
        put_number(&mut out, self.created);
        put_number(&mut out, self.expires);
        put_number(&mut out, self.rotated);
        out.extend_from_slice(&self.current);
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut rest = Rest(bytes);
        if rest.byte()? != VERSION {
            return Err(Damaged);
        }
        let source = match rest.byte()? {
            1 => Source::MiniProgram,
            _ => return Err(Damaged),
        };
        let identity = Identity {
            app: rest.text()?,
            appid: rest.text()?,
            openid: rest.text()?,
            unionid: Some(rest.text()?).filter(|text| !text.is_empty()),
            source,
        };
        let record = Self {
            identity,
            created: rest.number()?,
            expires: rest.number()?,
            rotated: rest.number()?,
            current: *rest.take()?,
        };
        if rest.0.is_empty() {
            Ok(record)
        } else {
            Err(Damaged)
        }
    }
}

/// Appends seven bits a byte, lowest first; the high bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        let [byte] = self.take()?;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(Damaged);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    fn text(&mut self) -> Result<String, Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if length > LONGEST_TEXT {
            return Err(Damaged);
        }
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let text = "\\PC{1,40}";
        (
            (text, text, text, proptest::option::of(text)),
            (any::<u64>(), any::<u64>(), any::<u64>(), any::<[u8; 32]>()),
        )
            .prop_map(
                |((app, appid, openid, unionid), (created, expires, rotated, current))| Record {
                    identity: Identity {
                        app,
                        appid,
                        openid,
                        unionid,
                        source: Source::MiniProgram,
                    },
                    created,
                    expires,
                    rotated,
                    current,
                },
            )
    }

    proptest! {
        #[test]
        fn a_record_survives_its_bytes(record in records()) {
            prop_assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        }

        #[test]
        fn a_truncated_record_is_damaged(record in records(), cut in 1_usize..60) {
            let bytes = record.to_bytes();
            let kept = &bytes[..bytes.len().saturating_sub(cut)];
            prop_assert_eq!(Record::from_bytes(kept), Err(Damaged));
        }

        #[test]
        fn bytes_after_a_record_are_damage(record in records(), more in any::<u8>()) {
            let mut bytes = record.to_bytes();
            bytes.push(more);
            prop_assert_eq!(Record::from_bytes(&bytes), Err(Damaged));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, version in 0_u8..3, source in 0_u8..3) {
            let _ = Record::from_bytes(&bytes);
            let mut headed = vec![version, source];
            headed.extend(bytes);
            let _ = Record::from_bytes(&headed);
        }
    }
}
