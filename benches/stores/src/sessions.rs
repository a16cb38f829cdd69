//! What each database is asked to do, and what a session is: as many bytes as the real one, random where that has digests.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::Outcome;

pub const FIRST_SECOND: u64 = 1_800_000_000;
pub const TTL_SECS: u64 = 30 * 24 * 3600;
pub const CACHE_BYTES: usize = 64 << 20;
/// How many expired sessions a commit removes at most.
pub const PURGE_STEP: usize = 64;
/// How many were removed so far.
pub static EXPIRED: AtomicU64 = AtomicU64::new(0);

/// Eight bytes of the user, four of the time, four of chance.
pub type Key = [u8; 16];

/// A row: when it expires, who it is, ciphertext, and the refresh token's digest.
pub type Row = [u8; 152];

/// A session to be stored.
pub struct Login {
    pub key: Key,
    pub row: Row,
}

/// What a client waits for.
pub enum Order {
    LogIn(Login),
    Refresh(Key),
}

pub trait Store: Sized + Sync {
    fn open(folder: &Path) -> Outcome<Self>;

    /// Looks whether all of the file is as it was written, where opening it does not.
    fn check(&self) -> Outcome<()> {
        Ok(())
    }

    /// Carries out all of them, and removes some sessions that have expired. What was done survives a loss of power.
    ///
    /// A login reads its user's newest session; a refresh reads its session, and leaves to the purge that it expires later.
    fn write(&self, now: u64, orders: &[Order]) -> Outcome<()>;
}

/// Returns the key of a user's first session; users come in no order.
pub fn key(user: u64) -> Key {
    user_key(user, FIRST_SECOND + user / 1000, user as u32)
}

pub fn user_key(user: u64, time: u64, chance: u32) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&user.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..12].copy_from_slice(&(time as u32).to_be_bytes());
    key[12..].copy_from_slice(&chance.to_be_bytes());
    key
}

pub fn login(key: Key, now: u64) -> Login {
    let mut row = [b'a'; 152];
    // App and appid are the same for all.
    fastrand::fill(&mut row[36..]);
    row[..8].copy_from_slice(&(now + TTL_SECS).to_be_bytes());
    Login { key, row }
}

/// Reads when a row expires.
pub fn expiry(row: &[u8]) -> u64 {
    row.first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Makes of a row the one after a refresh.
pub fn refreshed(row: &[u8], now: u64) -> Outcome<Row> {
    let mut row: Row = row.try_into()?;
    row[..8].copy_from_slice(&(now + TTL_SECS).to_be_bytes());
    fastrand::fill(&mut row[136..]);
    Ok(row)
}

/// The key that orders sessions by when they expire.
pub fn expiry_key(expires: u64, key: Key) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(&expires.to_be_bytes());
    out[8..].copy_from_slice(&key);
    out
}

/// The inverse of [`expiry_key`], without the time.
pub fn key_of(expiry_key: &[u8; 24]) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&expiry_key[8..]);
    key
}

/// The least and the greatest key that a session of the same user can have.
pub fn range_of(key: Key) -> (Key, Key) {
    let (mut least, mut greatest) = (key, key);
    least[8..].fill(0);
    greatest[8..].fill(255);
    (least, greatest)
}

/// How long clients waited.
pub struct Times(pub Vec<Duration>);

impl Times {
    pub fn say(&mut self) -> String {
        self.0.sort_unstable();
        let at = |percent: usize| {
            let found = self.0.get(self.0.len().saturating_sub(1) * percent / 100);
            found.copied().unwrap_or_default()
        };
        format!(
            "{:.2?} at the median, {:.2?} at p99, {:.2?} at most",
            at(50),
            at(99),
            at(100)
        )
    }
}

/// What this process has used so far, whatever else the machine does.
pub struct Used {
    cpu_ticks: u64,
    written: u64,
}

impl Used {
    pub fn so_far() -> Outcome<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // Behind the program's name: user and system time are fields 14 and 15 of all.
        let fields = stat.rsplit_once(") ").ok_or("no stat")?.1.split(' ');
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>);
        let io = std::fs::read_to_string("/proc/self/io")?;
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(Self {
            cpu_ticks: ticks.sum::<Result<u64, _>>()?,
            written: line.ok_or("no io")?.parse()?,
        })
    }

    /// Says how much was used since, for each of what was done.
    pub fn say_each(&self, count: u64) -> Outcome<String> {
        let now = Self::so_far()?;
        let cpu_us = (now.cpu_ticks - self.cpu_ticks) * 10_000 / count;
        let written = (now.written - self.written) / count;
        Ok(format!(
            "{cpu_us} µs of CPU and {written} bytes written each"
        ))
    }
}
