//! Sessions in fjall: a log-structured merge-tree, which writes what is new and merges it later.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::Outcome;
use crate::sessions::{
    CACHE_BYTES, EXPIRED, Key, Order, PURGE_STEP, Row, Store, expiry, expiry_key, key_of, range_of,
    refreshed,
};

pub struct Fjall {
    database: Database,
    sessions: Keyspace,
    expiries: Keyspace,
}

impl Store for Fjall {
    fn open(folder: &Path) -> Outcome<Self> {
        let database = Database::builder(folder.join("folder"))
            .cache_size(CACHE_BYTES as u64)
            .open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self {
            sessions: keyspace("sessions")?,
            expiries: keyspace("expiries")?,
            database,
        })
    }

    fn write(&self, now: u64, orders: &[Order]) -> Outcome<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        // What the batch wrote is not seen by reads before it is committed.
        let mut written: HashMap<Key, Row> = HashMap::new();
        for order in orders {
            let (key, row) = match order {
                Order::LogIn(login) => {
                    let (least, greatest) = range_of(login.key);
                    if let Some(newest) = self.sessions.range(least..=greatest).next_back() {
                        newest.into_inner()?;
                    }
                    let due = expiry_key(expiry(&login.row), login.key);
                    batch.insert(&self.expiries, due, []);
                    (login.key, login.row)
                }
                Order::Refresh(key) => {
                    let old = match written.get(key) {
                        Some(row) => *row,
                        None => {
                            let stored = self.sessions.get(key)?.ok_or("no such session")?;
                            stored.as_ref().try_into()?
                        }
                    };
                    (*key, refreshed(&old, now)?)
                }
            };
            batch.insert(&self.sessions, key, row);
            written.insert(key, row);
        }
        let end = expiry_key(now, [0; 16]);
        for entry in self.expiries.range(..end).take(PURGE_STEP) {
            let entry: [u8; 24] = entry.key()?.as_ref().try_into()?;
            batch.remove(&self.expiries, entry);
            let key = key_of(&entry);
            let expires = match written.get(&key) {
                Some(row) => expiry(row),
                None => expiry(&self.sessions.get(key)?.ok_or("no such session")?),
            };
            if expires < now {
                batch.remove(&self.sessions, key);
                EXPIRED.fetch_add(1, Ordering::Relaxed);
            } else {
                batch.insert(&self.expiries, expiry_key(expires, key), []);
            }
        }
        Ok(batch.commit()?)
    }
}
