//! What every store makes of a refresh token, and of one that was replaced.

use std::cmp::Ordering;
use std::time::Duration;

use futures::future::join_all;

use super::{APPID, SECOND, Subject, apps, code_use, identity, session_key};
use crate::session::refresh_token::LOST_AT_MOST;
use crate::session::{Apps, Identity, Opened, RefreshError, RefreshToken};

pub(in crate::session) async fn a_refresh_gives_another_token_and_more_time(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let before = s.log_in("alice").await;
    s.pass(SECOND).await;
    let after = s.refresh(&before.refresh).await;
    assert_ne!(after.refresh.expose(), before.refresh.expose());
    assert_eq!(after.session.id, before.session.id);
    assert_eq!(after.session.created, before.session.created);
    assert!(after.session.expires > before.session.expires);
}

pub(in crate::session) async fn a_session_that_is_refreshed_outlives_its_first_end(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let mut opened = s.log_in("alice").await;
    for _ in 0..3 {
        s.pass(s.rules.session_ttl / 2).await;
        opened = s.refresh(&opened.refresh).await;
    }
    assert_eq!(s.count("alice").await, 1);
}

pub(in crate::session) async fn forty_refreshes_at_once_give_one_successor(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let tasks = (0..40).map(|_| {
        let (store, token) = (s.store.clone(), opened.refresh.clone());
        tokio::spawn(async move { store.refresh(&token, &apps()).await.unwrap() })
    });
    let refreshed = join_all(tasks).await;
    let first = refreshed[0].as_ref().unwrap();
    for other in &refreshed {
        let other = other.as_ref().unwrap();
        assert_eq!(other.refresh.expose(), first.refresh.expose());
        assert_eq!(other.session, first.session);
    }
    s.refresh(&first.refresh).await;
}

pub(in crate::session) async fn a_replaced_token_gives_the_same_successor_within_grace(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let successor = s.refresh(&opened.refresh).await;
    s.pass(s.rules.refresh_grace / 2).await;
    let again = s.refresh(&opened.refresh).await;
    assert_eq!(again.refresh.expose(), successor.refresh.expose());
}

pub(in crate::session) async fn a_replaced_token_does_not_lengthen_the_session(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let successor = s.refresh(&opened.refresh).await;
    s.pass(s.rules.refresh_grace / 2).await;
    let again = s.refresh(&opened.refresh).await;
    assert_eq!(again.session.expires, successor.session.expires);
}

pub(in crate::session) async fn a_replaced_token_ends_the_session_after_grace(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    let successor = s.refresh(&opened.refresh).await;
    s.pass(s.rules.refresh_grace + SECOND).await;
    let reused = s.store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
    let ended = s.store.refresh(&successor.refresh, &apps()).await;
    assert!(matches!(ended, Err(RefreshError::Ended)));
}

pub(in crate::session) async fn a_session_of_an_app_that_is_not_configured_waits_for_it(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let opened = s.log_in("alice").await;
    for others in [&[][..], &[("shop", "wx2"), ("club", APPID)]] {
        let others = Apps::new(others.iter().copied());
        let refused = s.store.refresh(&opened.refresh, &others).await;
        assert!(matches!(refused, Err(RefreshError::AppUnknown)));
    }
    s.pass(s.rules.refresh_grace + SECOND).await;
    let after = s.refresh(&opened.refresh).await;
    assert_eq!(after.session.id, opened.session.id);
}

pub(in crate::session) async fn a_unionid_that_a_login_brings_reaches_all_sessions_at_their_next_refresh(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let log_in = async |unionid: Option<&str>| {
        let who = Identity {
            unionid: unionid.map(str::to_owned),
            ..identity("alice")
        };
        let key = session_key("some key");
        s.store.open_session(who, &key).await.unwrap()
    };
    let without = log_in(None).await;
    assert_eq!(without.session.identity.unionid, None);
    let without = s.refresh(&without.refresh).await;
    assert_eq!(without.session.identity.unionid, None);

    let unionid = |opened: &Opened| opened.session.identity.unionid.clone();
    let first = Some("first".to_owned());
    assert_eq!(unionid(&log_in(Some("first")).await), first);
    let learnt = s.refresh(&without.refresh).await;
    assert_eq!(unionid(&learnt), first);
    // Also for whoever did not get that answer.
    assert_eq!(unionid(&s.refresh(&without.refresh).await), first);

    let second = Some("second".to_owned());
    let changed = log_in(Some("second")).await;
    // It outlives the session of the login that brought it, and a login that brings none.
    s.store.end(changed.session.id).await.unwrap();
    assert_eq!(unionid(&log_in(None).await), second);
    assert_eq!(unionid(&s.refresh(&learnt.refresh).await), second);

    let other = s.log_in("bob").await;
    assert_eq!(
        unionid(&s.refresh(&other.refresh).await),
        identity("bob").unionid
    );
}

pub(in crate::session) async fn each_replaced_token_gives_its_successor_within_its_own_grace(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let first = s.log_in("alice").await;
    let second = s.refresh(&first.refresh).await;
    s.pass(SECOND * 2).await;
    let third = s.refresh(&second.refresh).await;
    let again = s.refresh(&first.refresh).await;
    assert_eq!(again.refresh.expose(), second.refresh.expose());
    s.pass(s.rules.refresh_grace - SECOND).await;
    let again = s.refresh(&second.refresh).await;
    assert_eq!(again.refresh.expose(), third.refresh.expose());
    let reused = s.store.refresh(&first.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
}

pub(in crate::session) async fn a_token_that_was_replaced_often_ends_the_session(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let first = s.log_in("alice").await;
    let mut last = first.clone();
    for _ in 0..=crate::session::rotation::REMEMBERED {
        last = s.refresh(&last.refresh).await;
    }
    let reused = s.store.refresh(&first.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
    assert_eq!(s.count("alice").await, 0);
}

pub(in crate::session) async fn reuse_revokes_that_session_and_no_other(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let other = s.log_in("alice").await.session.id;
    let opened = s.log_in("alice").await;
    s.refresh(&opened.refresh).await;
    s.pass(s.rules.refresh_grace + SECOND).await;
    let reused = s.store.refresh(&opened.refresh, &apps()).await;
    assert!(matches!(reused, Err(RefreshError::Reused)));
    assert!(s.store.revoked().contains(&opened.session.id));
    assert!(!s.store.revoked().contains(&other));
    assert_eq!(s.count("alice").await, 1);
}

pub(in crate::session) async fn rotations_that_the_store_lost_are_borne_up_to_a_limit(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let keys = &s.store.shared.keys.refresh;
    // The token that a client has after so many refreshes of which the store knows nothing.
    let after = |first: &RefreshToken, lost: u32| {
        let first = keys.recognise(first).unwrap();
        keys.text(&(0..lost).fold(first, |token, _| keys.successor(token)))
    };
    for lost in [1, 2, LOST_AT_MOST] {
        let first = s.log_in("alice").await;
        let second = s.refresh(&first.refresh).await.refresh;
        let next = s.refresh(&after(&second, lost)).await;
        let again = s.refresh(&after(&second, lost - 1)).await;
        assert_eq!(
            again.refresh.expose(),
            after(&second, lost).expose(),
            "{lost}"
        );
        assert_eq!(again.session, next.session);
        s.refresh(&next.refresh).await;
    }
    let before = s.count("alice").await;
    let first = s.log_in("alice").await;
    let ahead = after(&first.refresh, LOST_AT_MOST + 1);
    let refused = s.store.refresh(&ahead, &apps()).await;
    assert!(matches!(refused, Err(RefreshError::Reused)), "{refused:?}");
    assert_eq!(s.count("alice").await, before);
}

pub(in crate::session) async fn the_seal_key_alone_makes_no_refresh_token(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let keys = &s.store.shared.keys.refresh;
    // Backends are sent both the session's id and the openid.
    for rotations in 0..3 {
        for generation in 0..=rotations + LOST_AT_MOST + 1 {
            let mut opened = s.log_in("alice").await;
            for _ in 0..rotations {
                opened = s.refresh(&opened.refresh).await;
            }
            let forged = keys.first(opened.session.id, identity("alice").user());
            let forged = (0..generation).fold(forged.unwrap(), |token, _| keys.successor(token));
            let forged = keys.text(&forged);
            assert!(s.store.unused(&forged).await.unwrap().is_none());
            let refused = s.store.refresh(&forged, &apps()).await;
            let refused = refused.expect_err("it should be refused");
            match generation.cmp(&rotations) {
                // As if it had been replaced a moment ago: the session is the user's as before.
                Ordering::Less => {
                    assert!(matches!(refused, RefreshError::Invalid), "{refused:?}");
                    s.refresh(&opened.refresh).await;
                }
                Ordering::Equal | Ordering::Greater => {
                    assert!(matches!(refused, RefreshError::Reused), "{refused:?}");
                }
            }
        }
    }
}

pub(in crate::session) async fn a_text_that_is_no_refresh_token_is_invalid(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let genuine = s.log_in("alice").await.refresh;
    let mut texts = vec![
        String::new(),
        "x".repeat(112),
        format!("{}A", genuine.expose()),
    ];
    texts.push(genuine.expose().chars().skip(1).collect());
    texts.push(genuine.expose().chars().rev().collect());
    for text in texts {
        let token = RefreshToken::from_client(text.as_str());
        let refused = s.store.refresh(&token, &apps()).await;
        assert!(matches!(refused, Err(RefreshError::Invalid)), "{text}");
    }
    s.refresh(&genuine).await;
}

pub(in crate::session) async fn a_token_is_unused_until_it_is_refreshed_or_its_session_ends(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let code = s.store.mark(APPID, "0a1b2c");
    let first = s.store.sender(code, None, None).unwrap().mark();
    let key = session_key("some key");
    let opened = s
        .store
        .open_session_for(
            code_use(code, first, SECOND * 60),
            identity("alice"),
            Some(&key),
        )
        .await
        .unwrap();
    let again = s.store.unused(&opened.refresh).await.unwrap().unwrap();
    assert_eq!(again.session, opened.session);
    assert_eq!(again.refresh.expose(), opened.refresh.expose());
    let successor = s.refresh(&opened.refresh).await.refresh;
    assert!(s.store.unused(&opened.refresh).await.unwrap().is_none());
    assert!(s.store.unused(&successor).await.unwrap().is_some());
    s.store.end(opened.session.id).await.unwrap();
    assert!(s.store.unused(&successor).await.unwrap().is_none());
}
