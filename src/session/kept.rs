//! What is kept beside the sessions for all nodes: under each slot the newest of what they brought, and whose turn it is.

use std::time::Duration;

use aws_lc_rs::hmac;

use super::store::Store as _;
use super::{Holder, Sessions, StoreError};
use crate::secret::Secret;

/// The name of a value that all nodes share; nobody finds out by it whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedSlot([u8; 16]);

/// A text that is kept sealed; of two the one with the higher rank is the newer.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// The rank, below 2^53.
    pub rank: u64,
    /// The text.
    pub text: Secret,
}

/// Whose turn it is to replace what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Whoever asked, with a fencing token that is higher than each before; `None` where there is one process only.
    Yours(Option<u64>),
    /// Another node's, for this long at most.
    Anothers(Duration),
}

/// The same as a store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) rank: u64,
    pub(super) bytes: Vec<u8>,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The least time between two.
    pub gap: Duration,
    /// The most in a day.
    pub a_day: u32,
}

impl SharedSlot {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Sessions {
    /// Returns the slot that belongs to these texts, of which none may hold a NUL.
    pub fn slot(&self, texts: &[&str]) -> SharedSlot {
        let mut context = hmac::Context::with_key(&self.shared.keys.slots);
        for text in texts {
            context.update(text.as_bytes());
            context.update(&[0]);
        }
        let tag = context.sign();
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        SharedSlot(out)
    }

    /// Keeps `mine` unless something newer is there, and returns what is there then; a turn that was taken ends with that.
    pub async fn keep_newer(
        &self,
        slot: SharedSlot,
        mine: Option<&Ranked>,
        turn: Option<Holder>,
    ) -> Result<Option<Ranked>, StoreError> {
        let sealer = &self.shared.keys.kept;
        let owner = |rank: u64| [slot.0.as_slice(), &rank.to_be_bytes()].concat();
        let sealed = match mine {
            Some(Ranked { rank, text }) => Some(Sealed {
                rank: *rank,
                bytes: sealer.seal(&owner(*rank), text)?,
            }),
            None => None,
        };
        let found = self.shared.store.keep_newer(slot, sealed, turn).await?;
        // What does not open is as good as nothing: another takes its place.
        Ok(found.and_then(|Sealed { rank, bytes }| {
            let text = sealer.open(&owner(rank), &bytes)?;
            Some(Ranked { rank, text })
        }))
    }

    /// Takes the turn to replace what is kept. One whose holder is not heard of for the time of `lease` passes to another.
    pub async fn take_turn(
        &self,
        slot: SharedSlot,
        holder: Holder,
        lease: Duration,
    ) -> Result<Turn, StoreError> {
        self.shared.store.take_turn(slot, holder, lease).await
    }

    /// Counts one more of what must not happen too often, unless it comes too soon or the day has had all.
    pub async fn spend(&self, slot: SharedSlot, budget: Budget) -> Result<bool, StoreError> {
        self.shared.store.spend(slot, budget).await
    }

    /// Returns whether other processes keep things in the same store.
    pub fn is_shared(&self) -> bool {
        self.shared.store.is_shared()
    }
}
