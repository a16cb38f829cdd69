//! A writing thread over a disk that can be told to fail, to hang, and to say that it failed when it did not.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, mpsc};

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use tempfile::TempDir;

use super::*;
use crate::session::contract::identity;
use crate::session::embedded::Embedded;
use crate::session::embedded::disk::{self, Opener};
use crate::session::embedded::tables::rows_of;
use crate::session::embedded::writer::{Writer, order};
use crate::session::store::NewLogin;
use crate::session::{SessionId, SessionRules};

pub(super) const RULES: SessionRules = SessionRules {
    session_ttl: Duration::from_secs(3600),
    refresh_grace: Duration::from_secs(30),
    token_ttl: Duration::from_secs(60),
    unionid_lookup: false,
};

/// A disk that can be told to fail, and counts how often it was told to keep what it has.
#[derive(Debug)]
struct Fragile {
    file: FileBackend,
    switch: Arc<Switch>,
}

#[derive(Debug, Default)]
pub(super) struct Switch {
    pub(super) failing: AtomicBool,
    /// Whether it reports a failure of what it has done.
    pub(super) lying: AtomicBool,
    /// Of the next sync: whom to tell that it hangs, and until when.
    pub(super) hang: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    pub(super) syncs: AtomicU64,
}

impl Fragile {
    fn check(&self) -> io::Result<()> {
        if self.switch.failing.load(Ordering::Relaxed) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Fragile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.switch.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some((told, over)) = self.switch.hang.lock().unwrap().take() {
            told.send(()).unwrap();
            over.recv().unwrap_err();
        }
        self.file.sync_data()?;
        if self.switch.lying.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
}

pub(super) struct Bench {
    pub(super) batches: Batches,
    pub(super) disk: Arc<Disk>,
    pub(super) clock: Clock,
    pub(super) switch: Arc<Switch>,
    pub(super) path: PathBuf,
    _folder: TempDir,
}

pub(super) fn bench(prepare: impl FnOnce(&Path)) -> Bench {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    disk::create(folder.path(), &path, b"check").unwrap();
    prepare(&path);
    let switch = Arc::new(Switch::default());
    let opener = fragile(path.clone(), Arc::clone(&switch));
    let disk = Arc::new(Disk::open(opener, RULES).unwrap());
    disk.load().unwrap();
    let clock = Clock::system();
    let revoked = RevokedSessions::default();
    let batches = Batches::new(Arc::clone(&disk), revoked, clock.clone(), Duration::ZERO);
    Bench {
        batches,
        disk,
        clock,
        switch,
        path,
        _folder: folder,
    }
}

fn fragile(path: PathBuf, switch: Arc<Switch>) -> Opener {
    Box::new(move || {
        let file = OpenOptions::new().read(true).write(true).open(&path);
        Database::builder().create_with_backend(Fragile {
            file: FileBackend::new(file?)?,
            switch: Arc::clone(&switch),
        })
    })
}

pub(super) fn sid(n: usize) -> SessionId {
    let mut bytes = *identity("alice").user().as_bytes();
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    SessionId::from_bytes(bytes)
}

pub(super) type Waiting<T> = (Order, oneshot::Receiver<Result<T, StoreError>>);

pub(super) fn login(n: usize) -> Waiting<()> {
    order(move |tables| tables.add(new_login(n)).map(drop))
}

pub(super) fn new_login(n: usize) -> NewLogin {
    NewLogin {
        sid: sid(n),
        user: identity("alice").user(),
        identity: identity("alice"),
        first: [0; 16],
        sealed_key: n.to_be_bytes().to_vec(),
        memo: None,
    }
}

pub(super) fn logout(n: usize) -> Waiting<bool> {
    order(move |tables| tables.end(sid(n)))
}

impl Bench {
    pub(super) fn fail(&self, failing: bool) {
        self.switch.failing.store(failing, Ordering::Relaxed);
    }

    /// Lets the pause before the file is opened again be over, and carries out nothing.
    pub(super) fn mend(&mut self) {
        self.batches.mend_at = Some(Instant::now());
        self.batches.carry_out(Vec::new());
    }

    pub(super) fn carry_out_one<T>(
        &mut self,
        (order, mut answer): Waiting<T>,
    ) -> Result<T, StoreError> {
        self.batches.carry_out(vec![order]);
        answer.try_recv().unwrap()
    }

    pub(super) fn syncs_of(&mut self, logins: std::ops::Range<usize>) -> u64 {
        let before = self.switch.syncs.load(Ordering::Relaxed);
        self.batches.carry_out(logins.map(|n| login(n).0).collect());
        self.switch.syncs.load(Ordering::Relaxed) - before
    }

    pub(super) fn stored(&self) -> usize {
        let user = identity("alice").user();
        let all = self.disk.read(|rows| {
            let readable = rows_of(rows, user)?.filter(|stored| matches!(stored, Ok((_, Ok(_)))));
            Ok(readable.count())
        });
        all.unwrap()
    }
}

/// A store over a disk that can be told to fail.
pub(super) fn store(bench: &Bench) -> Embedded {
    let (disk, revoked) = (Arc::clone(&bench.disk), RevokedSessions::default());
    let writer = Writer::start(Arc::clone(&disk), revoked.clone(), bench.clock.clone());
    let copy = bench.path.with_extension("copy");
    Embedded::over(writer.unwrap(), disk, revoked, bench.clock.clone(), copy)
}
