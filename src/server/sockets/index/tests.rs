//! Tests of how WebSockets and long exchanges end with their session.

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::secret::Secret;
use crate::session::{Identity, SessionRules, Source};

struct Subject {
    store: Sessions,
    sockets: Arc<Sockets>,
    clock: Clock,
    _folder: TempDir,
}

impl Subject {
    fn new() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), Clock::system());
        let rules = SessionRules {
            session_ttl: Duration::from_secs(3600),
            refresh_grace: Duration::from_secs(30),
            token_ttl: Duration::from_secs(600),
            unionid_lookup: false,
        };
        let store = Sessions::embedded(folder.path(), None, rules, clock.clone()).unwrap();
        Self {
            sockets: Sockets::new(store.clone(), clock.clone()),
            store,
            clock,
            _folder: folder,
        }
    }

    async fn session(&self) -> SessionId {
        let identity = Identity {
            app: "shop".to_owned(),
            appid: "wx1".to_owned(),
            openid: "alice".to_owned(),
            unionid: None,
            source: Source::MiniProgram,
        };
        let key = Secret::new("AAAAAAAAAAAAAAAAAAAAAA==");
        self.store
            .open_session(identity, &key)
            .await
            .unwrap()
            .session
            .id
    }

    /// Opens a socket of a session whose token has just expired.
    fn socket(&self, id: SessionId) -> (Arc<Handle>, Entry) {
        let session = Some((id, self.clock.unix_secs()));
        let entry = self.sockets.enter(Kind::WebSocket, session);
        (Arc::clone(&entry.handle), entry)
    }

    fn due(&self) -> Vec<SessionId> {
        self.sockets.open().due(self.clock.unix_secs())
    }
}

#[tokio::test]
async fn nobody_is_sent_away_because_the_store_is() {
    let s = Subject::new();
    let id = s.session().await;
    let (socket, _entry) = s.socket(id);
    assert_eq!(s.due(), [id]);
    s.store.clone().close().await;
    s.sockets.ask_about(id).await;
    assert_eq!(socket.ending(), None);
    assert_eq!(s.due(), []);
    s.clock.advance(Duration::from_secs(AGAIN_SECS));
    assert_eq!(s.due(), [id]);
}

#[tokio::test]
async fn a_session_is_asked_about_again_when_it_would_end() {
    let s = Subject::new();
    let id = s.session().await;
    let (socket, _entry) = s.socket(id);
    s.sockets.ask_about(id).await;
    s.clock.advance(Duration::from_secs(3590));
    assert_eq!((socket.ending(), s.due()), (None, vec![]));
    s.clock.advance(Duration::from_secs(10));
    assert_eq!(s.due(), [id]);
    s.sockets.ask_about(id).await;
    assert_eq!(socket.ending(), Some(Ending::SessionOver));
}

#[tokio::test]
async fn revocations_that_came_too_fast_are_found_in_the_set() {
    let s = Subject::new();
    let (id, other) = (s.session().await, s.session().await);
    let ((ended, _first), (open, _second)) = (s.socket(id), s.socket(other));
    let additions = s.store.revoked().additions();
    s.store.end(id).await.unwrap();
    // Strangers' sessions, and more of them than are kept for a listener.
    let others = (0..2000).map(|n| format!("{n:04}AAAAAAAAAAAAAAAAAA").parse().unwrap());
    join_all(others.map(|id| s.store.end(id))).await;
    assert_eq!(ended.ending(), None);
    let following = tokio::spawn(Arc::clone(&s.sockets).follow_revocations(additions));
    let wait = async {
        while ended.ending().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap();
    following.abort();
    assert_eq!(open.ending(), None);
}

#[tokio::test]
async fn nothing_is_kept_of_sockets_that_are_closed() {
    let s = Subject::new();
    let id = s.session().await;
    let entries = [s.socket(id), s.socket(id), s.socket(s.session().await)];
    let stranger = s.sockets.enter(Kind::WebSocket, None);
    let exchange = s.sockets.enter(Kind::Exchange, Some((id, 0)));
    assert_eq!(s.sockets.len(), 4);
    drop(exchange);
    s.sockets.ask_about(id).await;
    drop(entries);
    assert_eq!(s.sockets.len(), 1);
    // An answer that comes after the last of them has gone.
    s.sockets.ask_about(id).await;
    drop(stranger);
    let open = s.sockets.open();
    assert!(open.entries.is_empty() && open.due.is_empty() && open.by_time.is_empty());
}

#[tokio::test]
async fn a_socket_that_comes_too_late_ends_at_once() {
    let s = Subject::new();
    let (ended, live) = (s.session().await, s.session().await);
    s.store.end(ended).await.unwrap();
    let (socket, _entry) = s.socket(ended);
    assert_eq!(socket.ending(), Some(Ending::SessionOver));
    s.sockets.go_away();
    let (socket, _entry) = s.socket(live);
    assert_eq!(socket.ending(), Some(Ending::GoingAway));
}
