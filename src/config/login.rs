//! Reads `[login]`, how logins share what WeChat allows.

use std::num::NonZeroU32;
use std::time::Duration;

use humantime::format_duration;

use super::kind::{Kind, number};
use super::model::WeChat;
use super::reader::Table;
use super::unit::{TIMEOUT, duration};

/// How logins share what WeChat allows.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginSettings {
    /// The most calls a minute for an app that says nothing itself; `None` is no limit of ours.
    pub quota_per_minute: Option<NonZeroU32>,
    /// The most logins of an app that wait in line at a time.
    pub queue: usize,
    /// How long one waits there.
    pub queue_timeout: Duration,
    /// How long a code that was redeemed gives the same session again.
    pub replay: Duration,
    /// Limit for a whole login, waiting and calls included.
    pub timeout: Duration,
    /// With less of that left, WeChat is not called any more.
    pub least_for_call: Duration,
    /// The most codes of one address in a minute that may be good for nothing; `None` is no limit.
    pub refused_per_minute: Option<NonZeroU32>,
    /// The most refreshes of one address in a minute; `None` is no limit.
    pub refreshes_per_minute: Option<NonZeroU32>,
}

pub(super) const QUOTA: Kind<u32> = Kind {
    expected: "a whole number from 0 to 10000000",
    read: |value| {
        let count = u32::try_from(number(value)?).ok();
        count.filter(|count| *count <= 10_000_000)
    },
};

const QUEUE: Kind<usize> = Kind {
    expected: "a whole number from 0 to 100000",
    read: |value| {
        let places = usize::try_from(number(value)?).ok();
        places.filter(|places| *places <= 100_000)
    },
};

const REPLAY: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"60s\", up to 5m",
    read: |value| duration(value).filter(|replay| *replay <= Duration::from_secs(300)),
};

const BUDGET: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"8s\", from 1s to 1m",
    read: |value| {
        let budgets = Duration::from_secs(1)..=Duration::from_secs(60);
        duration(value).filter(|budget| budgets.contains(budget))
    },
};

/// A call with less time than this behind a connection's would only spend the code in vain.
const SHORTEST_CALL: Duration = Duration::from_millis(500);

/// Reads the section; the limits of `[wechat]` go for the calls of logins too.
pub(super) fn read(table: &mut Table<'_, '_>, wechat: Option<&WeChat>) -> Option<LoginSettings> {
    let quota_per_minute = table.or("quota_per_minute", "0", &QUOTA);
    let queue = table.or("queue", "1000", &QUEUE);
    let queue_timeout = table.or("queue_timeout", r#""5s""#, &TIMEOUT);
    let replay = table.or("replay", r#""60s""#, &REPLAY);
    let timeout = table.or("timeout", r#""8s""#, &BUDGET);
    let refused_per_minute = match quota_per_minute {
        // One address must not use up what is everybody's.
        Some(quota @ 1..) if !table.has("refused_per_minute") => Some((quota / 4).max(1)),
        Some(_) | None => table.or("refused_per_minute", "1200", &QUOTA),
    };
    let refreshes_per_minute = table.or("refreshes_per_minute", "6000", &QUOTA);
    // A connection that cannot be made must be known as such, since the code is good then.
    let (timeout, connecting) = (timeout?, wechat?.connect_timeout);
    let least_for_call = (connecting + SHORTEST_CALL)
        .min(timeout / 2)
        .max(SHORTEST_CALL);
    let most = timeout - least_for_call;
    let mut queue_timeout = queue_timeout?;
    if !table.has("queue_timeout") {
        queue_timeout = queue_timeout.min(most);
    } else if queue_timeout > most {
        let [most, least] = [most, least_for_call].map(format_duration);
        let message = format!("must be at most {most}: of timeout, a call to WeChat needs {least}");
        table.refuse("queue_timeout", message);
    }
    Some(LoginSettings {
        quota_per_minute: NonZeroU32::new(quota_per_minute?),
        queue: queue?,
        queue_timeout,
        replay: replay?,
        timeout,
        least_for_call,
        refused_per_minute: NonZeroU32::new(refused_per_minute?),
        refreshes_per_minute: NonZeroU32::new(refreshes_per_minute?),
    })
}
