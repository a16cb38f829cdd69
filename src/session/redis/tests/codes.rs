//! A code is redeemed by one node, and the others learn what it brought.

use std::time::Duration;

use super::deployed::{Deployed, over_each_deployment};
use super::{Names, Server, log_in, soon};
use crate::clock::Clock;
use crate::session::contract::{apps, code_use, identity, session_key};
use crate::session::{Claim, Holder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_redeems_a_code_and_the_others_learn_what_it_brought() {
    let server = Server::start().await;
    let clock = Clock::system();
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let (code, lease) = (one.mark("wx1", "0a1b2c"), Duration::from_secs(10));
    let [first, second] = [(); 2].map(|()| Holder::random().unwrap());
    let claim = one.claim(code, first, lease).await.unwrap();
    assert!(matches!(claim, Claim::Yours), "{claim:?}");
    let claim = other.claim(code, second, lease).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
    // Who does not have it cannot give it back.
    other.give_back(code, second).await.unwrap();
    let claim = other.claim(code, second, lease).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
    let claim = other.claim(code, second, Duration::ZERO).await.unwrap();
    assert!(matches!(claim, Claim::Lost), "{claim:?}");
    let sender = one.sender(code, Some("nonce"), None).unwrap();
    let opened = one
        .open_session_for(
            code_use(code, sender.mark(), lease),
            identity("a"),
            Some(&session_key("k")),
        )
        .await
        .unwrap();
    let claim = async || other.claim(code, second, lease).await.unwrap();
    soon(async || !matches!(claim().await, Claim::Elsewhere)).await;
    let claim = claim().await;
    let Claim::Done(told, first, _) = claim else {
        panic!("{claim:?}");
    };
    for (nonce, is_first) in [(Some("nonce"), true), (Some("other"), false), (None, false)] {
        let sender = other.sender(code, nonce, None).unwrap();
        assert_eq!(sender.is(&first), is_first, "{nonce:?}");
    }
    assert_eq!(told.session, opened.session);
    assert_eq!(told.refresh.expose(), opened.refresh.expose());
    one.refresh(&opened.refresh, &apps()).await.unwrap();
    let claim = other.claim(code, second, lease).await.unwrap();
    let spent = matches!(claim, Claim::Spent(Some(session)) if session == opened.session.id);
    assert!(spent, "{claim:?}");
}

#[tokio::test]
async fn what_wechat_refused_is_told_by_whoever_had_the_code_and_only_then() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let (code, minute) = (one.mark("wx1", "0a"), Duration::from_secs(60));
    let [first, second] = [(); 2].map(|()| Holder::random().unwrap());
    one.claim(code, first, minute).await.unwrap();
    let keep = other.keep_refusal(code, second, 40163, minute);
    keep.await.unwrap();
    let claim = other.claim(code, second, minute).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
    let keep = one.keep_refusal(code, first, 40029, minute);
    keep.await.unwrap();
    let claim = other.claim(code, second, minute).await.unwrap();
    let Claim::Refused(40029, left) = claim else {
        panic!("{claim:?}");
    };
    assert!(left <= minute && left > minute / 2, "{left:?}");
    // It has no holder any more.
    one.give_back(code, first).await.unwrap();
    let claim = other.claim(code, second, minute).await.unwrap();
    assert!(matches!(claim, Claim::Refused(40029, _)), "{claim:?}");
}

async fn a_refresh_takes_one_round_trip_and_a_login_two(redis: &Deployed) {
    let store = redis.node(&Clock::system()).await;
    let (lease, key) = (Duration::from_secs(10), session_key("k"));
    let code = async |n: usize| {
        let code = store.mark("wx1", &format!("0a{n}"));
        let holder = Holder::random().unwrap();
        let claim = store.claim(code, holder, lease).await.unwrap();
        assert!(matches!(claim, Claim::Yours), "{claim:?}");
        code
    };
    // After this every server knows every script.
    for n in 0..40 {
        code(n).await;
        let opened = log_in(&store, &n.to_string()).await;
        store.refresh(&opened.refresh, &apps()).await.unwrap();
    }
    let sent = || redis.calls("evalsha") + redis.calls("eval");
    let (before, known) = (store.operations(), sent());
    let address = "192.0.2.1".parse().unwrap();
    let code = code(40).await;
    let sender = store.sender(code, None, Some(address)).unwrap().mark();
    let opened = store.open_session_for(code_use(code, sender, lease), identity("a"), Some(&key));
    let opened = opened.await.unwrap();
    // One thread runs everything here, so that what is stored in the background has not begun.
    assert_eq!((store.operations() - before, sent() - known), (2, 2));
    let outcome = Names::new("menshen:", &redis.config().mode).code(code);
    soon(async || redis.ask(&outcome, &["GET", &outcome]).starts_with('d')).await;
    let kept = redis.ask(&outcome, &["GET", &outcome]);
    assert!(!kept.contains(opened.refresh.expose()), "{kept}");
    let (before, known) = (store.operations(), sent());
    let opened = store.refresh(&opened.refresh, &apps()).await.unwrap();
    assert_eq!((store.operations() - before, sent() - known), (1, 1));
    store.refresh(&opened.refresh, &apps()).await.unwrap();
    assert_eq!((store.operations() - before, sent() - known), (2, 2));
}

over_each_deployment! { a_refresh_takes_one_round_trip_and_a_login_two }

#[tokio::test]
async fn what_a_code_brought_is_told_only_where_its_session_is_stored() {
    let (server, clock) = (Server::start().await, Clock::system());
    let store = server.sessions(&clock).await;
    let (code, minute) = (store.mark("wx1", "0a"), Duration::from_secs(60));
    let [first, second] = [(); 2].map(|()| Holder::random().unwrap());
    store.claim(code, first, minute).await.unwrap();
    server.ask::<()>("ACL SETUSER default -evalsha -eval").await;
    let key = session_key("some key");
    let first = store.sender(code, None, None).unwrap().mark();
    let opened =
        store.open_session_for(code_use(code, first, minute), identity("alice"), Some(&key));
    assert!(opened.await.is_err());
    server.ask::<()>("ACL SETUSER default +evalsha +eval").await;
    let claim = store.claim(code, second, minute).await.unwrap();
    assert!(matches!(claim, Claim::Elsewhere), "{claim:?}");
}

#[tokio::test]
async fn that_a_session_could_not_be_stored_is_told_when_redis_can_be_told() {
    let (server, clock) = (Server::start().await, Clock::system());
    let (one, other) = (server.sessions(&clock).await, server.sessions(&clock).await);
    let (code, minute) = (one.mark("wx1", "0a"), Duration::from_secs(60));
    let [first, second] = [(); 2].map(|()| Holder::random().unwrap());
    one.claim(code, first, minute).await.unwrap();
    // Who does not have it says nothing.
    other.keep_not_stored(code, second);
    server.ask::<()>("ACL SETUSER default -evalsha -eval").await;
    one.keep_not_stored(code, first);
    server.ask::<()>("ACL SETUSER default +evalsha +eval").await;
    let claim = async || other.claim(code, second, minute).await.unwrap();
    soon(async || !matches!(claim().await, Claim::Elsewhere)).await;
    let claim = claim().await;
    assert!(
        matches!(claim, Claim::NotStored(left) if left > minute),
        "{claim:?}"
    );
}
