//! Compares embedded databases at the work of the session store: `cargo run --release -- redb`, `fjall` or `sqlite`.
//!
//! Each gets the same sessions, keyed by user and session, and one thread that commits all that wait with one sync.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sessions::{EXPIRED, FIRST_SECOND, Order, Store, TTL_SECS, Times, Used, key, login, user_key};

mod on_fjall;
mod on_redb;
mod on_sqlite;
mod sessions;

type Outcome<T> = Result<T, Box<dyn Error>>;

const MANY: u64 = 1_000_000;
const FEW: u64 = 64 * 500;
const LARGEST_BATCH: usize = 1024;

/// A store with a clock that goes on by a second with a thousand logins.
struct Bench<S> {
    store: S,
    /// How many users have logged in, and how many orders were given in all.
    users: AtomicU64,
    orders: AtomicU64,
}

impl<S: Store> Bench<S> {
    fn now(&self) -> u64 {
        FIRST_SECOND + self.orders.load(Ordering::Relaxed) / 1000
    }

    fn log_in_new(&self) -> Order {
        self.orders.fetch_add(1, Ordering::Relaxed);
        let user = self.users.fetch_add(1, Ordering::Relaxed);
        Order::LogIn(login(key(user), self.now()))
    }

    fn log_in_again(&self) -> Order {
        self.orders.fetch_add(1, Ordering::Relaxed);
        let key = user_key(fastrand::u64(..MANY), self.now(), fastrand::u32(..));
        Order::LogIn(login(key, self.now()))
    }

    fn refresh(&self, user: u64) -> Order {
        self.orders.fetch_add(1, Ordering::Relaxed);
        Order::Refresh(key(user))
    }

    /// Carries out as many orders as there are, many at once.
    fn fill(&self, orders: impl Iterator<Item = Order>) -> Outcome<()> {
        let mut orders = orders.peekable();
        while orders.peek().is_some() {
            let batch: Vec<_> = orders.by_ref().take(LARGEST_BATCH).collect();
            self.store.write(self.now(), &batch)?;
        }
        Ok(())
    }

    /// Has clients wait for one order each after the other, and says how long they did.
    fn clients(
        &self,
        what: &str,
        together: u64,
        count: u64,
        order: impl Fn() -> Order + Sync,
    ) -> Outcome<()> {
        let (orders, inbox) = sync_channel(LARGEST_BATCH);
        let (began, used) = (Instant::now(), Used::so_far()?);
        let mut times = thread::scope(|scope| -> Outcome<Times> {
            let clients: Vec<_> = (0..together)
                .map(|_| {
                    let (orders, order) = (orders.clone(), &order);
                    scope.spawn(move || client(&orders, order, count / together))
                })
                .collect();
            drop(orders);
            self.commit_together(&inbox)?;
            let joined = clients.into_iter().map(|client| client.join());
            Ok(Times(joined.flat_map(Result::unwrap_or_default).collect()))
        })?;
        let rate = count as f64 / began.elapsed().as_secs_f64();
        let used = used.say_each(count)?;
        println!(
            "{what}, {together} at once: {rate:.0} a second; {}; {used}",
            times.say()
        );
        Ok(())
    }

    /// Group commit, until there is nobody left.
    fn commit_together(&self, inbox: &Receiver<(Order, SyncSender<()>)>) -> Outcome<()> {
        while let Ok(first) = inbox.recv() {
            let waiting = std::iter::once(first).chain(inbox.try_iter());
            let (orders, answers): (Vec<_>, Vec<_>) = waiting.take(LARGEST_BATCH).unzip();
            self.store.write(self.now(), &orders)?;
            for answer in answers {
                answer.send(())?;
            }
        }
        Ok(())
    }
}

fn client(
    orders: &SyncSender<(Order, SyncSender<()>)>,
    order: impl Fn() -> Order,
    count: u64,
) -> Vec<Duration> {
    let (done, is_done) = sync_channel(1);
    let each = (0..count).map_while(|_| {
        let order = order();
        let began = Instant::now();
        orders.send((order, done.clone())).ok()?;
        is_done.recv().ok()?;
        Some(began.elapsed())
    });
    each.collect()
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
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("RssAnon"))
        .collect();
    let load = format!("load {}", load.split(' ').next().unwrap_or_default());
    said.push(&load);
    Ok(said.join(", ").replace('\t', " "))
}

fn shuffled(count: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    fastrand::shuffle(&mut numbers);
    numbers
}

fn compare<S: Store>() -> Outcome<()> {
    let folder = tempfile::tempdir_in(".")?;
    let mut bench = Bench {
        store: S::open(folder.path())?,
        users: AtomicU64::new(0),
        orders: AtomicU64::new(0),
    };
    let new = |bench: &Bench<S>, what: &str| bench.clients(what, 64, FEW, || bench.log_in_new());
    println!("{}", machine()?);
    new(&bench, "logins, none stored")?;
    let began = Instant::now();
    bench.fill((FEW..MANY).map(|_| bench.log_in_new()))?;
    println!("{MANY} were stored after {:.0?} more", began.elapsed());
    println!(
        "disk: {} bytes for each session",
        size(folder.path())? / MANY
    );
    for _ in 0..2 {
        new(&bench, "logins, 1,000,000 stored")?;
        bench.clients("the same of who has a session", 64, FEW, || {
            bench.log_in_again()
        })?;
        let chosen = || bench.refresh(fastrand::u64(..MANY));
        bench.clients("refreshes", 64, FEW, chosen)?;
        bench.clients("refreshes", 256, 256 * 125, chosen)?;
        println!("{}", machine()?);
    }
    let users = bench.users.load(Ordering::Relaxed);
    bench.fill(shuffled(users).into_iter().map(|user| bench.refresh(user)))?;
    let sessions = users + 2 * FEW;
    println!(
        "disk once each was refreshed: {} bytes",
        size(folder.path())? / sessions
    );
    drop(bench.store);
    println!(
        "the same, closed: {} bytes",
        size(folder.path())? / sessions
    );
    let began = Instant::now();
    bench.store = S::open(folder.path())?;
    let opened = began.elapsed();
    bench.store.check()?;
    println!(
        "start: {opened:.2?}, with a check {:.2?}; {}",
        began.elapsed(),
        machine()?
    );
    bench.clients("logins before a purge", 16, FEW, || bench.log_in_new())?;
    // What the logins of people who had a session left, and some of what was refreshed.
    bench
        .orders
        .fetch_add((TTL_SECS - 1000) * 1000, Ordering::Relaxed);
    let expired = EXPIRED.load(Ordering::Relaxed);
    bench.clients("logins meanwhile", 16, FEW, || bench.log_in_new())?;
    let expired = EXPIRED.load(Ordering::Relaxed) - expired;
    println!("{expired} expired sessions were purged; {}", machine()?);
    Ok(())
}

fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("redb") => compare::<on_redb::Redb>(),
        Some("fjall") => compare::<on_fjall::Fjall>(),
        Some("sqlite") => compare::<on_sqlite::Sqlite>(),
        _ => Err("say redb, fjall or sqlite".into()),
    }
}
