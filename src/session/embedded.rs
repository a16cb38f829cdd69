//! The store that needs nothing but a folder.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;

use super::disk::{self, Disk, Snapshot};
use super::id::SessionId;
use super::operations::{Refresh, Renewal};
use super::record::Record;
use super::refresh_token::RefreshToken;
use super::revoked::RevokedSessions;
use super::seal::{Keys, SealKey};
use super::tables::{Fault, User, live_sessions, session as session_record, user_name};
use super::writer::Writer;
use super::{
    Identity, LONGEST_TEXT, Lifetimes, OpenError, Opened, RefreshError, Session, StoreError,
};
use crate::clock::Clock;
use crate::secret::Secret;

const FILE: &str = "sessions.redb";
const SEAL_KEY_FILE: &str = "seal.key";

/// Sessions in one file; clones share it, and the last one to be dropped closes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    // First, so that the thread has ended before the rest is dropped.
    writer: Writer,
    disk: Arc<Disk>,
    keys: Keys,
    revoked: RevokedSessions,
    clock: Clock,
}

impl Store {
    /// Opens the store in a folder, which is made when it is missing, as are the files in it.
    ///
    /// Without a `seal_key` (32 bytes in base64) the store uses the one in its folder, and makes it the first time.
    pub fn open(
        dir: &Path,
        seal_key: Option<Secret>,
        lifetimes: Lifetimes,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let unreadable = |source| OpenError::unreadable(dir, source);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(unreadable)?;
        let path = dir.join(FILE);
        let exists = path.try_exists().map_err(unreadable)?;
        let keys = seal_key_for(dir, seal_key, exists)?
            .derive()
            .map_err(|Unspecified| OpenError::Cryptography)?;
        if !exists {
            disk::create(dir, &path, &keys.check)?;
        }
        let disk = Disk::open(disk::opener(path.clone()), lifetimes)
            .map_err(|error| disk::open_error(&path, error))?;
        let damaged = |error| disk::damaged(&path, error);
        if !disk.was_sealed_with(&keys.check).map_err(damaged)? {
            return Err(OpenError::SealKeyDiffers(path));
        }
        let revoked = RevokedSessions::default();
        revoked.add(disk.revocations().map_err(damaged)?);
        let disk = Arc::new(disk);
        let writer = Writer::start(Arc::clone(&disk), revoked.clone(), clock.clone());
        Ok(Self {
            shared: Arc::new(Shared {
                writer: writer.map_err(unreadable)?,
                disk,
                keys,
                revoked,
                clock,
            }),
        })
    }

    /// Looks at what [`Self::open`] would use, without making, locking or changing anything.
    ///
    /// It does not read the sessions, so that it can be asked while a process serves them.
    pub fn check(dir: &Path, seal_key: Option<Secret>) -> Result<(), OpenError> {
        if !dir
            .try_exists()
            .map_err(|source| OpenError::unreadable(dir, source))?
        {
            return Ok(());
        }
        fs::read_dir(dir).map_err(|source| OpenError::unreadable(dir, source))?;
        let path = dir.join(FILE);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let exists = match file {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(OpenError::unreadable(&path, error)),
        };
        seal_key_in(dir, seal_key, exists).map(drop)
    }

    /// Opens a session and keeps the user's newest session_key; both are on the disk when this returns `Ok`.
    pub async fn open_session(
        &self,
        identity: Identity,
        session_key: &Secret,
    ) -> Result<Opened, StoreError> {
        acceptable(&identity, session_key)?;
        let keys = &self.shared.keys;
        let id = SessionId::random()?;
        let token = keys.refresh.first(id)?;
        let owner = user_name(&identity.appid, &identity.openid);
        let sealed_key = keys.sealer.seal(&owner, session_key)?;
        let current = token.fingerprint();
        let added = self.shared.writer.submit(move |tables| {
            let record = Record {
                identity,
                created: tables.now(),
                expires: tables.expiry(),
                rotated: tables.now(),
                current,
            };
            tables.add(id, &record, &sealed_key)?;
            Ok(record)
        });
        let record = added.await?;
        Ok(Opened {
            session: session(id, record),
            refresh: keys.refresh.text(&token),
        })
    }

    /// Gives the successor of a refresh token, and ends the session when the token was used up before.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<Opened, RefreshError> {
        let key = &self.shared.keys.refresh;
        let token = key.recognise(token).ok_or(RefreshError::Invalid)?;
        let successor = key.successor(&token);
        let refresh = Refresh {
            sid: token.sid(),
            presented: token.fingerprint(),
            successor: successor.fingerprint(),
        };
        let renewal = self
            .shared
            .writer
            .submit(move |tables| tables.refresh(refresh));
        match renewal.await? {
            Renewal::Renewed(record) => Ok(Opened {
                session: session(token.sid(), record),
                refresh: key.text(&successor),
            }),
            Renewal::Reused => Err(RefreshError::Reused),
            Renewal::Ended => Err(RefreshError::Ended),
        }
    }

    /// Ends a session and revokes its tokens; `false` means that there was none, which revokes them too.
    pub async fn end(&self, id: SessionId) -> Result<bool, StoreError> {
        self.shared
            .writer
            .submit(move |tables| tables.end(id))
            .await
    }

    /// Ends every session of a user and revokes their tokens.
    pub async fn end_all(&self, appid: &str, openid: &str) -> Result<Vec<SessionId>, StoreError> {
        let user = User::new(appid, openid);
        self.shared
            .writer
            .submit(move |tables| tables.end_all(user))
            .await
    }

    /// Returns the sessions of a user that have not ended.
    pub async fn sessions_of(&self, appid: &str, openid: &str) -> Result<Vec<Session>, StoreError> {
        let user = User::new(appid, openid);
        let now = self.shared.clock.unix_secs();
        let found =
            self.read(move |tables| live_sessions(&tables.users, &tables.sessions, user, now));
        let found = found.await?.into_iter();
        Ok(found.map(|(id, record)| session(id, record)).collect())
    }

    /// Returns when a session ends unless it is refreshed before; `None` when it has ended.
    pub async fn end_of(&self, id: SessionId) -> Result<Option<u64>, StoreError> {
        let now = self.shared.clock.unix_secs();
        let found = self.read(move |tables| session_record(&tables.sessions, id));
        let record = found.await?.filter(|record| now < record.expires);
        Ok(record.map(|record| record.expires))
    }

    /// Returns the session_key of a user's latest login; `None` when no session of theirs is left.
    pub async fn session_key(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Option<Secret>, StoreError> {
        let user = User::new(appid, openid);
        let now = self.shared.clock.unix_secs();
        let sealed = self.read(move |tables| {
            if live_sessions(&tables.users, &tables.sessions, user, now)?.is_empty() {
                return Ok(None);
            }
            let sealed = tables.session_keys.get(&user.0)?;
            Ok(sealed.map(|sealed| sealed.value().to_vec()))
        });
        let Some(sealed) = sealed.await? else {
            return Ok(None);
        };
        let owner = user_name(appid, openid);
        let opened = self.shared.keys.sealer.open(&owner, &sealed);
        opened.map(Some).ok_or(StoreError::Damaged)
    }

    /// Returns the sessions whose tokens must be refused although they have not expired.
    pub fn revoked(&self) -> &RevokedSessions {
        &self.shared.revoked
    }

    /// Returns how many operations were given to the writing thread since the start.
    pub fn operations(&self) -> u64 {
        self.shared.writer.accepted()
    }

    /// Finishes what was begun and closes the store for all its clones, which are then unavailable.
    pub async fn close(self) {
        // It can only fail by a panic of the writing thread, which has been reported by then.
        let _ = tokio::task::spawn_blocking(move || self.shared.writer.stop()).await;
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = Arc::clone(&self.shared.disk);
        tokio::task::spawn_blocking(move || disk.read(work))
            .await
            .unwrap_or(Err(StoreError::Unavailable))
    }
}

impl From<Unspecified> for StoreError {
    fn from(_: Unspecified) -> Self {
        Self::Cryptography
    }
}

fn seal_key_for(
    dir: &Path,
    configured: Option<Secret>,
    store_exists: bool,
) -> Result<SealKey, OpenError> {
    match seal_key_in(dir, configured, store_exists)? {
        Some(key) => Ok(key),
        None => SealKey::create(dir, &dir.join(SEAL_KEY_FILE)),
    }
}

/// Returns the seal key that there is; `None` when the first start has yet to make one.
fn seal_key_in(
    dir: &Path,
    configured: Option<Secret>,
    store_exists: bool,
) -> Result<Option<SealKey>, OpenError> {
    if let Some(text) = configured {
        let key = SealKey::parse(&text).ok_or(OpenError::ConfiguredSealKeyMalformed)?;
        return Ok(Some(key));
    }
    let path = dir.join(SEAL_KEY_FILE);
    match SealKey::read(&path)? {
        None if store_exists => Err(OpenError::SealKeyMissing(path)),
        found => Ok(found),
    }
}

fn acceptable(identity: &Identity, session_key: &Secret) -> Result<(), StoreError> {
    let texts = [
        ("app", Some(identity.app.as_str())),
        ("appid", Some(identity.appid.as_str())),
        ("openid", Some(identity.openid.as_str())),
        ("unionid", identity.unionid.as_deref()),
        ("session_key", Some(session_key.expose())),
    ];
    for (name, text) in texts {
        if text
            .is_some_and(|text| text.is_empty() || text.len() > LONGEST_TEXT || text.contains('\0'))
        {
            return Err(StoreError::Unacceptable(name));
        }
    }
    Ok(())
}

fn session(id: SessionId, record: Record) -> Session {
    Session {
        id,
        identity: record.identity,
        created: record.created,
        expires: record.expires,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;
    use std::{error, fs, iter};

    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use redb::{ReadableDatabase, ReadableTableMetadata};
    use tempfile::TempDir;

    use super::*;
    use crate::session::contract::{Subject, identity, session_key};
    use crate::session::tables::{EXPIRIES, SESSION_KEYS, SESSIONS, USERS};

    const LIFETIMES: Lifetimes = Lifetimes {
        session_ttl: Duration::from_secs(30 * 24 * 3600),
        refresh_grace: Duration::from_secs(30),
        token_ttl: Duration::from_secs(2 * 3600),
    };

    contract_tests!(|| {
        let folder = TempDir::new().unwrap();
        let clock = Clock::system();
        Subject {
            store: Store::open(folder.path(), None, LIFETIMES, clock.clone()).unwrap(),
            lifetimes: LIFETIMES,
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

        fn open(&self) -> Result<Store, OpenError> {
            self.open_with(None)
        }

        fn open_with(&self, seal_key: Option<Secret>) -> Result<Store, OpenError> {
            let clock = self.clock.clone();
            Store::open(self.folder.path(), seal_key, LIFETIMES, clock)
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
            assert!(transaction.open_table(USERS).unwrap().is_empty().unwrap());
            assert!(
                transaction
                    .open_table(EXPIRIES)
                    .unwrap()
                    .is_empty()
                    .unwrap()
            );
            assert!(
                transaction
                    .open_table(SESSION_KEYS)
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

    fn refusal(opened: Result<Store, OpenError>) -> OpenError {
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
    async fn a_reopened_store_has_its_sessions_tokens_and_session_keys() {
        let place = Place::new();
        let store = place.open().unwrap();
        let opened = store.open_session(identity("a"), &session_key("k")).await;
        let opened = opened.unwrap();
        store.close().await;
        let store = place.open().unwrap();
        let listed = store.sessions_of("wx1", "a").await.unwrap();
        assert_eq!(listed, [opened.session]);
        let key = store.session_key("wx1", "a").await.unwrap().unwrap();
        assert_eq!(key.expose(), session_key("k").expose());
        store.refresh(&opened.refresh).await.unwrap();
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
        place.clock.advance(LIFETIMES.token_ttl);
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
        let chance = RefreshToken::from_client(URL_SAFE_NO_PAD.encode([7; 68]));
        for _ in 0..1000 {
            for token in [&foreign, &chance] {
                let refused = store.refresh(token).await;
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
        let second = store.refresh(&first.refresh).await.unwrap();
        store.close().await;
        let bytes = place.all_bytes();
        assert!(has(&bytes, b"wx1"), "the search finds what is there");
        assert!(!has(&bytes, key.expose().as_bytes()));
        assert!(!has(&bytes, &STANDARD.decode(key.expose()).unwrap()));
        for token in [first.refresh, second.refresh] {
            assert!(!has(&bytes, token.expose().as_bytes()));
            let raw = URL_SAFE_NO_PAD.decode(token.expose()).unwrap();
            assert!(!has(&bytes, &raw[20..52]));
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
        place.clock.advance(LIFETIMES.session_ttl);
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
            store.refresh(&opened.unwrap().refresh).await.unwrap();
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

    #[test]
    fn the_files_are_for_their_owner_alone() {
        let place = Place::new();
        let folder = place.folder.path().join("made/here");
        let _store = Store::open(&folder, None, LIFETIMES, Clock::system()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(FILE)), 0o600);
        assert_eq!(mode(&folder.join(SEAL_KEY_FILE)), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn a_store_that_is_open_cannot_be_opened_again() {
        let place = Place::new();
        let _store = place.open().unwrap();
        assert!(matches!(refusal(place.open()), OpenError::InUse(_)));
    }

    #[test]
    fn a_configured_seal_key_makes_no_file() {
        let place = Place::new();
        drop(place.open_with(sealing(1)).unwrap());
        assert!(!place.folder.path().join(SEAL_KEY_FILE).exists());
        drop(place.open_with(sealing(1)).unwrap());
    }

    #[test]
    fn a_different_seal_key_is_refused() {
        let place = Place::new();
        drop(place.open_with(sealing(1)).unwrap());
        let error = refusal(place.open_with(sealing(2)));
        assert!(matches!(error, OpenError::SealKeyDiffers(_)), "{error}");
    }

    #[test]
    fn a_lost_seal_key_is_not_replaced() {
        let place = Place::new();
        drop(place.open().unwrap());
        fs::remove_file(place.folder.path().join(SEAL_KEY_FILE)).unwrap();
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::SealKeyMissing(_)), "{error}");
    }

    #[test]
    fn a_seal_key_that_is_none_is_refused_without_being_shown() {
        let error = refusal(Place::new().open_with(Some(Secret::new("hunter2"))));
        assert!(matches!(error, OpenError::ConfiguredSealKeyMalformed));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_that_is_no_store_is_called_damaged() {
        for content in [&b""[..], b"text", &[0; 8192], &[0xA5; 1 << 20]] {
            let place = Place::new();
            drop(place.open().unwrap());
            fs::write(place.file(), content).unwrap();
            let error = refusal(place.open());
            assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_store_with_overwritten_parts_is_called_damaged() {
        let place = Place::new();
        let store = place.open().unwrap();
        for n in 0..50 {
            let who = identity(&format!("user-{n}"));
            store.open_session(who, &session_key("k")).await.unwrap();
        }
        store.close().await;
        let whole = fs::read(place.file()).unwrap();
        let mut broken = whole.clone();
        // In every copy of the page: which one counts is not ours to know.
        for at in (0..whole.len() - 6).filter(|at| whole[*at..].starts_with(b"user-7")) {
            broken[at..at + 6].fill(0xff);
        }
        fs::write(place.file(), broken).unwrap();
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }

    #[test]
    fn a_truncated_store_is_called_damaged() {
        let place = Place::new();
        drop(place.open().unwrap());
        let whole = fs::read(place.file()).unwrap();
        fs::write(place.file(), &whole[..whole.len() / 2]).unwrap();
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }

    #[test]
    fn a_folder_that_is_a_file_is_named_in_the_error() {
        let place = Place::new();
        let path = place.folder.path().join("file");
        fs::write(&path, "").unwrap();
        let error = refusal(Store::open(&path, None, LIFETIMES, Clock::system()));
        assert!(error.to_string().contains(path.to_str().unwrap()));
        let causes = iter::successors(error::Error::source(&error), |error| error.source());
        assert_eq!(causes.count(), 1);
    }
}
