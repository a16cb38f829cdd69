//! Tests of the addresses of servers, with a name server of their own where one is asked.

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
pub(in super::super) fn names(resolver: Resolver) -> (ResolvedNames, Held) {
    names_beside(resolver, OwnListeners::default())
}

fn names_beside(resolver: Resolver, own: OwnListeners) -> (ResolvedNames, Held) {
    let held: Held = Arc::new(Mutex::new((resolver, 0)));
    let asked = Arc::clone(&held);
    let look_up: LookUp = Box::new(move |_| {
        let mut asked = asked.lock().unwrap();
        asked.1 += 1;
        let resolver = asked.0.clone();
        Box::pin(async move {
            match resolver {
                Resolver::Says(places) => Ok(places.into_iter().map(SocketAddr::Inet).collect()),
                Resolver::Refuses => Err(io::Error::other("refused")),
                Resolver::IsSilent => std::future::pending().await,
            }
        })
    });
    (ResolvedNames::asking(look_up, own), held)
}

const LIMIT: Duration = Duration::from_secs(5);

fn one() -> Resolver {
    Resolver::Says(vec!["10.0.0.1:80".parse().unwrap()])
}

async fn places(names: &ResolvedNames) -> Vec<String> {
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

#[tokio::test(start_paused = true)]
async fn an_address_that_leads_here_is_not_used() {
    let own = "0.0.0.0:80".parse::<std::net::SocketAddr>().unwrap();
    let says = |places: &[&str]| {
        Resolver::Says(places.iter().map(|place| place.parse().unwrap()).collect())
    };
    let here = says(&["127.0.0.1:80"]);
    let (names, resolver) = names_beside(here.clone(), own.into());
    assert!(places(&names).await.is_empty());
    // Somebody else listens at another port of this machine, and at ours of another one.
    for (said, used) in [
        (says(&["127.0.0.1:81"]), "127.0.0.1:81"),
        (says(&["127.0.0.1:80", "192.0.2.1:80"]), "192.0.2.1:80"),
        (here, "192.0.2.1:80"),
    ] {
        resolver.lock().unwrap().0 = said;
        tokio::time::advance(RESOLVED_FOR).await;
        assert_eq!(places(&names).await, [used]);
    }
}
