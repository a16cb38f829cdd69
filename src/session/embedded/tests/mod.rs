//! Tests of the embedded store, and of the contract over it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::{error, fs, iter};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use redb::{ReadableDatabase, ReadableTableMetadata};
use tempfile::TempDir;

use super::*;
use crate::session::contract::{Subject, apps, identity, session_key};
use crate::session::embedded::tables::{EXPIRIES, LAYOUT, META, SESSIONS, USED};
use crate::session::{Claim, CodeUse, RefreshError, RefreshToken, Sessions};

mod files;

const RULES: SessionRules = SessionRules {
    session_ttl: Duration::from_secs(30 * 24 * 3600),
    refresh_grace: Duration::from_secs(30),
    token_ttl: Duration::from_secs(2 * 3600),
    unionid_lookup: true,
};

contract_tests!(async || {
    let folder = TempDir::new().unwrap();
    let clock = Clock::system();
    Subject {
        store: Sessions::embedded(folder.path(), None, RULES, clock.clone()).unwrap(),
        rules: RULES,
        pass_time: async move |time| {
            // Kept until the last use of the store.
            let _ = &folder;
            clock.advance(time);
        },
    }
});

/// A folder and a clock that outlive the stores opened with them.
struct Place {
    folder: TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            clock: Clock::system(),
        }
    }

    fn open(&self) -> Result<Sessions, OpenError> {
        self.open_with(None)
    }

    fn open_with(&self, seal_key: Option<Secret>) -> Result<Sessions, OpenError> {
        let clock = self.clock.clone();
        Sessions::embedded(self.folder.path(), seal_key, RULES, clock)
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join(FILE)
    }

    fn assert_empty_tables(&self) {
        let database = redb::Database::open(self.file()).unwrap();
        let transaction = database.begin_read().unwrap();
        assert!(
            transaction
                .open_table(SESSIONS)
                .unwrap()
                .is_empty()
                .unwrap()
        );
        assert!(
            transaction
                .open_table(EXPIRIES)
                .unwrap()
                .is_empty()
                .unwrap()
        );
    }

    fn all_bytes(&self) -> Vec<u8> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        files
            .flat_map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }
}

fn sealing(seed: u8) -> Option<Secret> {
    Some(Secret::new(STANDARD.encode([seed; 32])))
}

fn refusal(opened: Result<Sessions, OpenError>) -> OpenError {
    match opened {
        Ok(_) => panic!("the store was opened"),
        Err(error) => error,
    }
}

fn has(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[tokio::test]
async fn what_was_used_is_known_to_whoever_opens_the_file_again_and_for_its_time() {
    let place = Place::new();
    let store = place.open().unwrap();
    let (ticket, state) = (store.mark("wx1", "ticket 1"), store.mark("wx1", "state 1"));
    let (spent, code) = (store.mark("wx1", "spent 1"), store.mark("wx1", "0a"));
    let minute = Duration::from_secs(60);
    assert_eq!(store.back_up().await.unwrap(), Some(0));
    assert!(matches!(claimed(&store, ticket).await, Claim::Yours));
    let mut opened = Vec::new();
    for (code, spends) in [
        (ticket, Some((ticket, 5 * minute))),
        (state, Some((spent, 5 * minute))),
        (code, None),
    ] {
        let first = store.sender(code, None, None).unwrap().mark();
        let used = CodeUse {
            code,
            first,
            keep: minute,
            spends,
        };
        let session = store.open_session_for(used, identity("a"), None).await;
        opened.push(session.unwrap().session);
    }
    store.close().await;
    let store = place.open().unwrap();
    for (used, opened) in [(ticket, &opened[0]), (state, &opened[1])] {
        let claim = claimed(&store, used).await;
        assert!(
            matches!(&claim, Claim::Done(told, ..) if told.session == *opened),
            "{claim:?}"
        );
    }
    assert!(matches!(claimed(&store, spent).await, Claim::Spent(None)));
    assert!(matches!(claimed(&store, code).await, Claim::Yours));
    store.end(opened[0].id).await.unwrap();
    let claim = claimed(&store, ticket).await;
    assert!(matches!(claim, Claim::Spent(Some(id)) if id == opened[0].id));
    place.clock.advance(minute);
    assert!(matches!(claimed(&store, state).await, Claim::Yours));
    assert!(matches!(claimed(&store, spent).await, Claim::Spent(None)));
    // A copy knows them as well.
    store.back_up().await.unwrap();
    store.close().await;
    fs::rename(place.folder.path().join(COPY), place.file()).unwrap();
    let store = place.open().unwrap();
    assert!(matches!(claimed(&store, spent).await, Claim::Spent(None)));
    place.clock.advance(4 * minute);
    assert!(matches!(claimed(&store, spent).await, Claim::Yours));
    // What is over goes with the next thing that is written.
    store.end(opened[1].id).await.unwrap();
    store.close().await;
    let database = redb::Database::open(place.file()).unwrap();
    let table = database.begin_read().unwrap().open_table(USED).unwrap();
    assert!(table.is_empty().unwrap());
}

async fn claimed(store: &Sessions, code: CodeMark) -> Claim {
    let holder = Holder::random().unwrap();
    let claim = store.claim(code, holder, Duration::from_secs(60)).await;
    claim.unwrap()
}

#[tokio::test]
async fn a_reopened_store_has_its_sessions_tokens_and_session_keys() {
    let place = Place::new();
    let store = place.open().unwrap();
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let opened = opened.unwrap();
    store.close().await;
    let store = place.open().unwrap();
    let listed = store.sessions_of("wx1", "a").await.unwrap();
    assert_eq!(listed, [opened.session]);
    let key = store.session_keys("wx1", "a").await.unwrap().unwrap();
    assert_eq!(key.latest.expose(), session_key("k").expose());
    store.refresh(&opened.refresh, &apps()).await.unwrap();
}

#[tokio::test]
async fn users_are_found_by_a_unionid_whose_look_up_was_configured_later() {
    let place = Place::new();
    let open = |unionid_lookup| {
        let rules = SessionRules {
            unionid_lookup,
            ..RULES
        };
        let clock = place.clock.clone();
        Sessions::embedded(place.folder.path(), None, rules, clock).unwrap()
    };
    let who = |unionid: &str| Identity {
        unionid: Some(unionid.to_owned()),
        ..identity("a")
    };
    let found = async |store: &Sessions, unionid: &str| {
        let users = store.users_of(unionid).await.unwrap();
        users.map(|users| users.len())
    };
    for _ in 0..2 {
        let store = open(false);
        for unionid in ["old", "new"] {
            let opened = store.open_session(who(unionid), &session_key("k")).await;
            opened.unwrap();
        }
        assert_eq!(found(&store, "new").await, None);
        store.close().await;
        let store = open(true);
        assert_eq!(found(&store, "new").await, Some(1));
        assert_eq!(found(&store, "old").await, Some(0));
        store.close().await;
    }
}

#[tokio::test]
async fn a_reopened_store_has_its_revocations() {
    let place = Place::new();
    let store = place.open().unwrap();
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let id = opened.unwrap().session.id;
    store.end(id).await.unwrap();
    drop(store);
    assert!(place.open().unwrap().revoked().contains(&id));
}

#[tokio::test]
async fn a_revocation_is_forgotten_once_every_token_has_expired() {
    let place = Place::new();
    let store = place.open().unwrap();
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let id = opened.unwrap().session.id;
    store.end(id).await.unwrap();
    place.clock.advance(RULES.token_ttl);
    store.end_all("wx1", "nobody").await.unwrap();
    assert!(store.revoked().contains(&id));
    place.clock.advance(Duration::from_secs(62));
    store.end_all("wx1", "nobody").await.unwrap();
    assert!(store.revoked().is_empty());
    drop(store);
    assert!(place.open().unwrap().revoked().is_empty());
}

#[tokio::test]
async fn forged_tokens_never_reach_the_writer() {
    let store = Place::new().open().unwrap();
    let stranger = Place::new().open().unwrap();
    let opened = stranger
        .open_session(identity("a"), &session_key("k"))
        .await;
    let foreign = opened.unwrap().refresh;
    let chance = RefreshToken::from_client(URL_SAFE_NO_PAD.encode([7; 84]));
    for _ in 0..1000 {
        for token in [&foreign, &chance] {
            let refused = store.refresh(token, &apps()).await;
            assert!(matches!(refused, Err(RefreshError::Invalid)));
        }
    }
    assert_eq!(store.operations(), 0);
}

#[tokio::test]
async fn neither_session_keys_nor_refresh_tokens_are_on_the_disk() {
    let place = Place::new();
    let store = place.open().unwrap();
    let key = session_key("wanted");
    let first = store.open_session(identity("a"), &key).await.unwrap();
    let second = store.refresh(&first.refresh, &apps()).await.unwrap();
    store.close().await;
    let bytes = place.all_bytes();
    assert!(has(&bytes, b"wx1"), "the search finds what is there");
    assert!(!has(&bytes, key.expose().as_bytes()));
    assert!(!has(&bytes, &STANDARD.decode(key.expose()).unwrap()));
    for token in [first.refresh, second.refresh] {
        assert!(!has(&bytes, token.expose().as_bytes()));
        let raw = URL_SAFE_NO_PAD.decode(token.expose()).unwrap();
        assert!(!has(&bytes, &raw[36..68]));
    }
}

#[tokio::test]
async fn expired_sessions_leave_nothing_in_the_tables() {
    let place = Place::new();
    let store = place.open().unwrap();
    for n in 0..200 {
        let who = identity(&format!("user-{n}"));
        store.open_session(who, &session_key("k")).await.unwrap();
    }
    place.clock.advance(RULES.session_ttl);
    // Each change purges a few.
    for _ in 0..4 {
        store.end_all("wx1", "nobody").await.unwrap();
    }
    store.close().await;
    place.assert_empty_tables();
}

#[tokio::test]
async fn ended_sessions_leave_nothing_in_the_tables() {
    let place = Place::new();
    let store = place.open().unwrap();
    for _ in 0..2 {
        let opened = store.open_session(identity("a"), &session_key("k")).await;
        store
            .refresh(&opened.unwrap().refresh, &apps())
            .await
            .unwrap();
    }
    store.end_all("wx1", "a").await.unwrap();
    store.close().await;
    place.assert_empty_tables();
}

#[tokio::test]
async fn a_closed_store_is_unavailable_to_its_clones() {
    let store = Place::new().open().unwrap();
    let clone = store.clone();
    store.close().await;
    let refused = clone.open_session(identity("a"), &session_key("k")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable)));
    let refused = clone.sessions_of("wx1", "a").await;
    assert!(matches!(refused, Err(StoreError::Unavailable)));
}

#[tokio::test]
async fn a_flood_of_tokens_of_an_ended_session_writes_nothing() {
    let place = Place::new();
    let store = place.open().unwrap();
    let opened = store.open_session(identity("a"), &session_key("k")).await;
    let opened = opened.unwrap();
    store.end(opened.session.id).await.unwrap();
    let before = store.operations();
    for _ in 0..1000 {
        let ended = store.refresh(&opened.refresh, &apps()).await;
        assert!(matches!(ended, Err(RefreshError::Ended)));
    }
    assert_eq!(store.operations(), before);
}
