//! What is kept beside the sessions: the newest wins, turns pass on, and budgets end.

use std::time::Duration;

use super::{SECOND, Subject};
use crate::secret::Secret;
use crate::session::kept::{Budget, Ranked, SharedSlot, Turn};
use crate::session::{Holder, Sessions};

const LEASE: Duration = Duration::from_secs(20);

fn slot<P>(subject: &Subject<P>) -> SharedSlot {
    subject.store.slot(&["wx1", "a test"])
}

async fn keep(store: &Sessions, slot: SharedSlot, rank: u64, text: &str) -> (u64, String) {
    let text = Secret::new(text);
    let mine = Ranked { rank, text };
    let kept = store.keep_newer(slot, Some(&mine), None).await;
    let kept = kept.unwrap().unwrap();
    (kept.rank, kept.text.expose().to_owned())
}

pub(in crate::session) async fn of_what_is_kept_the_newest_wins<P: AsyncFn(Duration)>(
    subject: Subject<P>,
) {
    let (store, slot) = (&subject.store, slot(&subject));
    assert!(store.keep_newer(slot, None, None).await.unwrap().is_none());
    let long = "x".repeat(4095);
    assert_eq!(keep(store, slot, 7, &long).await, (7, long.clone()));
    // Somebody who was away for long brings what is over.
    assert_eq!(keep(store, slot, 6, "old").await, (7, long.clone()));
    let looked = store.keep_newer(slot, None, None).await.unwrap().unwrap();
    assert_eq!((looked.rank, looked.text.expose()), (7, long.as_str()));
    let rank = 1 << 52;
    assert_eq!(keep(store, slot, rank, "b").await, (rank, "b".to_owned()));
    let other = store.slot(&["wx1", "another"]);
    assert!(store.keep_newer(other, None, None).await.unwrap().is_none());
}

pub(in crate::session) async fn a_turn_is_one_nodes_until_it_is_over<P: AsyncFn(Duration)>(
    subject: Subject<P>,
) {
    let (store, slot) = (&subject.store, slot(&subject));
    let [one, other] = [Holder::random().unwrap(), Holder::random().unwrap()];
    let take = async |holder| store.take_turn(slot, holder, LEASE).await.unwrap();
    let first = take(one).await;
    let Turn::Yours(Some(first)) = first else {
        assert_eq!((first, store.is_shared()), (Turn::Yours(None), false));
        return;
    };
    let Turn::Anothers(left) = take(other).await else {
        panic!("it is another's");
    };
    assert!(left <= LEASE && left > LEASE / 2, "{left:?}");
    // Its holder is paused, and brings something when it is another's turn.
    subject.pass(LEASE + SECOND).await;
    let Turn::Yours(Some(second)) = take(other).await else {
        panic!("it should have passed on");
    };
    assert!(second > first && second < 1 << 53, "{second} {first}");
    assert_eq!(keep(store, slot, second, "new").await.1, "new");
    assert_eq!(keep(store, slot, first, "late").await.1, "new");
    // What is brought ends the turn of whoever brings it.
    assert!(matches!(take(one).await, Turn::Anothers(_)));
    store.keep_newer(slot, None, Some(other)).await.unwrap();
    let Turn::Yours(Some(third)) = take(one).await else {
        panic!("it should be over");
    };
    assert!(third > second);
}

pub(in crate::session) async fn a_budget_has_a_gap_and_a_day<P: AsyncFn(Duration)>(
    subject: Subject<P>,
) {
    let (store, slot) = (&subject.store, slot(&subject));
    let budget = Budget {
        gap: Duration::from_secs(30),
        a_day: 3,
    };
    let mut may = Vec::new();
    for _ in 0..8 {
        may.push(store.spend(slot, budget).await.unwrap());
        subject.pass(Duration::from_secs(15)).await;
    }
    let granted = may.iter().filter(|may| **may).count();
    // Midnight may have been among them.
    assert!((3..=4).contains(&granted), "{may:?}");
    assert!(may[0] && !may[1], "{may:?}");
    subject.pass(Duration::from_secs(24 * 3600)).await;
    assert!(store.spend(slot, budget).await.unwrap());
}
