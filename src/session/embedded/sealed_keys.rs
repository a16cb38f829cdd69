//! The bytes in which a user's session_keys are stored.

use crate::session::encoding::{Damaged, Rest, put_number};
use crate::session::store::SealedKeys;

pub(super) fn to_bytes(keys: &SealedKeys) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    put_number(&mut out, keys.latest.len() as u64);
    out.extend_from_slice(&keys.latest);
    if let Some((previous, replaced)) = &keys.previous {
        put_number(&mut out, *replaced);
        out.extend_from_slice(previous);
    }
    out
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<SealedKeys, Damaged> {
    let mut rest = Rest(bytes);
    let length = usize::try_from(rest.number()?).map_err(|_| Damaged)?;
    let (latest, after) = rest.0.split_at_checked(length).ok_or(Damaged)?;
    let mut rest = Rest(after);
    let previous = if after.is_empty() {
        None
    } else {
        let replaced = rest.number()?;
        Some((rest.0.to_vec(), replaced))
    };
    Ok(SealedKeys {
        latest: latest.to_vec(),
        previous,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn session_keys_survive_their_bytes(
            latest: Vec<u8>,
            previous in proptest::option::of(any::<(Vec<u8>, u64)>()),
        ) {
            let keys = SealedKeys { latest, previous };
            prop_assert_eq!(from_bytes(&to_bytes(&keys)), Ok(keys));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = from_bytes(&bytes);
        }
    }
}
