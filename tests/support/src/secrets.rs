//! What must not be told, and whether somebody told it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

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

    /// Adds the session_keys and access_tokens in what WeChat answered, and returns how many session_keys there were.
    pub fn add_keys_of_wechat(&mut self, answers: &[String]) -> usize {
        let mut found = 0;
        let keys = answers
            .iter()
            .flat_map(|answer| answer.split("\"session_key\":\"").skip(1));
        for rest in keys {
            let written = rest.split('"').next().expect("there is a first part");
            self.add("a session_key", written);
            // A truncated one is no base64.
            if let Ok(bytes) = STANDARD.decode(written.replace("\\/", "/")) {
                self.add_bytes("a session_key", &bytes);
                found += 1;
            }
        }
        let tokens = answers
            .iter()
            .flat_map(|answer| answer.split("\"access_token\":\"").skip(1));
        for rest in tokens {
            let token = rest.split('"').next().expect("there is a first part");
            self.add("an access_token", token);
        }
        found
    }

    /// Adds the seal key and the signing key of a gateway that ran in a folder.
    pub fn add_keys(&mut self, folder: &Path) {
        let seal = fs::read_to_string(folder.join("data/seal.key")).expect("a seal key");
        let seal = STANDARD.decode(seal.trim()).expect("is base64");
        self.add_bytes("the seal key", &seal);
        let mut keys = fs::read_dir(folder.join("keys")).expect("keys");
        let key = keys
            .find_map(|entry| {
                let path = entry.expect("an entry").path();
                Some(path).filter(|path| path.extension().is_some())
            })
            .expect("a key");
        let pem = fs::read_to_string(key).expect("a key");
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(&text).expect("is base64");
        // RFC 5915: the private key is the octet string behind the version.
        let version = [2, 1, 1, 4, 32];
        let at = der
            .windows(version.len())
            .position(|window| window == version);
        let private = at.expect("an ES256 key") + version.len();
        self.add_bytes("the signing key", &der[private..private + 32]);
        self.add("the signing key", &text[48..96]);
    }

    /// Returns what `place` tells of the secrets that are `wanted`, with what stands around it.
    pub fn told_in(&self, place: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut pieces: HashMap<&[u8], usize> = HashMap::new();
        let mut lengths = vec![PIECE];
        for (number, (what, secret)) in self.0.iter().enumerate() {
            if wanted(what) && !secret.is_empty() {
                let length = PIECE.min(secret.len());
                pieces.extend(secret.chunks_exact(length).map(|piece| (piece, number)));
                lengths.push(length);
            }
        }
        lengths.sort();
        lengths.dedup();
        // The place is gone through once for each length, however many secrets there are.
        let mut told: HashMap<usize, usize> = HashMap::new();
        for length in lengths {
            for (at, window) in place.windows(length).enumerate() {
                if let Some(number) = pieces.get(window) {
                    told.entry(*number).or_insert(at);
                }
            }
        }
        let mut told: Vec<(usize, usize)> = told.into_iter().collect();
        told.sort();
        told.into_iter()
            .map(|(number, at)| {
                let around = &place[at.saturating_sub(300)..place.len().min(at + 300)];
                format!("{}: {}", self.0[number].0, around.escape_ascii())
            })
            .collect()
    }
}
