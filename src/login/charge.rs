//! What a login counts for against its address, until it is known whether its code was good for anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::request::{Client, Denial, Rates};

/// A count against an address, which is taken back unless the code turns out to be good for nothing.
///
/// A client that leaves is not told what its code brings, and still pays for what it began: whoever redeems the code settles
/// the charge. One that nobody settles is taken back.
pub struct Charge {
    rates: Arc<Rates>,
    client: Client,
    settled: AtomicBool,
}

impl Charge {
    /// Counts a code against a client's address, or refuses it where there were too many.
    pub fn admit(
        rates: &Arc<Rates>,
        client: &Client,
        now: std::time::Instant,
    ) -> Result<Self, Denial> {
        rates.admit(client, now)?;
        Ok(Self {
            rates: Arc::clone(rates),
            client: client.clone(),
            settled: AtomicBool::new(false),
        })
    }

    /// Settles it by what the code brought; only the first time counts.
    pub fn settle(&self, refused: Option<&Denial>) {
        let was_in_vain = refused.is_some_and(|denial| {
            matches!(
                denial,
                Denial::CodeInvalid(_)
                    | Denial::CodeNotSimulated(_)
                    | Denial::CodeUsed(_)
                    | Denial::UserBlocked(_)
                    | Denial::BadRequest(_)
            )
        });
        if !self.settled.swap(true, Ordering::Relaxed) && !was_in_vain {
            self.rates.take_back(&self.client);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle(None);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Charge");
        shown
            .field("settled", &self.settled)
            .finish_non_exhaustive()
    }
}
