//! Reads `[token]`, how tokens are signed.

use std::time::Duration;

use super::kind::{Kind, TEXT};
use super::model::{Algorithm, Token};
use super::reader::Table;
use super::unit::duration;

const ALGORITHM: Kind<Algorithm> = Kind {
    expected: "\"ES256\", \"EdDSA\", \"RS256\" or \"HS256\"",
    read: |value| match value.as_str()? {
        "ES256" => Some(Algorithm::Es256),
        "EdDSA" => Some(Algorithm::EdDsa),
        "RS256" => Some(Algorithm::Rs256),
        "HS256" => Some(Algorithm::Hs256),
        _ => None,
    },
};

// Longer than a week is what sessions and refreshing are for: a token outlives a lost revocation by this much.
const TTL: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"2h\", from 1s to 7d",
    read: |value| {
        let allowed = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);
        duration(value).filter(|ttl| allowed.contains(ttl))
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Token> {
    let algorithm = table.or("algorithm", r#""ES256""#, &ALGORITHM);
    let ttl = table.or("ttl", r#""2h""#, &TTL);
    let issuer = table.or("issuer", r#""menshen""#, &TEXT);
    let keys_dir = table.or("keys_dir", r#""keys""#, &TEXT);
    Some(Token {
        algorithm: algorithm?,
        ttl: ttl?,
        issuer: issuer?,
        keys_dir: table.located(keys_dir?),
    })
}
