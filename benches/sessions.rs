//! What sessions cost: durable logins and refreshes, a store with a million sessions, a purge, and the cache of tokens.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark may panic"
)]

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use menshen::clock::Clock;
use menshen::config::{self, Algorithm};
use menshen::secret::Secret;
use menshen::session::{Apps, Identity, RefreshToken, Session, SessionRules, Sessions, Source};
use menshen::token::{Issuer, Tokens, Verifier, load_or_make};
use menshen_test_support::bench::runs;
use menshen_test_support::resident_memory;
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableHandle as _};
use tempfile::TempDir;

/// As many as the limits are about.
const MANY: usize = 1_000_000;

const LEAST_PER_SECOND: f64 = 3_000.0;
/// Of a login with many sessions stored, at the 99th percentile.
const MOST_TO_LOG_IN: Duration = Duration::from_millis(25);
const MOST_TO_OPEN: Duration = Duration::from_secs(2);
const MOST_ON_DISK: f64 = 350.0;
const MOST_IN_CACHE: f64 = 400.0;
/// A request that waits longer than this for its login is one that feels the purge.
const MOST_WHILE_PURGING: Duration = Duration::from_millis(100);

const RULES: SessionRules = SessionRules {
    session_ttl: Duration::from_secs(30 * 24 * 3600),
    refresh_grace: Duration::from_secs(30),
    token_ttl: Duration::from_secs(2 * 3600),
    unionid_lookup: false,
};

const APPID: &str = "wx0123456789abcdef";

/// Returns how many sessions there are to be; fewer than [`MANY`] show that the benchmark works, and nothing else.
fn many() -> usize {
    let asked = std::env::var("SESSIONS");
    asked.map_or(MANY, |count| count.parse().unwrap())
}

/// Fails where a limit does not hold that is about [`MANY`].
#[track_caller]
fn holds(limit: bool, figure: &str) {
    assert!(limit || many() < MANY, "over the limit: {figure}");
}

/// A user such as WeChat names one; no two numbers give the same.
fn identity(number: usize) -> Identity {
    // Digits that look random, so that users come in no order.
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Identity {
        app: "shop".to_owned(),
        appid: APPID.to_owned(),
        openid: format!("oHa2-5qTK_tC{mixed:016x}"),
        unionid: Some(format!("oI37hhYVnUel{mixed:016x}")),
        source: Source::MiniProgram,
    }
}

/// A store in a folder of its own, on the disk that holds the build.
struct Place {
    folder: TempDir,
    clock: Clock,
    store: Sessions,
    /// How many users logged in so far; the next number is nobody yet.
    users: Arc<AtomicUsize>,
    logins: Arc<AtomicUsize>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let clock = Clock::system();
        let store = open(folder.path(), &clock);
        Self {
            folder,
            clock,
            store,
            users: Arc::default(),
            logins: Arc::default(),
        }
    }

    /// Logs users in that were not logged in before; returns how long each had to wait, and their refresh tokens.
    async fn log_in(&self, count: usize, together: usize) -> (Vec<Duration>, Vec<RefreshToken>) {
        let first = self.users.fetch_add(count, Ordering::Relaxed);
        self.log_in_users(first..first + count, together).await
    }

    async fn log_in_users(
        &self,
        users: Range<usize>,
        together: usize,
    ) -> (Vec<Duration>, Vec<RefreshToken>) {
        let key = Secret::new("HyVFkGl5F5OQWJZZaNzBBg==");
        let store = self.store.clone();
        self.logins.fetch_add(users.len(), Ordering::Relaxed);
        let opened = each(users, together, move |number| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                let opened = store.open_session(identity(number), &key).await;
                opened.unwrap().refresh
            }
        });
        opened.await.into_iter().unzip()
    }

    /// Refreshes each session once, in the order of `tokens`.
    async fn refresh(&self, tokens: Vec<RefreshToken>, together: usize) {
        let (store, tokens) = (self.store.clone(), Arc::new(tokens));
        let apps = Apps::new([("shop", APPID)]);
        let refreshed = each(0..tokens.len(), together, move |number| {
            let (store, tokens, apps) = (store.clone(), Arc::clone(&tokens), apps.clone());
            async move { store.refresh(&tokens[number], &apps).await.unwrap() }
        });
        refreshed.await;
    }

    /// Returns how many logins there were.
    fn sessions(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of disk the file takes; it grows by doubling, and what was never written of it takes none.
    fn disk(&self) -> u64 {
        self.file().metadata().unwrap().blocks() * 512
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("sessions.redb")
    }
}

fn open(folder: &Path, clock: &Clock) -> Sessions {
    Sessions::embedded(folder, None, RULES, clock.clone()).unwrap()
}

/// Does something with each number, with so many at once; returns how long each took, and its result.
async fn each<T: Send + 'static, F: Future<Output = T> + Send>(
    numbers: Range<usize>,
    together: usize,
    work: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Vec<(Duration, T)> {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let tasks = (0..together).map(|_| {
        let (next, work) = (Arc::clone(&next), work.clone());
        tokio::spawn(async move {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return done;
                }
                let began = Instant::now();
                let result = work(number).await;
                done.push((began.elapsed(), result));
            }
        })
    });
    let done = join_all(tasks).await.into_iter();
    done.flat_map(Result::unwrap).collect()
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

fn say(line: &str) {
    println!("{line}");
}

/// Says what else the machine does.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    format!("load {}", load.split(' ').next().unwrap_or_default())
}

async fn logins() {
    const TOGETHER: usize = 256;
    let count = many() / 10;
    let place = Place::new();
    let rate = |began: Instant| count as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let (_, tokens) = place.log_in(count, TOGETHER).await;
    let logins = rate(began);
    let began = Instant::now();
    place.refresh(tokens, TOGETHER).await;
    let refreshes = rate(began);
    say(&format!(
        "{TOGETHER} at once: {logins:.0} logins and {refreshes:.0} refreshes a second \
         (at least {LEAST_PER_SECOND}); {}",
        load()
    ));
    let least = logins.min(refreshes);
    holds(least >= LEAST_PER_SECOND, &format!("{least:.0} a second"));
}

async fn million() {
    const TOGETHER: usize = 1024;
    let (mut place, many) = (Place::new(), many());
    let began = Instant::now();
    let tokens = place.log_in(many, TOGETHER).await.1;
    say(&format!(
        "{many} sessions were made in {:.0?}; {}",
        began.elapsed(),
        load()
    ));
    place.store.clone().close().await;
    let fresh = place.disk() as f64 / many as f64;
    say(&inside(&place.file(), many));
    let (opening, held) = reopen(&mut place);
    say(&format!(
        "start with {many} sessions: {opening:.2?} (at most {MOST_TO_OPEN:?}), and {held:.0} bytes of memory for each, with \
         pages that are cached; {}",
        load()
    ));
    let login = compare_logins(&place).await;
    place.refresh(shuffled(tokens), TOGETHER).await;
    place.store.clone().close().await;
    let stored = place.sessions();
    let used = place.disk() as f64 / stored as f64;
    say(&inside(&place.file(), stored));
    say(&format!(
        "disk for each session: {fresh:.0} bytes after the logins, {used:.0} once each was refreshed (at most {MOST_ON_DISK})"
    ));
    holds(login <= MOST_TO_LOG_IN, &format!("{login:?} for a login"));
    holds(opening <= MOST_TO_OPEN, &format!("{opening:?}"));
    for size in [fresh, used] {
        holds(size <= MOST_ON_DISK, &format!("{size:.0} bytes"));
    }
}

/// Opens the store again; returns how long that took, and how many bytes of memory it took for each session.
fn reopen(place: &mut Place) -> (Duration, f64) {
    let before = resident();
    let began = Instant::now();
    place.store = open(place.folder.path(), &place.clock);
    let held = (resident() - before) / many() as f64;
    (began.elapsed(), held)
}

/// Puts tokens in an order that has nothing to do with that of their logins.
fn shuffled(tokens: Vec<RefreshToken>) -> Vec<RefreshToken> {
    let mut mixed: Vec<_> = tokens.into_iter().enumerate().collect();
    mixed.sort_unstable_by_key(|(number, _)| (*number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed.into_iter().map(|(_, token)| token).collect()
}

/// Says how the file's space is used, as the engine counts it.
fn inside(file: &Path, sessions: usize) -> String {
    let database = Database::open(file).unwrap();
    let reading = database.begin_read().unwrap();
    let mut lines: Vec<String> = reading
        .list_tables()
        .unwrap()
        .map(|handle| {
            let name = handle.name().to_owned();
            let stats = reading.open_untyped_table(handle).unwrap().stats().unwrap();
            let share = |bytes: u64| bytes as f64 / sessions as f64;
            format!(
                "  {name}: {:.1} stored, {:.1} unused in its pages, {:.1} for its tree",
                share(stats.stored_bytes()),
                share(stats.fragmented_bytes()),
                share(stats.metadata_bytes())
            )
        })
        .collect();
    lines.sort();
    let writing = database.begin_write().unwrap();
    let stats = writing.stats().unwrap();
    let allocated = stats.allocated_pages() * stats.page_size() as u64;
    lines.push(format!(
        "  allocated: {:.0} bytes for each session",
        allocated as f64 / sessions as f64
    ));
    lines.join("\n")
}

/// Says how long a login takes with an empty store and with a full one; returns the 99th percentile with a full one, of somebody new
/// or of somebody who has a session already, whichever is longer.
async fn compare_logins(full: &Place) -> Duration {
    const ROUNDS: usize = 10;
    const TOGETHER: usize = 64;
    let (many, count) = (many(), many() / 100);
    let (mut without, mut with, mut again) = (Vec::new(), Vec::new(), Vec::new());
    full.log_in(count, TOGETHER).await;
    // In turns, so that what else the machine does falls on each.
    for round in 0..ROUNDS {
        let empty = Place::new();
        without.extend(empty.log_in(count, TOGETHER).await.0);
        with.extend(full.log_in(count, TOGETHER).await.0);
        let users = round * count..(round + 1) * count;
        again.extend(full.log_in_users(users, TOGETHER).await.0);
    }
    let sets = [&mut without, &mut with, &mut again];
    let [none, new, old] = sets.map(|times| [50, 99].map(|percent| percentile(times, percent)));
    say(&format!(
        "a login, {TOGETHER} at once: p99 {:.2?} with none stored, with {many} {:.2?} of somebody new and {:.2?} of somebody who \
         has a session (at most {MOST_TO_LOG_IN:?}); medians {:.2?}, {:.2?} and {:.2?}; {}",
        none[1],
        new[1],
        old[1],
        none[0],
        new[0],
        old[0],
        load()
    ));
    new[1].max(old[1])
}

async fn purge() {
    const TOGETHER: usize = 16;
    let (place, expired) = (Place::new(), many() / 10);
    place.log_in(expired, 1024).await;
    let mut before = place.log_in(expired / 10, TOGETHER).await.0;
    place.clock.advance(RULES.session_ttl);
    let began = Instant::now();
    let (mut during, mut later) = (Vec::new(), 0);
    // As many batches as the purge has steps, and some more.
    while later < expired {
        during.extend(place.log_in(expired / 20, TOGETHER).await.0);
        later += expired / 20;
    }
    let took = began.elapsed();
    let file = place.file();
    place.store.clone().close().await;
    let database = Database::open(&file).unwrap();
    let reading = database.begin_read().unwrap();
    let mut tables = reading.list_tables().unwrap();
    // Each session has one expiry.
    let sessions = tables.find(|table| table.name() == "expiries").unwrap();
    let left = reading.open_untyped_table(sessions).unwrap().len().unwrap();
    let slowest = percentile(&mut during, 100);
    say(&format!(
        "while {expired} expired sessions are purged: p99 {:.2?}, slowest {slowest:.2?} (at most {MOST_WHILE_PURGING:?}); \
         before: p99 {:.2?}, slowest {:.2?}; {later} logins in {took:.1?}; {}",
        percentile(&mut during, 99),
        percentile(&mut before, 99),
        percentile(&mut before, 100),
        load()
    ));
    assert_eq!(left, later as u64, "none but those of the logins since");
    holds(slowest <= MOST_WHILE_PURGING, &format!("{slowest:?}"));
}

fn cache() {
    let many = many();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [[app]]\nname = \"shop\"\nkind = \"mini_program\"\nappid = \"{APPID}\"\nsecret_env = \"S\"\n\
         [[upstream]]\nname = \"api\"\nservers = [\"127.0.0.1:1\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"api\"\n"
    );
    let config = config::parse(&text, "bench", &|_| Some("secret".to_owned()))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let clock = Clock::system();
    let folder = tempfile::tempdir().unwrap();
    // The algorithm that is made and checked fastest; what is kept of a token is the same for each.
    let keys = load_or_make(&folder.path().join("keys"), Algorithm::Hs256, &clock).unwrap();
    let keys = Arc::new(keys);
    let ttl = RULES.token_ttl;
    let verifier = Verifier::new(&keys, "menshen", &config.apps, ttl, clock.clone());
    let tokens = Tokens::new(verifier, many as u64, clock.clone()).unwrap();
    let issuer = Issuer::new(Arc::clone(&keys), "menshen".to_owned(), ttl, clock.clone());
    let now = clock.unix_secs();
    let check = |number: usize| {
        let session = Session {
            id: "7C8rKJ8lkYfec2gPmTWQdw".parse().unwrap(),
            identity: identity(number),
            created: now,
            expires: now + RULES.session_ttl.as_secs(),
        };
        let issued = issuer.issue(&session).unwrap();
        tokens.check(issued.token.expose().as_bytes()).unwrap();
    };
    (0..1000).for_each(check);
    let before = resident();
    // As many again as there is room for, since what had to make room costs something as well.
    let counted = allocation_counter::measure(|| (1000..2 * many).for_each(check));
    let share = |bytes: f64| bytes / many as f64;
    let (grown, held) = (
        share(resident() - before),
        share(counted.bytes_current as f64),
    );
    say(&format!(
        "a token in the cache: {grown:.0} bytes of memory (at most {MOST_IN_CACHE}), of which {held:.0} were asked for"
    ));
    holds(grown <= MOST_IN_CACHE, &format!("{grown:.0} bytes"));
    drop(tokens);
}

/// Returns the memory that this process occupies, in bytes.
fn resident() -> f64 {
    resident_memory(std::process::id()) as f64
}

fn main() {
    // First, while little memory was given back that it could use again.
    if runs("cache") {
        cache();
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if runs("logins") {
            logins().await;
        }
        if runs("million") {
            million().await;
        }
        if runs("purge") {
            purge().await;
        }
    });
}
