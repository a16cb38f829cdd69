//! Hashing that is the same on every node, for rendezvous hashing.

/// Digests what is hashed consistently (FNV-1a). It must be the same on every node and in every version.
pub(super) fn key(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Spreads every bit over all others, which FNV does badly for the last bytes.
pub(super) fn mix(mut bits: u64) -> u64 {
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        bits = (bits ^ (bits >> 30)).wrapping_mul(factor);
    }
    bits ^ (bits >> 31)
}
