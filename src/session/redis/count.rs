//! Counts the sessions in the background, for whoever watches: Redis knows how many names it has, and not of which kind they are.
//!
//! A node goes through all names, a page at a time and with pauses, so that this takes three thousandths of Redis's time however
//! many there are (a page takes it 1 ms among three million names); what it counted is as old as that takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::task::AbortHandle;

use super::connect::{Connection, Connector};
use super::keys::Names;
use super::seal_key_check::scan;

/// The pause after each page, of a thousand names.
const PAUSE: Duration = Duration::from_millis(300);
/// The pause before the next count, and before another attempt.
const EVERY: Duration = Duration::from_secs(30);

/// The count of a node.
pub(super) struct Count {
    last: Arc<Mutex<Option<usize>>>,
    task: AbortHandle,
}

impl Count {
    /// Begins to count, again and again until it is stopped.
    pub(super) fn start(connector: Arc<Connector>, names: Names) -> Self {
        let last = Arc::new(Mutex::new(None));
        let counted = Arc::clone(&last);
        let task = tokio::spawn(async move {
            loop {
                let count = all(&connector, &names).await;
                if let Err(error) = &count {
                    tracing::debug!(%error, "the sessions in Redis cannot be counted");
                }
                *counted.lock().unwrap_or_else(PoisonError::into_inner) = count.ok();
                tokio::time::sleep(EVERY).await;
            }
        });
        Self {
            last,
            task: task.abort_handle(),
        }
    }

    /// Returns the last count; `None` before the first, and where the last attempt failed.
    pub(super) fn last(&self) -> Option<usize> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Goes through all names of every master once.
async fn all(connector: &Connector, names: &Names) -> RedisResult<usize> {
    let mut connection: Connection = connector.connect().await?;
    let mut count = 0;
    for (master, answer) in connection.ask_masters(&scan(names, b"0")).await? {
        let mut answer: Value = answer;
        loop {
            let (cursor, found): (Vec<u8>, Vec<Value>) = redis::from_redis_value(answer)?;
            count += found.len();
            if cursor == b"0" {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            let next = scan(names, &cursor);
            answer = connection.ask_at(master.as_ref(), &next).await?;
        }
    }
    Ok(count)
}
