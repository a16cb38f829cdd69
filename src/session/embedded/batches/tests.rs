//! Tests of the writing thread over disks that fail, hang or hold what cannot be read.

use std::path::Path;
use std::sync::{Mutex, mpsc};

use futures::FutureExt;
use redb::{Database, StorageError};

use super::bench::{RULES, bench, login, logout, new_login, sid, store};
use super::*;
use crate::session::SessionId;
use crate::session::contract::identity;
use crate::session::embedded::tables::{Fault, SESSIONS};
use crate::session::embedded::writer::{QUEUE, Writer, order};
use crate::session::embedded::{ANSWER_TIMEOUT, Rows, disk};
use crate::session::store::Store as _;

#[test]
fn when_a_commit_fails_everybody_is_told_and_nothing_is_stored() {
    let mut bench = bench(|_| {});
    let (first, mut first_answer) = login(1);
    let (second, mut second_answer) = login(2);
    bench.fail(true);
    bench.batches.carry_out(vec![first, second]);
    for answer in [&mut first_answer, &mut second_answer] {
        let answer = answer.try_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Storage(_))));
    }
    bench.fail(false);
    bench.mend();
    assert_eq!(bench.stored(), 0);
}

#[test]
fn when_the_disk_fails_in_the_middle_of_a_batch_all_of_it_is_undone() {
    let mut bench = bench(|_| {});
    let (before, mut before_answer) = login(1);
    let (broken, _) = order(|_| Err::<(), _>(Fault::Storage(StorageError::PreviousIo)));
    bench.batches.carry_out(vec![before, broken]);
    let answer = before_answer.try_recv().unwrap();
    assert!(matches!(answer, Err(StoreError::Storage(_))));
    assert_eq!(bench.stored(), 0);
}

#[test]
fn a_disk_that_works_again_is_used_again() {
    let mut bench = bench(|_| {});
    bench.fail(true);
    for _ in 0..3 {
        let (order, mut answer) = login(1);
        bench.batches.carry_out(vec![order]);
        assert!(!matches!(answer.try_recv(), Ok(Ok(()))));
    }
    bench.fail(false);
    bench.mend();
    let (order, mut answer) = login(2);
    bench.batches.carry_out(vec![order]);
    assert!(matches!(answer.try_recv(), Ok(Ok(()))));
    assert_eq!(bench.stored(), 1);
}

#[test]
fn a_hundred_logins_that_wait_cost_the_disk_as_much_as_one() {
    let mut bench = bench(|_| {});
    let one = bench.syncs_of(0..1);
    assert!(one > 0);
    assert_eq!(bench.syncs_of(1..101), one);
}

#[test]
fn a_batch_that_changes_nothing_leaves_the_disk_alone() {
    let mut bench = bench(|_| {});
    assert_eq!(bench.syncs_of(0..0), 0);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_instead_of_growing() {
    let bench = bench(|_| {});
    let disk = Arc::clone(&bench.disk);
    let writer = Writer::start(disk, RevokedSessions::default(), bench.clock.clone());
    let writer = writer.unwrap();
    let (started, has_started) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let stalled = writer.submit(move |_| {
        started.send(()).unwrap();
        Ok(may_go_on.recv().is_err())
    });
    assert!(stalled.now_or_never().is_none());
    has_started.recv().unwrap();
    for _ in 0..QUEUE {
        assert!(writer.submit(|_| Ok(())).now_or_never().is_none());
    }
    let refused = writer.submit(|_| Ok(())).now_or_never();
    assert!(matches!(refused, Some(Err(StoreError::Busy))));
    drop(go_on);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_nobody_for_ever() {
    let bench = bench(|_| {});
    let disk = Arc::clone(&bench.disk);
    let writer = Writer::start(disk, RevokedSessions::default(), bench.clock.clone());
    let writer = writer.unwrap();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let answer = writer.submit(move |_| Ok(may_go_on.recv().is_err())).await;
    assert!(matches!(answer, Err(StoreError::Unavailable)));
    drop(go_on);
}

/// Puts a row into a file that cannot be read.
fn damage(path: &Path) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut sessions = transaction.open_table(SESSIONS).unwrap();
    sessions
        .insert(sid(7).as_bytes(), &b"nonsense"[..])
        .unwrap();
    drop(sessions);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_session_inherits_the_session_key_although_a_newer_one_is_damaged() {
    let mut bench = bench(damage);
    bench.carry_out_one(login(1)).unwrap();
    bench.carry_out_one(login(2)).unwrap();
    assert!(bench.carry_out_one(logout(2)).unwrap());
    let (store, user) = (store(&bench), identity("alice").user());
    let keys = store.session_keys(user).await;
    assert!(matches!(keys, Err(StoreError::Damaged)), "{keys:?}");
    assert!(store.end(sid(7)).await.unwrap());
    let keys = store.session_keys(user).await.unwrap().unwrap();
    assert_eq!(keys.latest, new_login(2).sealed_key);
}

#[test]
fn a_damaged_record_fails_nobody_else() {
    let mut bench = bench(damage);
    let (before, mut before_answer) = login(1);
    let (damaged, mut damaged_answer) = logout(7);
    let (after, mut after_answer) = login(9);
    bench.batches.carry_out(vec![before, damaged, after]);
    assert!(matches!(before_answer.try_recv(), Ok(Ok(()))));
    assert!(matches!(damaged_answer.try_recv(), Ok(Ok(true))));
    assert!(matches!(after_answer.try_recv(), Ok(Ok(()))));
    assert_eq!(bench.stored(), 2);
    assert!(bench.batches.revoked.contains(&sid(7)));
}

#[test]
fn expired_sessions_go_in_small_steps_without_being_asked_for() {
    let mut bench = bench(|_| {});
    let orders = (0..150).map(|n| login(n).0).collect();
    bench.batches.carry_out(orders);
    bench.clock.advance(RULES.session_ttl);
    assert!(bench.batches.carry_out(Vec::new()));
    assert_eq!(bench.stored(), 150 - 64);
    assert!(bench.batches.carry_out(Vec::new()));
    assert!(!bench.batches.carry_out(Vec::new()));
    assert_eq!(bench.stored(), 0);
}

#[test]
fn a_logout_is_in_memory_by_the_time_it_is_answered() {
    let mut bench = bench(|_| {});
    let (order, mut answer) = logout(1);
    bench.batches.carry_out(vec![order]);
    assert!(matches!(answer.try_recv(), Ok(Ok(false))));
    assert!(bench.batches.revoked.contains(&sid(1)));
}

#[test]
fn a_commit_that_failed_and_reached_the_disk_all_the_same_is_found_there() {
    let mut bench = bench(|_| {});
    bench.carry_out_one(login(1)).unwrap();
    bench.switch.lying.store(true, Ordering::Relaxed);
    bench.carry_out_one(logout(1)).unwrap_err();
    bench.switch.lying.store(false, Ordering::Relaxed);
    bench.mend();
    // Whether it did is the engine's affair; what is found is of one kind.
    let ended = bench.stored() == 0;
    assert_eq!(bench.batches.revoked.contains(&sid(1)), ended);
    assert_eq!(bench.carry_out_one(logout(1)).unwrap(), !ended);
    bench.carry_out_one(login(2)).unwrap();
    bench.carry_out_one(login(3)).unwrap();
    assert_eq!(bench.stored(), 2);
}

#[test]
fn what_another_process_changed_meanwhile_is_known_afterwards() {
    let mut bench = bench(|_| {});
    for n in 1..4 {
        bench.carry_out_one(login(n)).unwrap();
    }
    bench.disk.close();
    let other = Disk::open(disk::opener(bench.path.clone()), RULES).unwrap();
    other.load().unwrap();
    let changed = other.write(bench.clock.unix_secs(), |tables| {
        assert!(tables.end(sid(3)).unwrap());
        tables
            .add(new_login(9))
            .map(drop)
            .map_err(|_| StorageError::PreviousIo)
    });
    changed.unwrap();
    other.close();
    bench.mend();
    assert!(!bench.carry_out_one(logout(3)).unwrap());
    assert!(bench.carry_out_one(logout(9)).unwrap());
    assert_eq!(bench.stored(), 2);
}

#[test]
fn a_disk_that_stays_full_is_tried_less_and_less() {
    let mut bench = bench(|_| {});
    bench.batches.first_pause = MEND_PAUSE;
    bench.batches.mend_pause = MEND_PAUSE;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        bench.fail(true);
        bench.carry_out_one(login(1)).unwrap_err();
        let wait = bench.batches.mend_at.unwrap() - Instant::now();
        pauses.push(wait.as_secs_f64().round());
        // It can be opened and tried out, and is full again.
        bench.fail(false);
        bench.mend();
        assert!(bench.batches.available.load(Ordering::Relaxed));
    }
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
    bench.carry_out_one(login(1)).unwrap();
    assert_eq!(bench.batches.mend_pause, MEND_PAUSE);
}

#[test]
fn a_disk_that_can_be_opened_and_not_be_written_to_is_not_available() {
    let mut bench = bench(|_| {});
    bench.fail(true);
    bench.carry_out_one(login(1)).unwrap_err();
    bench.mend();
    assert!(!bench.batches.available.load(Ordering::Relaxed));
    bench.fail(false);
    bench.mend();
    assert!(bench.batches.available.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_thread_that_has_ended_is_a_store_that_is_not_available() {
    let bench = bench(|_| {});
    let disk = Arc::clone(&bench.disk);
    let writer = Writer::start(disk, RevokedSessions::default(), bench.clock.clone()).unwrap();
    let ended = writer.submit(|_| -> Result<(), Fault> { panic!("on purpose") });
    assert!(matches!(ended.await, Err(StoreError::Unavailable)));
    writer.stop();
    assert!(!writer.is_available());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_commit_hangs_what_was_committed_can_be_read() {
    let bench = bench(|_| {});
    let store = Arc::new(store(&bench));
    store.add(new_login(1)).await.unwrap();
    let (told, hangs) = mpsc::channel();
    let (hanging, over) = mpsc::channel();
    *bench.switch.hang.lock().unwrap() = Some((told, over));
    let changing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let (add, end) = (store.add(new_login(2)), store.end(sid(1)));
            let (added, ended) = tokio::join!(add, end);
            added.unwrap();
            assert!(ended.unwrap());
        }
    });
    tokio::task::spawn_blocking(move || hangs.recv().unwrap())
        .await
        .unwrap();
    let user = identity("alice").user();
    for (n, is_there) in [(1, true), (2, false)] {
        assert_eq!(store.session(sid(n)).await.unwrap().is_some(), is_there);
    }
    let sids = async || -> Vec<SessionId> {
        let listed = store.sessions_of(user).await.unwrap().into_iter();
        listed.map(|(sid, _)| sid).collect()
    };
    assert_eq!(sids().await, [sid(1)]);
    let keys = store.session_keys(user).await.unwrap().unwrap();
    assert_eq!(keys.latest, new_login(1).sealed_key);
    drop(hanging);
    changing.await.unwrap();
    assert_eq!(sids().await, [sid(2)]);
}

#[tokio::test]
async fn reads_that_hang_leave_threads_for_others() {
    const MANY: usize = 1000;
    let bench = bench(|_| {});
    let store = Arc::new(store(&bench));
    let (hanging, over) = mpsc::channel::<()>();
    let over = Arc::new(Mutex::new(over));
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..MANY {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        reads.spawn(async move {
            let hang = move |_: &Rows| {
                over.lock().unwrap().recv().unwrap_err();
                Ok(())
            };
            store.read(hang).await
        });
    }
    tokio::task::yield_now().await;
    let other = tokio::task::spawn_blocking(|| ());
    tokio::time::timeout(ANSWER_TIMEOUT, other)
        .await
        .unwrap()
        .unwrap();
    drop(hanging);
    assert_eq!(reads.join_all().await.len(), MANY);
}
