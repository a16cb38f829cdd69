//! What must not be told, and whether somebody told it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// As many characters of a secret count as the secret.
const PIECE: usize = 16;

/// Everything that must not be told, by what it is.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    /// Adds a secret.
    pub fn add(&mut self, what: &'static str, secret: impl Into<Vec<u8>>) {
        self.0.push((what, secret.into()));
    }

    /// Adds bytes in every form in which they are written down.
    pub fn add_bytes(&mut self, what: &'static str, bytes: &[u8]) {
        self.add(what, bytes);
        self.add(what, STANDARD.encode(bytes));
        self.add(what, URL_SAFE_NO_PAD.encode(bytes));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(what, hex);
    }

    /// Adds what is a token's own.
    pub fn add_token(&mut self, token: &str) {
        // What stands before it, the algorithm and the key's id, is the same for everybody.
        for part in token.split('.').skip(1) {
            self.add("a token", part);
        }
    }

    /// Adds what is a refresh token's own.
    pub fn add_refresh_token(&mut self, token: &str) {
        let bytes = URL_SAFE_NO_PAD.decode(token).expect("is base64");
        // The session's id stands before it.
        self.add_bytes("a refresh token", &bytes[20..]);
        self.add("a refresh token", &token[28..]);
    }

    /// Returns what `place` tells of the secrets that are `wanted`, with what stands around it.
    pub fn told_in(&self, place: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let place = text(place);
        let wanted = self.0.iter().filter(|(what, _)| wanted(what));
        let told = wanted.filter_map(|(what, secret)| {
            let mut pieces = secret.chunks_exact(PIECE.min(secret.len()));
            let at = pieces.find_map(|piece| place.find(&text(piece)))?;
            let before = place[..at].chars().count().saturating_sub(300);
            let around: String = place.chars().skip(before).take(600).collect();
            Some(format!("{what}: {}", around.escape_debug()))
        });
        told.collect()
    }
}

/// Makes a character of each byte, as texts are searched much faster than bytes.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
