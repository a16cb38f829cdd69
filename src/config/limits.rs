//! Reads from `[server]` how much one client may ask, so that nobody takes what is meant for all.

use std::num::NonZeroU32;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::kind::{Kind, number};
use super::reader::Table;
use super::unit::TIMEOUT;

/// What one client, or all together, may take; `None` is no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long the head of a request may take to arrive.
    pub head_timeout: Duration,
    /// The most connections open at a time.
    pub max_connections: Option<NonZeroU32>,
    /// The most connections of one address open at a time.
    pub max_connections_per_address: Option<NonZeroU32>,
    /// The most requests of one address in flight at a time.
    pub max_requests_per_address: Option<NonZeroU32>,
    /// The most requests of one address in a minute, in the long run.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How many of them may come at once; as many as in a minute without it.
    pub request_burst: Option<NonZeroU32>,
}

const COUNT: Kind<u32> = Kind {
    expected: "a whole number from 0 to 10000000",
    read: |value| {
        let count = u32::try_from(number(value)?).ok();
        count.filter(|count| *count <= 10_000_000)
    },
};

/// So many file descriptors are left to what is no connection of a client or to a server: listeners, files, the store, WeChat,
/// the private listener, and whoever is refused.
const ASIDE: u64 = 256;
/// The fewest connections of clients that there may be.
const FEWEST: u64 = 16;
/// The fewest connections that one address may have, which is all of them where there are few.
const FEWEST_OF_ONE: u64 = 512;
/// The fewest connections to servers that there may be.
const FEWEST_TO_SERVERS: u64 = 32;

/// A count, or `None` for "auto".
const CONNECTIONS: Kind<Option<u32>> = Kind {
    expected: "\"auto\" or a whole number from 0 to 10000000",
    read: |value| match value.as_str() {
        Some("auto") => Some(None),
        Some(_) => None,
        None => (COUNT.read)(value).map(Some),
    },
};

/// Reads the keys.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Limits> {
    let head_timeout = table.or("head_timeout", r#""30s""#, &TIMEOUT);
    let max_connections = table.or("max_connections", r#""auto""#, &CONNECTIONS);
    let max_connections_per_address =
        table.or("max_connections_per_address", r#""auto""#, &CONNECTIONS);
    let max_requests_per_address = table.or("max_requests_per_address", "4096", &COUNT);
    let requests_per_minute = table.or("requests_per_minute", "0", &COUNT);
    let request_burst = table.or("request_burst", "0", &COUNT);
    if request_burst? > 0 && requests_per_minute? == 0 {
        let message = "is of no use without requests_per_minute";
        table.refuse("request_burst", message.to_owned());
    }
    let mut limits = Limits {
        head_timeout: head_timeout?,
        max_connections: max_connections?.map_or_else(by_descriptors, NonZeroU32::new),
        max_connections_per_address: None,
        max_requests_per_address: NonZeroU32::new(max_requests_per_address?),
        requests_per_minute: NonZeroU32::new(requests_per_minute?),
        request_burst: NonZeroU32::new(request_burst?),
    };
    limits.max_connections_per_address =
        max_connections_per_address?.map_or_else(|| limits.share(), NonZeroU32::new);
    Some(limits)
}

impl Limits {
    /// Returns how many connections of clients are accepted: no more than leave servers a quarter of the file descriptors.
    pub fn client_connections(&self) -> Option<NonZeroU32> {
        let possible = beyond_aside().map(|beyond| at_least(beyond / 4 * 3, FEWEST));
        match (self.max_connections, possible.flatten()) {
            (Some(wanted), Some(possible)) => Some(wanted.min(possible)),
            (wanted, possible) => wanted.or(possible),
        }
    }

    /// Returns how many of those connections one address may have, so that it cannot keep everybody else out.
    fn share(&self) -> Option<NonZeroU32> {
        at_least(
            u64::from(self.client_connections()?.get() / 2),
            FEWEST_OF_ONE,
        )
    }

    /// Returns how many connections to servers there may be, busy or idle: three quarters of what clients leave, since
    /// calls of WeChat for many logins at once may need the rest.
    pub fn server_connections(&self) -> usize {
        let Some(beyond) = beyond_aside() else {
            return usize::MAX;
        };
        let clients = self.client_connections().map_or(0, NonZeroU32::get);
        let most = (beyond.saturating_sub(u64::from(clients)) / 4 * 3).max(FEWEST_TO_SERVERS);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// Returns half of the connections that the file descriptors of this process allow: each may need one to a server.
fn by_descriptors() -> Option<NonZeroU32> {
    at_least(beyond_aside()? / 2, FEWEST)
}

fn beyond_aside() -> Option<u64> {
    let descriptors = getrlimit(Resource::Nofile).current?;
    Some(descriptors.saturating_sub(ASIDE))
}

fn at_least(connections: u64, fewest: u64) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(connections.max(fewest)).unwrap_or(u32::MAX))
}
