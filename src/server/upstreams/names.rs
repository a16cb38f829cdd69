//! Where servers are: names are looked up again and again.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use moka::sync::Cache as Marks;
use pingora::protocols::l4::socket::SocketAddr;
use tokio::time::{Instant, timeout};

use crate::config::ServerAddress;

/// How long an answer of the DNS is used, and a last one before it is asked again.
const RESOLVED_FOR: Duration = Duration::from_secs(10);

/// How long an address that failed comes after the others of its name.
const SHUNNED_FOR: Duration = Duration::from_secs(10);

const MOST: u64 = 10_000;

/// Asks for the addresses of a name with a port.
type LookUp = Box<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The addresses of names.
pub(super) struct Names {
    look_up: LookUp,
    /// Only the configuration puts names in.
    known: Mutex<HashMap<String, Arc<Name>>>,
    shunned: Marks<SocketAddr, ()>,
    turn: AtomicUsize,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Name {
    answer: Mutex<Answer>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Answer {
    places: Arc<[SocketAddr]>,
    /// When it was last asked for.
    asked: Option<Instant>,
    /// How often it was.
    times: u64,
    is_failing: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self::asking(Box::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host(name).await?;
                Ok(found.map(SocketAddr::Inet).collect())
            })
        }))
    }
}

impl Names {
    fn asking(look_up: LookUp) -> Self {
        Self {
            look_up,
            known: Mutex::default(),
            shunned: Marks::builder()
                .max_capacity(MOST)
                .time_to_live(SHUNNED_FOR)
                .build(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Returns where a server is whose address is a name, in the order in which to try, after `limit` at the latest; none
    /// when it has no address.
    pub(super) async fn places(&self, server: &ServerAddress, limit: Duration) -> Vec<SocketAddr> {
        let ServerAddress::Tcp(name) = server else {
            return Vec::new();
        };
        let mut places = self.resolve(name, limit).await.to_vec();
        if places.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let first = turn % places.len();
            places.rotate_left(first);
            places.sort_by_key(|place| self.shunned.contains_key(place));
        }
        places
    }

    /// Puts an address behind the others of its name for a while.
    pub(super) fn shun(&self, place: &SocketAddr) {
        self.shunned.insert(place.clone(), ());
    }

    /// Returns the addresses of a name. The last ones stay while nobody says others: a resolver that is away does not
    /// take the servers with it.
    async fn resolve(&self, name: &str, limit: Duration) -> Arc<[SocketAddr]> {
        let known = self.known(name);
        let answer = known.answer();
        if answer.is_fresh() {
            return answer.places;
        }
        let turn = match known.asking.try_lock() {
            Ok(turn) => turn,
            Err(_) if !answer.places.is_empty() => return answer.places,
            Err(_) => match timeout(limit, known.asking.lock()).await {
                Ok(turn) => turn,
                Err(_) => return answer.places,
            },
        };
        let before = answer.times;
        let answer = known.answer();
        // Somebody else has asked meanwhile, even if in vain.
        if answer.times != before {
            return answer.places;
        }
        let found = timeout(limit, (self.look_up)(name.to_owned())).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let places = known.note(name, found);
        drop(turn);
        places
    }

    fn known(&self, name: &str) -> Arc<Name> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(known.entry(name.to_owned()).or_default())
    }
}

impl Name {
    fn answer(&self) -> Answer {
        self.locked().clone()
    }

    /// Remembers what a look-up found, and returns what is used from now on.
    fn note(&self, name: &str, found: io::Result<Vec<SocketAddr>>) -> Arc<[SocketAddr]> {
        let found = found.and_then(|places| match places.is_empty() {
            true => Err(io::Error::other("it has none")),
            false => Ok(places),
        });
        let mut answer = self.locked();
        answer.asked = Some(Instant::now());
        answer.times += 1;
        match found {
            Ok(mut places) => {
                // Resolvers shuffle them; turns are taken here.
                places.sort_by_key(ToString::to_string);
                places.dedup();
                if answer.is_failing {
                    tracing::info!(server = name, "a server's name has addresses again");
                }
                answer.places = places.into();
                answer.is_failing = false;
            }
            Err(error) => {
                if !answer.is_failing {
                    let last = answer.places.len();
                    tracing::warn!(
                        server = name,
                        %error,
                        last_addresses_used = last,
                        "the addresses of a server's name cannot be found"
                    );
                }
                answer.is_failing = true;
            }
        }
        Arc::clone(&answer.places)
    }

    fn locked(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn is_fresh(&self) -> bool {
        let asked_lately = |asked: Instant| asked.elapsed() < RESOLVED_FOR;
        !self.places.is_empty() && self.asked.is_some_and(asked_lately)
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a resolver of a test's own does; it can be changed while it is asked.
    #[derive(Clone, Debug)]
    pub(in super::super) enum Resolver {
        Says(Vec<std::net::SocketAddr>),
        Refuses,
        IsSilent,
    }

    type Held = Arc<Mutex<(Resolver, usize)>>;

    /// Returns names that ask such a resolver, and the resolver with how often it was asked.
    pub(in super::super) fn names(resolver: Resolver) -> (Names, Held) {
        let held: Held = Arc::new(Mutex::new((resolver, 0)));
        let asked = Arc::clone(&held);
        let names = Names::asking(Box::new(move |_| {
            let mut asked = asked.lock().unwrap();
            asked.1 += 1;
            let resolver = asked.0.clone();
            Box::pin(async move {
                match resolver {
                    Resolver::Says(places) => {
                        Ok(places.into_iter().map(SocketAddr::Inet).collect())
                    }
                    Resolver::Refuses => Err(io::Error::other("refused")),
                    Resolver::IsSilent => std::future::pending().await,
                }
            })
        }));
        (names, held)
    }

    const LIMIT: Duration = Duration::from_secs(5);

    fn one() -> Resolver {
        Resolver::Says(vec!["10.0.0.1:80".parse().unwrap()])
    }

    async fn places(names: &Names) -> Vec<String> {
        let server = ServerAddress::Tcp("api.test:80".to_owned());
        let places = names.places(&server, LIMIT).await;
        places.iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_for_again_and_its_new_address_used() {
        let (names, resolver) = names(one());
        assert_eq!(places(&names).await, ["10.0.0.1:80"]);
        resolver.lock().unwrap().0 = Resolver::Says(vec!["10.0.0.2:80".parse().unwrap()]);
        assert_eq!(places(&names).await, ["10.0.0.1:80"]);
        assert_eq!(resolver.lock().unwrap().1, 1);
        tokio::time::advance(RESOLVED_FOR).await;
        assert_eq!(places(&names).await, ["10.0.0.2:80"]);
        assert_eq!(resolver.lock().unwrap().1, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_addresses_stay_while_the_resolver_fails() {
        let (names, resolver) = names(one());
        places(&names).await;
        for failing in [
            Resolver::Refuses,
            Resolver::IsSilent,
            Resolver::Says(vec![]),
        ] {
            resolver.lock().unwrap().0 = failing.clone();
            for _ in 0..3 {
                tokio::time::advance(RESOLVED_FOR).await;
                let begun = Instant::now();
                assert_eq!(places(&names).await, ["10.0.0.1:80"], "{failing:?}");
                assert!(
                    begun.elapsed() <= LIMIT + Duration::from_millis(1),
                    "{failing:?}"
                );
                // Whoever comes next does not wait again.
                let begun = Instant::now();
                assert_eq!(places(&names).await, ["10.0.0.1:80"], "{failing:?}");
                assert_eq!(begun.elapsed(), Duration::ZERO, "{failing:?}");
            }
        }
        resolver.lock().unwrap().0 = Resolver::Says(vec!["10.0.0.3:80".parse().unwrap()]);
        tokio::time::advance(RESOLVED_FOR).await;
        assert_eq!(places(&names).await, ["10.0.0.3:80"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_limit_for_a_silent_resolver() {
        let (names, resolver) = names(Resolver::IsSilent);
        let begun = Instant::now();
        let all = futures::future::join_all((0..50).map(|_| places(&names))).await;
        assert!(all.iter().all(Vec::is_empty));
        assert!(begun.elapsed() <= LIMIT + Duration::from_millis(1));
        resolver.lock().unwrap().0 = one();
        assert_eq!(places(&names).await, ["10.0.0.1:80"]);
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_asks_the_others_use_the_last_addresses() {
        let (names, resolver) = names(one());
        places(&names).await;
        resolver.lock().unwrap().0 = Resolver::IsSilent;
        tokio::time::advance(RESOLVED_FOR).await;
        let begun = Instant::now();
        let mut asking = std::pin::pin!(places(&names));
        assert!(futures::poll!(asking.as_mut()).is_pending());
        assert_eq!(places(&names).await, ["10.0.0.1:80"]);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(asking.await, ["10.0.0.1:80"]);
    }
}
