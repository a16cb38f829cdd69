//! The seal key, and what is derived from it: the key for session_keys, for refresh tokens, and a proof of itself.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::OpenError;
use super::refresh_token::RefreshKey;
use crate::owner::only_ours;
use crate::secret::Secret;

const KEY_BYTES: usize = 32;
/// What is sealed is the text as it came.
const TEXT: u8 = 1;
/// What is sealed is what the text is the base64 of, as WeChat's session_keys are: a third of it saved.
const BASE64: u8 = 2;

/// The 32 bytes that everything secret in a store hangs on.
pub(super) struct SealKey(Zeroizing<[u8; KEY_BYTES]>);

/// The keys derived from a [`SealKey`].
pub(super) struct Keys {
    pub(super) refresh: RefreshKey,
    pub(super) sealer: Sealer,
    /// Seals what a code brought.
    pub(super) memos: Sealer,
    /// Seals what nodes keep beside the sessions.
    pub(super) kept: Sealer,
    /// Digests what that belongs to.
    pub(super) slots: hmac::Key,
    /// Seals what browsers keep.
    pub(super) browsers: Sealer,
    /// Digests codes.
    pub(super) codes: hmac::Key,
    /// Digests what is known of the clients that send codes.
    pub(super) senders: hmac::Key,
    /// Kept in the store, to tell a different seal key from damage.
    pub(super) check: [u8; 16],
}

impl SealKey {
    /// Reads a key as an operator writes it: 32 bytes in base64.
    pub(super) fn parse(text: &Secret) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.expose().trim()).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// Reads the key from its file; `None` when there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, OpenError> {
        let unreadable = |source| OpenError::unreadable(path, source);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let found = file.metadata().map_err(unreadable)?;
        only_ours(path, &found)?;
        let mode = found.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(OpenError::SealKeyExposed(path.to_owned()));
        }
        let mut text = Zeroizing::new(String::new());
        // A key has 44 characters: a larger file is something else, and is not read to its end.
        Read::by_ref(&mut file)
            .take(256)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        let key = Self::parse(&Secret::new(text.as_str()));
        key.map(Some)
            .ok_or_else(|| OpenError::SealKeyMalformed(path.to_owned()))
    }

    /// Makes the key's file; when another process was faster, its key is the one that counts.
    pub(super) fn create(folder: &Path, path: &Path) -> Result<Self, OpenError> {
        let unreadable = |source| OpenError::unreadable(path, source);
        let mut key = Self(Zeroizing::new([0; KEY_BYTES]));
        rand::fill(key.0.as_mut()).map_err(|_| unreadable(io::Error::other("no randomness")))?;
        let text = Zeroizing::new(STANDARD.encode(key.0.as_ref()));
        // Nobody ever sees a half-written key: the file gets its name when it is on the disk.
        let mut file = NamedTempFile::new_in(folder).map_err(unreadable)?;
        writeln!(file, "{}", text.as_str()).map_err(unreadable)?;
        file.as_file().sync_all().map_err(unreadable)?;
        match file.persist_noclobber(path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unreadable(error.error)),
        }
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(unreadable)?;
        Self::read(path)?.ok_or_else(|| OpenError::SealKeyMissing(path.to_owned()))
    }

    pub(super) fn derive(&self) -> Result<Keys, Unspecified> {
        let root =
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"menshen session store").extract(self.0.as_ref());
        let tag = root.expand(&[b"tag of a refresh token"], hmac::HMAC_SHA256)?;
        let next = root.expand(&[b"successor of a refresh token"], hmac::HMAC_SHA256)?;
        let codes = root.expand(&[b"code"], hmac::HMAC_SHA256)?;
        let senders = root.expand(&[b"sender of a code"], hmac::HMAC_SHA256)?;
        let slots = root.expand(&[b"slot"], hmac::HMAC_SHA256)?;
        let mut check = [0; 16];
        root.expand(&[b"check"], CheckLength)?.fill(&mut check)?;
        Ok(Keys {
            refresh: RefreshKey::new(tag.into(), next.into()),
            sealer: Sealer::derive(&root, b"session_key")?,
            memos: Sealer::derive(&root, b"what a code brought")?,
            kept: Sealer::derive(&root, b"what nodes keep")?,
            slots: slots.into(),
            browsers: Sealer::derive(&root, b"what a browser keeps")?,
            codes: codes.into(),
            senders: senders.into(),
            check,
        })
    }
}

struct CheckLength;

impl hkdf::KeyType for CheckLength {
    fn len(&self) -> usize {
        16
    }
}

/// Encrypts what nobody may read in a store, each text bound to what it belongs to.
///
/// The same text of the same owner is sealed to the same bytes, so that a store knows whether a session_key is another one.
/// AES-GCM-SIV is made for that: under a repeated nonce it shows that two texts are equal, and nothing else (RFC 8452).
pub(super) struct Sealer(LessSafeKey);

/// The one nonce of every text.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

impl Sealer {
    fn derive(root: &hkdf::Prk, purpose: &[u8]) -> Result<Self, Unspecified> {
        let purpose = [purpose];
        let key = root.expand(&purpose, &AES_256_GCM_SIV)?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// Seals a text.
    pub(super) fn seal(&self, owner: &[u8], text: &Secret) -> Result<Vec<u8>, Unspecified> {
        let text = text.expose().as_bytes();
        let (form, mut body) = match STANDARD.decode(text) {
            Ok(bytes) => (BASE64, Zeroizing::new(bytes)),
            Err(_) => (TEXT, Zeroizing::new(text.to_vec())),
        };
        let tag = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(NONCE),
            Aad::from([owner, &[form]].concat()),
            body.as_mut_slice(),
        )?;
        let mut sealed = Vec::with_capacity(1 + body.len() + self.0.algorithm().tag_len());
        sealed.push(form);
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what [`Sealer::seal`] made; `None` when it is damaged or belongs to somebody else.
    pub(super) fn open(&self, owner: &[u8], sealed: &[u8]) -> Option<Secret> {
        let (form, body) = sealed.split_first()?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let bound_to = Aad::from([owner, &[*form]].concat());
        let plain = self.0.open_in_place(nonce, bound_to, &mut body).ok()?;
        match *form {
            TEXT => Some(Secret::new(std::str::from_utf8(plain).ok()?)),
            BASE64 => Some(Secret::new(STANDARD.encode(plain))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(seed: u8) -> Keys {
        SealKey(Zeroizing::new([seed; 32])).derive().unwrap()
    }

    #[test]
    fn a_sealed_text_opens_for_its_owner_only() {
        let sealer = keys(1).sealer;
        let sealed = sealer.seal(b"wx1\0alice", &Secret::new("key")).unwrap();
        let opened = sealer.open(b"wx1\0alice", &sealed).unwrap();
        assert_eq!(opened.expose(), "key");
        assert!(sealer.open(b"wx1\0bob", &sealed).is_none());
        assert!(keys(2).sealer.open(b"wx1\0alice", &sealed).is_none());
    }

    #[test]
    fn a_text_in_base64_is_sealed_in_fewer_bytes_and_opens_as_it_was() {
        let sealer = keys(1).sealer;
        // The last two are not written as the encoder would write them.
        for text in ["HyVFkGl5F5OQWJZZaNzBBg==", "HyVFkGl5F5OQWJZZaNzBBg", "QR=="] {
            let sealed = sealer.seal(b"a", &Secret::new(text)).unwrap();
            assert_eq!(sealer.open(b"a", &sealed).unwrap().expose(), text);
            let body = if text.len() == 24 { 16 } else { text.len() };
            assert_eq!(sealed.len(), 1 + body + 16);
        }
    }

    #[test]
    fn what_was_sealed_in_one_form_does_not_open_in_the_other() {
        let sealer = keys(1).sealer;
        for (text, other) in [("text!", BASE64), ("YWJj", TEXT)] {
            let mut sealed = sealer.seal(b"a", &Secret::new(text)).unwrap();
            sealed[0] = other;
            assert!(sealer.open(b"a", &sealed).is_none());
        }
    }

    #[test]
    fn only_the_same_text_of_the_same_owner_is_sealed_to_the_same_bytes() {
        let sealer = keys(1).sealer;
        let seal = |owner: &[u8], text: &str| sealer.seal(owner, &Secret::new(text)).unwrap();
        assert_eq!(seal(b"a", "key"), seal(b"a", "key"));
        // The tag, which is all that two texts under one key could have in common.
        let tag = |sealed: Vec<u8>| sealed[sealed.len() - 16..].to_vec();
        let one = tag(seal(b"a", "key"));
        for other in [seal(b"a", "kez"), seal(b"b", "key"), seal(b"ak", "ey")] {
            assert_ne!(tag(other), one);
        }
        let under_another = keys(2).sealer.seal(b"a", &Secret::new("key")).unwrap();
        assert_ne!(tag(under_another), one);
    }

    #[test]
    fn different_seal_keys_have_different_checks() {
        assert_eq!(keys(1).check, keys(1).check);
        assert_ne!(keys(1).check, keys(2).check);
    }

    #[test]
    fn a_made_key_is_for_its_owner_alone_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        let made = SealKey::create(folder.path(), &path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = SealKey::read(&path).unwrap().unwrap();
        assert_eq!(made.0, read.0);
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        SealKey::create(folder.path(), &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            SealKey::read(&path),
            Err(OpenError::SealKeyExposed(_))
        ));
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        for text in ["", "c2hvcnQ=", "not base64", &STANDARD.encode([0; 33])] {
            assert!(SealKey::parse(&Secret::new(text)).is_none(), "{text}");
        }
        let spaced = format!(" {}\n", STANDARD.encode([0; 32]));
        assert!(SealKey::parse(&Secret::new(spaced)).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_opening_panic(bytes: Vec<u8>) {
            prop_assert!(keys(1).sealer.open(b"a", &bytes).is_none());
        }
    }
}
