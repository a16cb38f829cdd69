//! Who sent a code: known by a digest of the client's nonce or, without a nonce, of its address.

use std::net::IpAddr;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use subtle::ConstantTimeEq;

use super::CodeMark;

type Digest = [u8; 16];

/// The client that sends a code now.
#[derive(Clone, Debug)]
pub struct Sender {
    nonce: Option<Digest>,
    address: Digest,
}

/// What is kept of the client that sent a code first, so that nobody else gets the session.
#[derive(Clone, Copy, Debug)]
pub struct SenderMark {
    kind: Kind,
    digest: Digest,
}

/// By what a client proves to be the first sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nonce,
    Address,
}

impl Sender {
    /// Digests what is known of a client, under a key that all nodes of one store share.
    ///
    /// The digests are different for each code, so that nobody can tell by them which codes came from one address.
    pub(super) fn new(
        key: &hmac::Key,
        code: CodeMark,
        nonce: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Self, Unspecified> {
        let digest = |kind: Kind, text: &[u8]| {
            let mut context = hmac::Context::with_key(key);
            context.update(&[kind.byte()]);
            context.update(code.as_bytes());
            context.update(text);
            context.sign()
        };
        let address = match address {
            Some(IpAddr::V4(address)) => first_half(&digest(Kind::Address, &address.octets())),
            Some(IpAddr::V6(address)) => first_half(&digest(Kind::Address, &address.octets())),
            None => {
                // Equals no other client's.
                let mut unknown = Digest::default();
                rand::fill(&mut unknown)?;
                unknown
            }
        };
        Ok(Self {
            nonce: nonce.map(|nonce| first_half(&digest(Kind::Nonce, nonce.as_bytes()))),
            address,
        })
    }

    /// Returns what is to be kept of this client where it is the first.
    pub fn mark(&self) -> SenderMark {
        match self.nonce {
            Some(digest) => SenderMark {
                kind: Kind::Nonce,
                digest,
            },
            None => SenderMark {
                kind: Kind::Address,
                digest: self.address,
            },
        }
    }

    /// Returns whether this client proves to be the first one. Where that one sent a nonce, an address is no proof.
    pub fn is(&self, first: &SenderMark) -> bool {
        let digest = match first.kind {
            Kind::Nonce => self.nonce.as_ref(),
            Kind::Address => Some(&self.address),
        };
        digest.is_some_and(|digest| digest.ct_eq(&first.digest).into())
    }
}

impl SenderMark {
    /// How many bytes it has where it is stored.
    pub(super) const BYTES: usize = 17;

    /// Returns whether a nonce is asked for, which nobody else knows, and not only an address, which many may share.
    pub fn is_nonce(&self) -> bool {
        self.kind == Kind::Nonce
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [self.kind.byte(); Self::BYTES];
        for (to, from) in bytes.iter_mut().skip(1).zip(self.digest) {
            *to = from;
        }
        bytes
    }

    pub(super) fn from_bytes([kind, digest @ ..]: [u8; Self::BYTES]) -> Option<Self> {
        let kinds = [Kind::Nonce, Kind::Address];
        let kind = kinds.into_iter().find(|known| known.byte() == kind)?;
        Some(Self { kind, digest })
    }
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Nonce => b'n',
            Self::Address => b'a',
        }
    }
}

fn first_half(tag: &hmac::Tag) -> Digest {
    let mut digest = Digest::default();
    for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(nonce: Option<&str>, address: Option<&str>) -> Sender {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let address = address.map(|address| address.parse().unwrap());
        Sender::new(&key, CodeMark::of_nothing(), nonce, address).unwrap()
    }

    #[test]
    fn a_nonce_is_asked_for_where_the_first_try_had_one() {
        let first = sender(Some("one"), Some("192.0.2.1")).mark();
        assert!(first.is_nonce());
        assert!(sender(Some("one"), Some("192.0.2.2")).is(&first));
        assert!(sender(Some("one"), None).is(&first));
        assert!(!sender(Some("two"), Some("192.0.2.1")).is(&first));
        assert!(!sender(None, Some("192.0.2.1")).is(&first));
    }

    #[test]
    fn the_address_is_asked_for_where_the_first_try_had_no_nonce() {
        let first = sender(None, Some("192.0.2.1")).mark();
        assert!(!first.is_nonce());
        assert!(sender(None, Some("192.0.2.1")).is(&first));
        assert!(sender(Some("one"), Some("192.0.2.1")).is(&first));
        assert!(!sender(Some("192.0.2.1"), Some("192.0.2.2")).is(&first));
        assert!(!sender(None, None).is(&first));
    }

    #[test]
    fn a_client_without_an_address_is_nobody_but_itself() {
        let unknown = sender(None, None);
        assert!(unknown.is(&unknown.mark()));
        assert!(!sender(None, None).is(&unknown.mark()));
    }

    #[test]
    fn the_digests_of_one_client_differ_from_code_to_code_and_from_key_to_key() {
        let address = Some("192.0.2.1".parse().unwrap());
        let [key, other] = [1, 2].map(|seed| hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]));
        let [code, next] = ["0a", "0b"].map(|code| CodeMark::new(&key, "wx1", code));
        let first = Sender::new(&key, code, Some("n"), address).unwrap();
        for later in [
            Sender::new(&key, next, Some("n"), address).unwrap(),
            Sender::new(&other, code, Some("n"), address).unwrap(),
        ] {
            assert!(!later.is(&first.mark()));
            assert_ne!(later.address, first.address);
        }
    }

    #[test]
    fn a_mark_survives_its_bytes() {
        let nobody = sender(Some("one"), None).mark();
        for sender in [sender(Some("one"), None), sender(None, Some("2001:db8::"))] {
            let mark = SenderMark::from_bytes(sender.mark().to_bytes()).unwrap();
            assert!(sender.is(&mark));
            assert_eq!(mark.is_nonce(), sender.is(&nobody));
        }
        assert!(SenderMark::from_bytes([0; SenderMark::BYTES]).is_none());
    }
}
