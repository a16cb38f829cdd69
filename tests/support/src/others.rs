//! What other users notice while something is done to a gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::{Reply, TestGateway, Upstream, make_client};

/// What others may notice beyond what the machine has everybody wait.
const NOTICED: Duration = Duration::from_millis(200);
/// So many requests of others make a round, one in each pause.
const REQUESTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// How often the machine itself is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// A machine that has a look wait for so long is busy with something else, and the round is repeated.
const BUSY: Duration = Duration::from_millis(50);
const ROUNDS: usize = 5;
/// A wait of more than so many times as long is no machine's.
const EXCUSED: u32 = 8;
/// After this nobody waits any longer.
const LIMIT: Duration = Duration::from_secs(10);

/// Has others do something every 20 ms, whatever became of what they did before, and fails where one of them waits for 200 ms
/// longer than somebody who had nothing to do with the gateway at the same time.
///
/// The time counts from when each was due: where everything stands still, all that was due meanwhile is late. A round in which the
/// machine was busy is repeated, for which the attack has to go on.
pub async fn nobody_waits<F>(one: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        let control = Control::start().await;
        let others = round(&one).await;
        let control = control.end();
        let late = late(&others, &control);
        if late.is_empty() {
            return;
        }
        let busy = control.iter().map(Span::length).max().unwrap_or_default();
        told.push(format!("{late:?} (beside it {busy:?} at the most)"));
        let worst = late.iter().max().copied().unwrap_or_default();
        if busy < BUSY || worst > NOTICED + EXCUSED * busy {
            break;
        }
    }
    panic!("others waited for {told:?}");
}

/// How long somebody waited, and when.
#[derive(Clone, Copy, Debug)]
struct Span {
    due: Instant,
    done: Instant,
}

impl Span {
    fn length(&self) -> Duration {
        self.done - self.due
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.due <= other.done && other.due <= self.done
    }
}

/// Returns how long those waited who waited for too long.
fn late(others: &[Span], control: &[Span]) -> Vec<Duration> {
    let waited = |span: &&Span| {
        let meanwhile = control.iter().filter(|look| look.overlaps(span));
        let busy = meanwhile.map(Span::length).max().unwrap_or_default();
        span.length() > NOTICED + busy
    };
    others.iter().filter(waited).map(Span::length).collect()
}

async fn round<F>(one: &impl Fn() -> F) -> Vec<Span>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut ticks, mut others) = (interval(PAUSE), JoinSet::new());
    for _ in 0..REQUESTS {
        let due = ticks.tick().await.into_std();
        let done = timeout(LIMIT, one());
        others.spawn(async move {
            let _ = done.await;
            let done = Instant::now();
            Span { due, done }
        });
    }
    others.join_all().await
}

/// Somebody who has nothing to do with the gateway: a thread that asks a backend of its own every few milliseconds, so that the
/// machine has it wait about as long as somebody who asks the gateway.
struct Control {
    is_over: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Span>>,
}

impl Control {
    /// Starts it, and waits until it has a connection: to make one takes longer than what is compared with it.
    async fn start() -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (begin, begun) = oneshot::channel();
        let asking = thread::spawn(move || runtime.block_on(ask(&over, begin)));
        begun.await.expect("it should begin");
        Self { asking, is_over }
    }

    fn end(self) -> Vec<Span> {
        self.is_over.store(true, Ordering::Relaxed);
        self.asking.join().expect("it should not panic")
    }
}

async fn ask(is_over: &AtomicBool, begin: oneshot::Sender<()>) -> Vec<Span> {
    let (backend, http) = (Upstream::start().await, make_client());
    let one = async || {
        let asked = http.get(format!("http://{}/", backend.address));
        assert_eq!(Reply::of(asked).await.status, 200);
    };
    one().await;
    let _ = begin.send(());
    let mut looks = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let due = Instant::now() + LOOK;
        sleep(LOOK).await;
        one().await;
        let done = Instant::now();
        looks.push(Span { due, done });
    }
    looks
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_while_the_machine_does_not_is_late() {
        let begun = Instant::now();
        let span = |due: u64, done: u64| Span {
            due: begun + Duration::from_millis(due),
            done: begun + Duration::from_millis(done),
        };
        let quiet: Vec<Span> = (0..100).map(|n| span(5 * n, 5 * n + 1)).collect();
        let others = [span(0, 100), span(20, 230), span(40, 239)];
        assert_eq!(late(&others, &quiet), [Duration::from_millis(210)]);
        let busy = [&quiet[..], &[span(100, 150)]].concat();
        assert!(late(&others, &busy).is_empty());
        // What the machine did at another time is no excuse.
        let busy = [&quiet[..], &[span(231, 400)]].concat();
        assert_eq!(late(&others[..2], &busy), [Duration::from_millis(210)]);
    }
}
