//! What every session store must do, as tests that run against each of them.

mod codes;
mod ending;
mod kept;
mod login;
mod refresh;
mod session_keys;
mod unionids;

use std::time::Duration;

pub(super) use self::codes::*;
pub(super) use self::ending::*;
pub(super) use self::kept::*;
pub(super) use self::login::*;
pub(super) use self::refresh::*;
pub(super) use self::session_keys::*;
pub(super) use self::unionids::*;
use super::{
    Apps, CodeMark, CodeUse, Identity, Opened, RefreshToken, SenderMark, SessionRules, Sessions,
    Source,
};
use crate::secret::Secret;

/// A store that was opened for one test, and how time passes for it.
pub(super) struct Subject<P> {
    pub(super) store: Sessions,
    pub(super) rules: SessionRules,
    pub(super) pass_time: P,
}

/// Makes a test of each clause; `$subject` is an async closure that returns a fresh [`Subject`].
///
/// With a name, it makes one test of all clauses at once, each over a subject of its own that `$subject` makes with what
/// `$shared` brought and a name that no other clause has.
macro_rules! contract_tests {
    ($subject:expr) => { contract_tests! { @clauses each [$subject] } };
    ($name:ident, $shared:expr, $subject:expr) => {
        contract_tests! { @clauses whole [$name, $shared, $subject] }
    };
    (@clauses $form:ident $with:tt) => {
        contract_tests! { @$form $with
            a_login_is_listed_as_it_was_made
            a_second_login_leaves_the_first_alone
            the_session_key_of_the_latest_login_wins
            the_session_key_before_is_kept_for_a_while
            logins_with_the_same_session_key_keep_the_one_before
            a_session_key_is_replaced_where_it_is_the_latest
            a_session_key_that_a_login_brought_meanwhile_is_not_replaced
            a_session_key_of_nobody_is_not_replaced
            a_session_is_found_by_its_id
            one_openid_in_two_apps_is_two_users
            a_refresh_gives_another_token_and_more_time
            a_session_that_is_refreshed_outlives_its_first_end
            forty_refreshes_at_once_give_one_successor
            the_end_of_a_session_moves_with_a_refresh_and_is_none_once_it_is_over
            a_replaced_token_gives_the_same_successor_within_grace
            a_replaced_token_does_not_lengthen_the_session
            a_replaced_token_ends_the_session_after_grace
            a_session_of_an_app_that_is_not_configured_waits_for_it
            a_unionid_that_a_login_brings_reaches_all_sessions_at_their_next_refresh
            users_of_all_apps_are_found_by_their_unionid_and_nobody_else
            a_user_is_found_by_the_latest_unionid_alone
            a_user_without_a_session_is_found_by_no_unionid
            a_user_is_found_for_as_long_as_their_session_is_refreshed
            a_user_is_found_for_as_long_as_a_session_of_a_login_without_a_unionid
            each_replaced_token_gives_its_successor_within_its_own_grace
            a_token_that_was_replaced_often_ends_the_session
            reuse_revokes_that_session_and_no_other
            rotations_that_the_store_lost_are_borne_up_to_a_limit
            the_seal_key_alone_makes_no_refresh_token
            an_expired_session_cannot_be_refreshed
            an_expired_session_is_listed_no_more
            a_logout_ends_that_session_and_no_other
            a_logout_works_once
            a_logout_everywhere_ends_each_session_of_that_user
            a_logout_everywhere_ends_more_sessions_than_are_listed
            the_last_session_takes_the_session_key_with_it
            the_latest_session_key_stays_whichever_sessions_end
            of_logins_at_once_one_session_key_wins_for_everybody
            a_text_that_is_no_refresh_token_is_invalid
            a_text_that_cannot_be_stored_is_refused
            logins_of_one_user_at_once_are_all_good
            a_user_may_be_named_anything
            of_what_is_kept_the_newest_wins
            a_turn_is_one_nodes_until_it_is_over
            a_budget_has_a_gap_and_a_day
            a_code_that_was_given_back_can_be_taken_again
            a_token_is_unused_until_it_is_refreshed_or_its_session_ends
        }
    };
    (@each [$subject:expr] $($clause:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                crate::session::contract::$clause($subject().await).await;
            }
        )+
    };
    (@whole [$name:ident, $shared:expr, $subject:expr] $($clause:ident)+) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            use futures::FutureExt as _;
            let shared = $shared;
            let clauses = [$(async {
                let subject = $subject(&shared, stringify!($clause)).await;
                let held = crate::session::contract::$clause(subject);
                let held = std::panic::AssertUnwindSafe(held).catch_unwind().await;
                held.err().map(|_| stringify!($clause))
            }.boxed_local()),+];
            let broken = futures::future::join_all(clauses).await;
            let broken: Vec<&str> = broken.into_iter().flatten().collect();
            assert!(broken.is_empty(), "{broken:?}");
        }
    };
}

const APPID: &str = "wx1";

pub(super) fn identity(openid: &str) -> Identity {
    Identity {
        app: "shop".to_owned(),
        appid: APPID.to_owned(),
        openid: openid.to_owned(),
        unionid: Some("union".to_owned()),
        source: Source::MiniProgram,
    }
}

/// Makes a session_key that looks like WeChat's: 16 bytes in base64.
pub(super) fn session_key(seed: &str) -> Secret {
    use base64::Engine;
    let bytes: Vec<u8> = seed.bytes().cycle().take(16).collect();
    Secret::new(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// The apps that are configured, of which one is [`identity`]'s.
pub(super) fn apps() -> Apps {
    Apps::new([("club", "wx2"), ("shop", APPID)])
}

/// The use of a code that WeChat knows to be used.
pub(super) fn code_use(code: CodeMark, first: SenderMark, keep: Duration) -> CodeUse {
    CodeUse {
        code,
        first,
        keep,
        spends: None,
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl<P: AsyncFn(Duration)> Subject<P> {
    async fn log_in(&self, openid: &str) -> Opened {
        let key = session_key("some key");
        let opened = self.store.open_session(identity(openid), &key).await;
        opened.unwrap()
    }

    async fn refresh(&self, token: &RefreshToken) -> Opened {
        self.store.refresh(token, &apps()).await.unwrap()
    }

    async fn count(&self, openid: &str) -> usize {
        let sessions = self.store.sessions_of(APPID, openid).await;
        sessions.unwrap().len()
    }

    async fn key(&self, openid: &str) -> Option<String> {
        let keys = self.store.session_keys(APPID, openid).await.unwrap();
        keys.map(|keys| keys.latest.expose().to_owned())
    }

    async fn log_in_with(&self, seed: &str) -> Opened {
        let key = session_key(seed);
        let opened = self.store.open_session(identity("alice"), &key).await;
        opened.unwrap()
    }

    /// Returns the session_keys of alice, the latest first.
    async fn keys(&self) -> Vec<String> {
        let keys = self.store.session_keys(APPID, "alice").await.unwrap();
        let keys = keys.map_or_else(Vec::new, |keys| vec![Some(keys.latest), keys.previous]);
        let keys = keys.into_iter().flatten();
        keys.map(|key| key.expose().to_owned()).collect()
    }

    /// Replaces the session_key of alice.
    async fn replace(&self, old: &str, new: &str) -> bool {
        let (old, new) = (session_key(old), session_key(new));
        let replaced = self.store.replace_session_key(APPID, "alice", &old, &new);
        replaced.await.unwrap()
    }

    async fn pass(&self, time: Duration) {
        (self.pass_time)(time).await;
    }
}
