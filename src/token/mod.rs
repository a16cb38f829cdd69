//! The JWT: the keys that sign it, how it is issued, and the one place where it is verified.

mod assertion;
mod cache;
mod claims;
mod issue;
mod key_files;
mod keys;
mod kid;
mod raw;
mod relay;
mod signed_url;
mod verify;

pub use assertion::Assertions;
pub use cache::{CacheUses, NoRandomness, Recalled, Tokens, Unseen};
pub use claims::Claims;
pub use issue::{IssueError, Issued, Issuer};
pub use key_files::{
    KeyFile, KeyFileError, list, load, load_or_make, make, retire, signing, verify_files,
};
pub use keys::{KeyRing, SigningKey};
pub use kid::{Signs, VERIFIES_FIRST};
pub use raw::RawToken;
pub use relay::{RelayHeader, RelayHeaders, RelayTokenError, RelayTokens};
pub use signed_url::{SignedUrl, UrlUser};
pub use verify::{TokenError, Verified, Verifier};
