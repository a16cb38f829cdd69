//! Values that all nodes share beside the sessions, and leases with a fencing token to replace them.

use std::time::Duration;

use super::Redis;
use super::keys::Names;
use super::scripts::{Change, KEEP, SPEND, TURN};
use crate::session::StoreError;
use crate::session::claim::Holder;
use crate::session::kept::{Budget, Sealed, SharedSlot, Turn};

/// How long a value is kept that nobody reads.
const LASTS_SECS: u64 = 3 * 24 * 3600;

/// Returns the change that stores a value of a higher rank, or reads the present one.
pub(super) fn keep(
    names: &Names,
    slot: SharedSlot,
    mine: Option<Sealed>,
    turn: Option<Holder>,
) -> Change<'static> {
    let change = KEEP.with(vec![names.kept(slot)]).arg(LASTS_SECS);
    let change = change.arg(turn.map_or(Vec::new(), |turn| turn.as_bytes().to_vec()));
    match mine {
        Some(Sealed { rank, bytes }) => change.arg(rank).arg(bytes),
        None => change,
    }
}

/// Returns the change that takes the lease.
pub(super) fn turn(
    names: &Names,
    slot: SharedSlot,
    holder: Holder,
    lease: Duration,
    moved_secs: i64,
) -> Change<'static> {
    let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let change = TURN.with(vec![names.kept(slot)]).arg(LASTS_SECS);
    change.arg(holder.as_bytes()).arg(lease).arg(moved_secs)
}

/// Returns the change that counts an action against its budget.
pub(super) fn spend(
    names: &Names,
    slot: SharedSlot,
    budget: Budget,
    moved_secs: i64,
) -> Change<'static> {
    let change = SPEND.with(vec![names.kept(slot)]).arg(LASTS_SECS);
    let change = change.arg(moved_secs).arg(budget.gap.as_secs());
    change.arg(budget.a_day)
}

impl Redis {
    pub(super) async fn keep(
        &self,
        slot: SharedSlot,
        mine: Option<Sealed>,
        turn: Option<Holder>,
    ) -> Result<Option<Sealed>, StoreError> {
        let kept: Option<(u64, Vec<u8>)> = self.change(keep(&self.names, slot, mine, turn)).await?;
        Ok(kept.map(|(rank, bytes)| Sealed { rank, bytes }))
    }

    pub(super) async fn turn(
        &self,
        slot: SharedSlot,
        holder: Holder,
        lease: Duration,
    ) -> Result<Turn, StoreError> {
        let moved = self.clock.moved_secs();
        let change = turn(&self.names, slot, holder, lease, moved);
        let (yours, number): (bool, u64) = self.change(change).await?;
        Ok(if yours {
            Turn::Yours(Some(number))
        } else {
            Turn::Anothers(Duration::from_millis(number))
        })
    }

    pub(super) async fn spent(&self, slot: SharedSlot, budget: Budget) -> Result<bool, StoreError> {
        let moved = self.clock.moved_secs();
        self.change(spend(&self.names, slot, budget, moved)).await
    }
}
