//! Asks all Sentinels at once who the master is, so that a Sentinel that is dead or hangs delays nobody.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};
use tokio::time::{Instant, timeout_at};

/// A Sentinel, and its connection if there is one.
struct Sentinel {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

/// What a Sentinel says of the master.
#[derive(Debug, PartialEq, Eq)]
struct NamedMaster {
    /// The number of the failover; it only grows.
    epoch: u64,
    address: (String, u16),
}

/// How many Sentinels must answer; those that take too long are not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quorum {
    Most,
    /// The one that led the latest failover may be the only one that knows of it.
    All,
}

/// The Sentinels of one master.
pub(super) struct Sentinels {
    all: Vec<Sentinel>,
    name: String,
    timeout: Duration,
}

impl Sentinels {
    pub(super) fn new(clients: Vec<Client>, name: &str, timeout: Duration) -> Self {
        let all = clients.into_iter().map(|client| Sentinel {
            client,
            connection: None,
        });
        Self {
            all: all.collect(),
            name: name.to_owned(),
            timeout,
        }
    }

    /// Returns the address of the master after the latest failover that one of so many Sentinels, or of all that answer, knows of.
    pub(super) async fn master(&mut self, quorum: Quorum) -> RedisResult<(String, u16)> {
        let needed = match quorum {
            Quorum::Most => self.all.len() / 2 + 1,
            Quorum::All => self.all.len(),
        };
        let (name, timeout) = (&self.name, self.timeout);
        let asked = self.all.iter_mut();
        let asked = asked.map(|sentinel| sentinel.master(name, timeout));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let begun = Instant::now();
        let (mut named, mut failed) = (Vec::new(), None);
        while named.len() < needed {
            // One answer suffices when the others take long.
            let limit = if named.iter().any(Option::is_some) {
                timeout / 2
            } else {
                timeout
            };
            match timeout_at(begun + limit, asked.next()).await {
                Ok(Some(Ok(one))) => named.push(one),
                Ok(Some(Err(error))) => failed = Some(worse(failed, error)),
                Ok(None) | Err(_) => break,
            }
        }
        let latest = named.into_iter().flatten().max_by_key(|named| named.epoch);
        match (latest, failed) {
            (Some(latest), _) => Ok(latest.address),
            (None, Some(error)) => Err(error),
            (None, None) => Err(RedisError::from((
                ErrorKind::MasterNameNotFoundBySentinel,
                "no Sentinel that answers knows a master of this name that works",
            ))),
        }
    }
}

/// Returns the error that says more: one of a Sentinel that refuses rather than of one that does not answer.
fn worse(before: Option<RedisError>, error: RedisError) -> RedisError {
    before
        .filter(|before| !before.is_io_error())
        .unwrap_or(error)
}

impl Sentinel {
    /// Asks this Sentinel; `None` means that it knows no working master of this name.
    async fn master(&mut self, name: &str, timeout: Duration) -> RedisResult<Option<NamedMaster>> {
        let mut masters = redis::cmd("SENTINEL");
        masters.arg("MASTERS");
        // A Sentinel that was restarted has closed the connection.
        if let Some(kept) = &mut self.connection {
            match masters.query_async(kept).await {
                Ok(masters) => return Ok(named_master(masters, name)),
                Err(_) => self.connection = None,
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let new = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let mut new = new.await?;
        let masters = masters.query_async(&mut new).await?;
        self.connection = Some(new);
        Ok(named_master(masters, name))
    }
}

fn named_master(masters: Vec<HashMap<String, String>>, name: &str) -> Option<NamedMaster> {
    masters.into_iter().find_map(|master| {
        let value = |key: &str| master.get(key).map(String::as_str);
        let flags: Vec<&str> = value("flags")?.split(',').collect();
        let down = ["s_down", "o_down"];
        let works = flags.contains(&"master") && !down.iter().any(|flag| flags.contains(flag));
        if value("name")? != name || !works {
            return None;
        }
        Some(NamedMaster {
            epoch: value("config-epoch")?.parse().ok()?,
            address: (value("ip")?.to_owned(), value("port")?.parse().ok()?),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(name: &str, flags: &str, port: &str) -> HashMap<String, String> {
        let pairs = [
            ("name", name),
            ("flags", flags),
            ("ip", "10.0.0.1"),
            ("port", port),
            ("config-epoch", "3"),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        HashMap::from(pairs)
    }

    #[test]
    fn a_master_is_known_by_its_name_and_only_while_it_works() {
        let masters = || {
            vec![
                master("other", "master", "1"),
                master("ours", "master", "2"),
            ]
        };
        let found = named_master(masters(), "ours").unwrap();
        assert_eq!(found.address, ("10.0.0.1".to_owned(), 2));
        assert_eq!(named_master(masters(), "another"), None);
        for flags in ["master,s_down,o_down", "s_down,master", "slave"] {
            assert_eq!(named_master(vec![master("ours", flags, "2")], "ours"), None);
        }
    }
}
