//! Compares embedded databases at the work of the session store: `cargo run --release -- redb` or `fjall`.
//!
//! Both get the same three tables, keys and sizes of values, and make many logins durable with one sync.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Builder, Database, Durability, ReadableTable as _, TableDefinition};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MANY: usize = 1_000_000;
const CACHE_BYTES: usize = 64 << 20;

/// What a login writes: random bytes, as most of it is digests, ids and ciphertext.
struct Login {
    sid: [u8; 16],
    user: [u8; 16],
    expiry: [u8; 24],
    record: [u8; 113],
    key: [u8; 46],
}

impl Login {
    fn random() -> Self {
        let mut login = Self {
            sid: random(),
            user: random(),
            expiry: [0; 24],
            record: random(),
            key: random(),
        };
        // Of all of them the same: what compresses.
        login.record[..36].fill(b'a');
        login.sid[..8].copy_from_slice(&login.user[..8]);
        login.expiry[8..].copy_from_slice(&login.sid);
        login
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fastrand::fill(&mut bytes);
    bytes
}

trait Store: Sized {
    fn open(folder: &Path) -> Outcome<Self>;
    /// Stores all of them, and returns when they survive a loss of power.
    fn commit(&self, logins: &[Login]) -> Outcome<()>;
}

const SESSIONS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("sessions");
const EXPIRIES: TableDefinition<&[u8; 24], ()> = TableDefinition::new("expiries");
const KEYS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("session_keys");

struct Redb(Database);

impl Store for Redb {
    fn open(folder: &Path) -> Outcome<Self> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_check_integrity_on_open(true);
        Ok(Self(builder.create(folder.join("file"))?))
    }

    fn commit(&self, logins: &[Login]) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut sessions = transaction.open_table(SESSIONS)?;
            let mut expiries = transaction.open_table(EXPIRIES)?;
            let mut keys = transaction.open_table(KEYS)?;
            for login in logins {
                sessions.insert(&login.sid, login.record.as_slice())?;
                expiries.insert(&login.expiry, ())?;
                let _ = keys.get(&login.user)?;
                keys.insert(&login.user, login.key.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }
}

struct Fjall {
    database: fjall::Database,
    sessions: Keyspace,
    expiries: Keyspace,
    keys: Keyspace,
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
            keys: keyspace("session_keys")?,
            database,
        })
    }

    fn commit(&self, logins: &[Login]) -> Outcome<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for login in logins {
            batch.insert(&self.sessions, login.sid, login.record);
            batch.insert(&self.expiries, login.expiry, []);
            let _ = self.keys.get(login.user)?;
            batch.insert(&self.keys, login.user, login.key);
        }
        Ok(batch.commit()?)
    }
}

/// Commits as many logins at once as wait; returns how long each commit took.
fn commits(store: &impl Store, logins: usize, together: usize) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..logins / together {
        let batch: Vec<Login> = (0..together).map(|_| Login::random()).collect();
        let began = Instant::now();
        store.commit(&batch)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn say(what: &str, logins: usize, times: &[Duration]) {
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied();
    let total: Duration = times.iter().sum();
    println!(
        "{what}: {:.0} logins/s; a commit takes {:.1?} at the median, {:.1?} at p99, {:.1?} at most",
        logins as f64 / total.as_secs_f64(),
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
    const FEW: usize = 64 * 1500;
    say("none stored, 64 at once", FEW, &commits(&store, FEW, 64)?);
    let rest = MANY - FEW;
    say(
        "up to 1,000,000, 1024 at once",
        rest,
        &commits(&store, rest, 1024)?,
    );
    say(
        "1,000,000 stored, 64 at once",
        FEW,
        &commits(&store, FEW, 64)?,
    );
    println!("{}", machine()?);
    let stored = (MANY + FEW) as u64;
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
