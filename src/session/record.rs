//! The bytes in which a session is stored.

use super::encoding::{Damaged, Rest, put_number, put_text};
use super::rotation::{REMEMBERED, Rotation};
use super::{Identity, Source};

const VERSION: u8 = 1;

/// A session as it is stored, without its id, which is its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) identity: Identity,
    pub(super) created: u64,
    pub(super) expires: u64,
    pub(super) rotation: Rotation,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        out.push(VERSION);
        put_identity(&mut out, &self.identity);
        put_number(&mut out, self.created);
        put_number(&mut out, self.expires);
        put_number(&mut out, self.rotation.generation.into());
        out.extend_from_slice(&self.rotation.current);
        put_number(&mut out, self.rotation.replaced.len() as u64);
        for time in &self.rotation.replaced {
            // They lie after the login, unless a clock was set back.
            put_number(&mut out, time.wrapping_sub(self.created));
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut rest = Rest(bytes);
        if rest.byte()? != VERSION {
            return Err(Damaged);
        }
        let (identity, created, expires) =
            (take_identity(&mut rest)?, rest.number()?, rest.number()?);
        let generation = u32::try_from(rest.number()?).map_err(|_| Damaged)?;
        let current = *rest.take()?;
        let remembered = rest.number()?;
        if remembered > REMEMBERED as u64 {
            return Err(Damaged);
        }
        let replaced = (0..remembered).map(|_| Ok(created.wrapping_add(rest.number()?)));
        let rotation = Rotation {
            generation,
            current,
            replaced: replaced.collect::<Result<_, _>>()?,
        };
        rest.end()?;
        Ok(Self {
            identity,
            created,
            expires,
            rotation,
        })
    }
}

/// Writes an identity alone.
pub(super) fn identity_bytes(identity: &Identity) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_identity(&mut out, identity);
    out
}

/// Writes what the identities of all users of an app begin with, and no others.
pub(super) fn identity_beginning(app: &str, appid: &str) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_app(&mut out, app, appid);
    out
}

/// Reads what [`identity_bytes`] wrote.
pub(super) fn identity_from(bytes: &[u8]) -> Result<Identity, Damaged> {
    let mut rest = Rest(bytes);
    if rest.byte()? != VERSION {
        return Err(Damaged);
    }
    let identity = take_identity(&mut rest)?;
    rest.end()?;
    Ok(identity)
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    put_app(out, &identity.app, &identity.appid);
    out.push(match identity.source {
        Source::MiniProgram => 1,
        Source::OfficialAccount => 2,
        Source::Website => 3,
    });
    put_text(out, &identity.openid);
    // No identity has an empty unionid, so the empty text is free to mean none.
    put_text(out, identity.unionid.as_deref().unwrap_or(""));
}

fn put_app(out: &mut Vec<u8>, app: &str, appid: &str) {
    put_text(out, app);
    put_text(out, appid);
}

fn take_identity(rest: &mut Rest<'_>) -> Result<Identity, Damaged> {
    Ok(Identity {
        app: rest.text()?,
        appid: rest.text()?,
        source: match rest.byte()? {
            1 => Source::MiniProgram,
            2 => Source::OfficialAccount,
            3 => Source::Website,
            _ => return Err(Damaged),
        },
        openid: rest.text()?,
        unionid: Some(rest.text()?).filter(|text| !text.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let text = "\\PC{1,40}";
        (
            (text, text, text, proptest::option::of(text)),
            (any::<u64>(), any::<u64>(), rotations()),
        )
            .prop_map(
                |((app, appid, openid, unionid), (created, expires, rotation))| Record {
                    identity: Identity {
                        app,
                        appid,
                        openid,
                        unionid,
                        source: Source::MiniProgram,
                    },
                    created,
                    expires,
                    rotation,
                },
            )
    }

    fn rotations() -> impl Strategy<Value = Rotation> {
        let replaced = proptest::collection::vec(any::<u64>(), 0..=REMEMBERED);
        (any::<u32>(), any::<[u8; 16]>(), replaced).prop_map(|(generation, current, replaced)| {
            Rotation {
                generation,
                current,
                replaced,
            }
        })
    }

    proptest! {
        #[test]
        fn a_record_survives_its_bytes(record in records()) {
            prop_assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        }

        #[test]
        fn an_identity_survives_its_bytes(record in records()) {
            let bytes = identity_bytes(&record.identity);
            prop_assert_eq!(identity_from(&bytes), Ok(record.identity));
        }

        #[test]
        fn an_identity_begins_with_its_app_and_with_no_other(record in records(), other in "\\PC{0,3}") {
            let Identity { app, appid, .. } = &record.identity;
            let bytes = identity_bytes(&record.identity);
            prop_assert!(bytes.starts_with(&identity_beginning(app, appid)));
            let others = [
                identity_beginning(&format!("{app}{appid}"), ""),
                identity_beginning(app, &format!("{appid}{other}+")),
                identity_beginning(&format!("{app}{other}+"), appid),
            ];
            prop_assert!(!others.iter().any(|other| bytes.starts_with(other)));
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
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, version in 0_u8..3, length in 0_u8..3) {
            let _ = Record::from_bytes(&bytes);
            let _ = identity_from(&bytes);
            let mut headed = vec![version, length];
            headed.extend(bytes);
            let _ = Record::from_bytes(&headed);
        }
    }
}
