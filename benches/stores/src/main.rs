//! Compares embedded databases at the work of the session store: `cargo run --release -- redb` or `fjall`.
//!
//! Both get the same two tables, keys and sizes of values, and make many logins durable with one sync.

use std::error::Error;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Builder, Database, Durability, ReadableTable as _, TableDefinition};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MANY: usize = 1_000_000;
const FEW: usize = 64 * 1500;
/// When a session expires that was refreshed.
const LATER: u64 = 1_900_000_000;
const CACHE_BYTES: usize = 64 << 20;

/// What a login writes under the next number: mostly random bytes, since it is digests, ids and ciphertext.
struct Login {
    number: u64,
    expires: u64,
    row: [u8; 170],
}

impl Login {
    fn new(number: u64) -> Self {
        let mut login = Self {
            number,
            expires: expiry(number),
            row: random(),
        };
        // Of all of them the same: what compresses.
        login.row[..36].fill(b'a');
        login
    }
}

/// Says when the session of a login expires: as many in a second as a busy machine gets.
fn expiry(number: u64) -> u64 {
    1_800_000_000 + number / 1000
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fastrand::fill(&mut bytes);
    bytes
}

trait Store: Sized {
    fn open(folder: &Path) -> Outcome<Self>;
    /// Stores all of them, and returns when they survive a loss of power.
    fn log_in(&self, logins: &[Login]) -> Outcome<()>;
    /// Changes the rows of sessions that are stored and when they expire, as durably.
    fn refresh(&self, numbers: &[u64]) -> Outcome<()>;
}

const SESSIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("sessions");
const EXPIRIES: TableDefinition<(u64, u64), ()> = TableDefinition::new("expiries");

struct Redb(Database);

impl Store for Redb {
    fn open(folder: &Path) -> Outcome<Self> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_check_integrity_on_open(true);
        Ok(Self(builder.create(folder.join("file"))?))
    }

    fn log_in(&self, logins: &[Login]) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            let mut expiries = transaction.open_table(EXPIRIES)?;
            for login in logins {
                sessions.insert(login.number, login.row.as_slice())?;
                expiries.insert((login.expires, login.number), ())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn refresh(&self, numbers: &[u64]) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            let mut expiries = transaction.open_table(EXPIRIES)?;
            for &number in numbers {
                let mut row = sessions
                    .get(number)?
                    .ok_or("no such session")?
                    .value()
                    .to_vec();
                refreshed(&mut row);
                sessions.insert(number, row.as_slice())?;
                expiries.remove((expiry(number), number))?;
                expiries.insert((LATER, number), ())?;
            }
        }
        Ok(transaction.commit()?)
    }
}

struct Fjall {
    database: fjall::Database,
    sessions: Keyspace,
    expiries: Keyspace,
}

impl Store for Fjall {
    fn open(folder: &Path) -> Outcome<Self> {
        let database = fjall::Database::builder(folder.join("folder"))
            .cache_size(CACHE_BYTES as u64)
            .open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self {
            sessions: keyspace("sessions")?,
            expiries: keyspace("expiries")?,
            database,
        })
    }

    fn log_in(&self, logins: &[Login]) -> Outcome<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for login in logins {
            let number = login.number.to_be_bytes();
            let expiry = [login.expires.to_be_bytes(), number].concat();
            batch.insert(&self.sessions, number, login.row);
            batch.insert(&self.expiries, expiry, []);
        }
        Ok(batch.commit()?)
    }

    fn refresh(&self, numbers: &[u64]) -> Outcome<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for &number in numbers {
            let key = number.to_be_bytes();
            let mut row = self.sessions.get(key)?.ok_or("no such session")?.to_vec();
            refreshed(&mut row);
            batch.insert(&self.sessions, key, row);
            let old = [expiry(number).to_be_bytes(), key].concat();
            batch.remove(&self.expiries, old);
            let new = [LATER.to_be_bytes(), key].concat();
            batch.insert(&self.expiries, new, []);
        }
        Ok(batch.commit()?)
    }
}

fn refreshed(row: &mut [u8]) {
    if let Some(token) = row.last_chunk_mut::<16>() {
        fastrand::fill(token);
    }
}

/// Has the next logins stored, as many at once as wait; returns how long each commit took.
fn logins(store: &impl Store, logins: Range<usize>, together: usize) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    for first in logins.step_by(together) {
        let batch: Vec<Login> = (first..first + together)
            .map(|number| Login::new(number as u64))
            .collect();
        let began = Instant::now();
        store.log_in(&batch)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Has some of the sessions refreshed, in no order; returns how long each commit took.
fn refreshes(store: &impl Store, count: usize, together: usize) -> Outcome<Vec<Duration>> {
    let mut numbers: Vec<u64> = (0..MANY as u64).collect();
    fastrand::shuffle(&mut numbers);
    let mut times = Vec::new();
    for chosen in numbers.chunks_exact(together).take(count / together) {
        let began = Instant::now();
        store.refresh(chosen)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn say(what: &str, count: usize, times: &[Duration]) {
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied();
    let total: Duration = times.iter().sum();
    println!(
        "{what}: {:.0} a second; a commit takes {:.1?} at the median, {:.1?} at p99, {:.1?} at most",
        count as f64 / total.as_secs_f64(),
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        at(100).unwrap_or_default(),
    );
}

fn size(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += if kind.is_dir() {
            size(&entry.path())?
        } else {
            kind.blocks() * 512
        };
    }
    Ok(bytes)
}

/// Says how much memory this process has and had at most, and what else the machine does.
fn machine() -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let lines = status.lines();
    let mut said: Vec<&str> = lines
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
        .collect();
    said.push(load.split(' ').next().unwrap_or_default());
    Ok(said.join(", ").replace('\t', " "))
}

fn compare<S: Store>() -> Outcome<()> {
    let folder = tempfile::tempdir_in(".")?;
    let store = S::open(folder.path())?;
    let mut stored = 0;
    for (what, count, together) in [
        ("logins, none stored, 64 at once", FEW, 64),
        ("logins up to 1,000,000, 1024 at once", MANY, 1024),
        ("logins, 1,000,000 stored, 64 at once", FEW, 64),
    ] {
        let times = logins(&store, stored..stored + count, together)?;
        say(what, times.len() * together, &times);
        stored += times.len() * together;
    }
    let times = refreshes(&store, FEW, 64)?;
    say("refreshes, 64 at once", times.len() * 64, &times);
    println!("{}", machine()?);
    let stored = stored as u64;
    println!(
        "{} bytes of disk for each session, open",
        size(folder.path())? / stored
    );
    drop(store);
    println!(
        "{} bytes of disk for each session, closed",
        size(folder.path())? / stored
    );
    let began = Instant::now();
    let store = S::open(folder.path())?;
    println!("start: {:.2?}", began.elapsed());
    drop(store);
    Ok(())
}

fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("redb") => compare::<Redb>(),
        Some("fjall") => compare::<Fjall>(),
        _ => Err("say redb or fjall".into()),
    }
}
