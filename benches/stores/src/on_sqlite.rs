//! Sessions in SQLite: a B-tree with a write-ahead log, which every commit syncs.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::Outcome;
use crate::sessions::{
    CACHE_BYTES, EXPIRED, Key, Order, PURGE_STEP, Row, Store, expiry, range_of, refreshed,
};

/// Without a rowid, so that rows lie in the order of their keys, as in the other databases.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS sessions (key BLOB PRIMARY KEY, due INTEGER NOT NULL, row BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS expiries ON sessions (due);
";

pub struct Sqlite(Mutex<Connection>);

impl Store for Sqlite {
    fn open(folder: &Path) -> Outcome<Self> {
        let connection = Connection::open(folder.join("file"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -((CACHE_BYTES >> 10) as i64))?;
        connection.execute_batch(TABLES)?;
        Ok(Self(Mutex::new(connection)))
    }

    /// There are no checksums: this looks at the trees alone.
    fn check(&self) -> Outcome<()> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        if found == "ok" {
            Ok(())
        } else {
            Err(found.into())
        }
    }

    fn write(&self, now: u64, orders: &[Order]) -> Outcome<()> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            let mut newest = transaction.prepare_cached(
                "SELECT row FROM sessions WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
            )?;
            let mut find = transaction.prepare_cached("SELECT row FROM sessions WHERE key = ?")?;
            let mut add = transaction
                .prepare_cached("INSERT INTO sessions (key, due, row) VALUES (?, ?, ?)")?;
            let mut change =
                transaction.prepare_cached("UPDATE sessions SET row = ? WHERE key = ?")?;
            let mut due = transaction.prepare_cached(
                "SELECT key, row FROM sessions WHERE due < ? ORDER BY due LIMIT ?",
            )?;
            let mut later =
                transaction.prepare_cached("UPDATE sessions SET due = ? WHERE key = ?")?;
            let mut end = transaction.prepare_cached("DELETE FROM sessions WHERE key = ?")?;
            for order in orders {
                match order {
                    Order::LogIn(login) => {
                        let (least, greatest) = range_of(login.key);
                        let range = params![least, greatest];
                        newest
                            .query_row(range, |row| row.get::<_, Vec<u8>>(0))
                            .optional()?;
                        add.execute(params![login.key, expiry(&login.row) as i64, login.row])?;
                    }
                    Order::Refresh(key) => {
                        let old: Vec<u8> = find.query_row([key], |row| row.get(0))?;
                        let row = refreshed(&old, now)?;
                        change.execute(params![row, key])?;
                    }
                }
            }
            let due: Vec<(Key, Row)> = due
                .query_map(params![now as i64, PURGE_STEP as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect::<Result<_, _>>()?;
            for (key, row) in due {
                let expires = expiry(&row);
                if expires < now {
                    end.execute([key])?;
                    EXPIRED.fetch_add(1, Ordering::Relaxed);
                } else {
                    later.execute(params![expires as i64, key])?;
                }
            }
        }
        Ok(transaction.commit()?)
    }
}
