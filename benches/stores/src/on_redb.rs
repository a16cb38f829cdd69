//! Sessions in redb: a B-tree that writes each changed page anew.

use std::path::Path;
use std::sync::atomic::Ordering;

use redb::{Builder, Database, Durability, ReadableTable as _, TableDefinition};

use crate::Outcome;
use crate::sessions::{
    CACHE_BYTES, EXPIRED, Order, PURGE_STEP, Store, expiry, expiry_key, key_of, range_of, refreshed,
};

const SESSIONS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("sessions");
const EXPIRIES: TableDefinition<&[u8; 24], ()> = TableDefinition::new("expiries");

pub struct Redb(Database);

impl Store for Redb {
    fn open(folder: &Path) -> Outcome<Self> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_check_integrity_on_open(true);
        Ok(Self(builder.create(folder.join("file"))?))
    }

    fn write(&self, now: u64, orders: &[Order]) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut sessions = transaction.open_table(SESSIONS)?;
        let mut expiries = transaction.open_table(EXPIRIES)?;
        for order in orders {
            match order {
                Order::LogIn(login) => {
                    let (least, greatest) = range_of(login.key);
                    let newest = sessions.range::<&[u8; 16]>(&least..=&greatest)?.next_back();
                    newest.transpose()?;
                    sessions.insert(&login.key, login.row.as_slice())?;
                    let due = expiry_key(expiry(&login.row), login.key);
                    expiries.insert(&due, ())?;
                }
                Order::Refresh(key) => {
                    let stored = sessions.get(key)?.ok_or("no such session")?;
                    let row = refreshed(stored.value(), now)?;
                    drop(stored);
                    sessions.insert(key, row.as_slice())?;
                }
            }
        }
        let end = expiry_key(now, [0; 16]);
        let range = expiries.range::<&[u8; 24]>(..&end)?.take(PURGE_STEP);
        let due = range.map(|entry| entry.map(|(key, _)| *key.value()));
        for entry in due.collect::<Result<Vec<_>, _>>()? {
            expiries.remove(&entry)?;
            let key = key_of(&entry);
            let row = sessions.get(&key)?.ok_or("no such session")?;
            let expires = expiry(row.value());
            drop(row);
            if expires < now {
                sessions.remove(&key)?;
                EXPIRED.fetch_add(1, Ordering::Relaxed);
            } else {
                expiries.insert(&expiry_key(expires, key), ())?;
            }
        }
        drop((sessions, expiries));
        Ok(transaction.commit()?)
    }
}
