//! What other users notice while something is done to a gateway.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::{Reply, TestGateway};

/// What others may notice.
const NOTICED: Duration = Duration::from_millis(200);
/// So many requests of others make a round, one in each pause.
const REQUESTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// A machine that is busy with something else for a moment gets so many chances.
const ROUNDS: usize = 4;
/// Nobody else keeps a machine as busy as this: it has no second chance.
const STALLED: Duration = Duration::from_secs(1);
/// After this nobody waits any longer.
const LIMIT: Duration = Duration::from_secs(10);

/// Has others do something every 20 ms, whatever became of what they did before, and fails where half of them wait for
/// 200 ms.
///
/// The time counts from when each was due: where everything stands still, all that was due meanwhile is late.
pub async fn nobody_waits<F>(one: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut waited = Vec::new();
    for _ in 0..ROUNDS {
        let most = round(&one).await;
        if most < NOTICED {
            return;
        }
        waited.push(most);
        if most > STALLED {
            break;
        }
    }
    panic!("half of the others waited for {waited:?}");
}

async fn round<F>(one: &impl Fn() -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut due, mut others) = (interval(PAUSE), JoinSet::new());
    for _ in 0..REQUESTS {
        let due: Instant = due.tick().await;
        let done = timeout(LIMIT, one());
        others.spawn(async move {
            let _ = done.await;
            due.elapsed()
        });
    }
    let mut times = others.join_all().await;
    times.sort();
    *times.get(REQUESTS / 2).expect("a time for each")
}

impl TestGateway {
    /// Checks that others who send GETs for a path are answered with 200 as fast as always; see [`nobody_waits`].
    pub async fn nobody_waits(&self, path: &str) {
        nobody_waits(|| {
            let request = self.get(path);
            async move {
                let reply = Reply::of(request).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
        })
        .await;
    }
}
