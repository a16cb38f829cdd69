//! Random logins, refreshes and ends of two users, compared with plain lists of what must be left of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

use super::disk::{self, Disk};
use super::operations::Tables;
use super::tables::{Fault, rows_of};
use crate::session::contract::{apps, identity};
use crate::session::store::{KeySwap, NewLogin, Refresh};
use crate::session::user::User;
use crate::session::{SessionId, SessionRules};

const RULES: SessionRules = SessionRules {
    session_ttl: Duration::from_secs(100),
    refresh_grace: Duration::from_secs(30),
    token_ttl: Duration::from_secs(60),
    unionid_lookup: true,
};
const NAMES: [&str; 2] = ["alice", "bob"];

#[derive(Clone, Debug)]
enum Step {
    /// Of the time in the id, which need not be that of the login.
    LogIn {
        user: usize,
        second: u8,
    },
    Refresh {
        nth: usize,
    },
    End {
        nth: usize,
    },
    EndAll {
        user: usize,
    },
    /// Puts another session_key in the place of the latest one, or of one that is not.
    Swap {
        user: usize,
        of_latest: bool,
    },
    Pass {
        seconds: u64,
    },
    /// What was committed must be in the file.
    Restart,
    /// A batch that is broken off leaves no trace.
    Fail {
        user: usize,
        nth: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = || 0..NAMES.len();
    let step = prop_oneof![
        6 => (user(), any::<u8>()).prop_map(|(user, second)| Step::LogIn { user, second }),
        3 => any::<usize>().prop_map(|nth| Step::Refresh { nth }),
        4 => any::<usize>().prop_map(|nth| Step::End { nth }),
        1 => user().prop_map(|user| Step::EndAll { user }),
        2 => (user(), any::<bool>()).prop_map(|(user, of_latest)| Step::Swap { user, of_latest }),
        3 => (0_u64..60).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Restart),
        1 => (user(), any::<usize>()).prop_map(|(user, nth)| Step::Fail { user, nth }),
    ];
    proptest::collection::vec(step, 0..60)
}

/// A file in memory that outlives the database that has it open.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<InMemoryBackend>);

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[derive(Clone, Debug)]
struct Expected {
    sid: SessionId,
    user: usize,
    expires: u64,
    generation: u32,
}

/// The live sessions of a user and when each expires, and the session_key.
type Seen = (Vec<(SessionId, u64)>, Option<Vec<u8>>);

struct Scene {
    disk: Disk,
    now: u64,
    /// In the order of their logins.
    sessions: Vec<Expected>,
    /// Of each user, the session_key that was stored last.
    latest: [Vec<u8>; 2],
    logins: u32,
}

impl Scene {
    fn new() -> Self {
        let memory = Memory::default();
        let open = move || Database::builder().create_with_backend(memory.clone());
        disk::fill(&open().unwrap(), b"check").unwrap();
        Self {
            disk: Disk::open(Box::new(open), RULES).unwrap(),
            now: 1_800_000_000,
            sessions: Vec::new(),
            latest: Default::default(),
            logins: 0,
        }
    }

    fn write(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<(), Fault>) {
        let before = self.seen_of_all();
        let written = self.disk.write(self.now, |tables| {
            work(tables).unwrap();
            let purged = tables.purge();
            assert_eq!(self.seen_of_all(), before, "readers see the last commit");
            purged
        });
        written.unwrap();
    }

    fn seen_of_all(&self) -> [Seen; 2] {
        NAMES.map(|name| self.seen(identity(name).user()))
    }

    fn login(&mut self, user: usize, second: u8) -> NewLogin {
        self.logins += 1;
        let who = identity(NAMES[user]);
        let mut sid = *who.user().as_bytes();
        sid[8..12].copy_from_slice(&u32::from(second).to_be_bytes());
        sid[12..].copy_from_slice(&self.logins.to_be_bytes());
        NewLogin {
            sid: SessionId::from_bytes(sid),
            user: who.user(),
            identity: who,
            first: [0; 16],
            sealed_key: self.logins.to_be_bytes().to_vec(),
            memo: None,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::LogIn { user, second } => {
                let login = self.login(user, second);
                self.latest[user] = login.sealed_key.clone();
                self.sessions.push(Expected {
                    sid: login.sid,
                    user,
                    expires: self.now + RULES.session_ttl.as_secs(),
                    generation: 0,
                });
                self.write(|tables| tables.add(login).map(drop));
            }
            Step::Refresh { nth } => {
                let now = self.now;
                let Some(session) = pick(&mut self.sessions, nth) else {
                    return;
                };
                let print = |generation: u32| {
                    let mut print = [0; 16];
                    print[..4].copy_from_slice(&generation.to_be_bytes());
                    print
                };
                let refresh = Refresh {
                    sid: session.sid,
                    user: identity(NAMES[session.user]).user(),
                    generation: session.generation,
                    presented: vec![print(session.generation)],
                    successor: print(session.generation + 1),
                    apps: apps(),
                };
                session.generation += 1;
                session.expires = now + RULES.session_ttl.as_secs();
                self.write(|tables| tables.refresh(refresh).map(drop));
            }
            Step::End { nth } => {
                let Some(sid) = pick(&mut self.sessions, nth).map(|session| session.sid) else {
                    return;
                };
                self.sessions.retain(|session| session.sid != sid);
                self.write(|tables| tables.end(sid).map(drop));
            }
            Step::EndAll { user } => {
                self.sessions.retain(|session| session.user != user);
                self.write(|tables| tables.end_some(identity(NAMES[user]).user()).map(drop));
            }
            Step::Swap { user, of_latest } => {
                self.logins += 1;
                let swap = KeySwap {
                    user: identity(NAMES[user]).user(),
                    expected: if of_latest {
                        self.latest[user].clone()
                    } else {
                        b"other".to_vec()
                    },
                    sealed_key: self.logins.to_be_bytes().to_vec(),
                };
                let is_there = self.sessions.iter().any(|session| session.user == user);
                let swapped = is_there && of_latest;
                if swapped {
                    self.latest[user] = swap.sealed_key.clone();
                }
                self.write(|tables| {
                    assert_eq!(tables.replace_session_key(swap)?, swapped);
                    Ok(())
                });
            }
            Step::Pass { seconds } => {
                self.now += seconds;
                let now = self.now;
                self.sessions.retain(|session| now < session.expires);
                self.write(|_| Ok(()));
            }
            Step::Restart => self.disk.reopen().unwrap(),
            Step::Fail { user, nth } => {
                let login = self.login(user, 7);
                let sid = pick(&mut self.sessions, nth).map(|session| session.sid);
                let broken = self.disk.write(self.now, |tables| {
                    tables.add(login).unwrap();
                    if let Some(sid) = sid {
                        tables.end(sid).unwrap();
                    }
                    Err(redb::StorageError::PreviousIo)
                });
                assert!(broken.is_err());
            }
        }
    }

    /// Returns what readers see of a user.
    fn seen(&self, user: User) -> Seen {
        let seen = self.disk.read(|rows| {
            let stored = rows_of(rows, user)?.collect::<Result<Vec<_>, _>>()?;
            let stored = stored.into_iter().map(|(sid, row)| Ok((sid, row?)));
            stored.collect::<Result<Vec<_>, Fault>>()
        });
        let seen = seen.unwrap();
        let key = seen.last().map(|(_, row)| row.keys.latest.clone());
        let live = seen.into_iter().filter(|(_, row)| row.is_live(self.now));
        let live = live.map(|(sid, row)| (sid, row.record.expires));
        (live.collect(), key)
    }

    fn check(&self) {
        for (at, name) in NAMES.iter().enumerate() {
            let user = identity(name).user();
            let mine = self.sessions.iter().filter(|session| session.user == at);
            let mut expected: Vec<_> = mine.map(|one| (one.sid, one.expires)).collect();
            expected.sort();
            let (stored, key) = self.seen(user);
            assert_eq!(stored, expected, "{name}");
            let latest = Some(self.latest[at].clone()).filter(|_| !expected.is_empty());
            assert_eq!(key, latest, "{name}");
        }
        assert_eq!(self.disk.stored(), self.sessions.len() as u64);
    }
}

fn pick(sessions: &mut [Expected], nth: usize) -> Option<&mut Expected> {
    let nth = nth.checked_rem(sessions.len())?;
    sessions.get_mut(nth)
}

proptest! {
    #[test]
    fn users_have_the_sessions_and_the_session_key_that_they_should(steps in steps()) {
        let mut scene = Scene::new();
        for step in steps {
            scene.take(step);
            scene.check();
        }
    }
}
