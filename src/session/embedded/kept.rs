//! What is kept beside the sessions, a row for each slot.

use redb::ReadableTable as _;

use super::operations::Tables;
use super::tables::Fault;
use crate::session::encoding::{Damaged, Rest, put_number};
use crate::session::kept::{Budget, Sealed, SharedSlot};

const DAY_SECS: u64 = 24 * 3600;

/// What a row holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    /// The day, how often something was spent in it, and when the last time.
    day: u64,
    spent: u64,
    last: u64,
    sealed: Option<Sealed>,
}

impl Tables<'_> {
    /// Keeps the newer of two things, and returns it.
    pub(super) fn keep_newer(
        &mut self,
        slot: SharedSlot,
        mine: Option<Sealed>,
    ) -> Result<Option<Sealed>, Fault> {
        let mut row = self.kept(slot)?;
        let is_newer = |mine: &Sealed| row.sealed.as_ref().is_none_or(|it| it.rank <= mine.rank);
        if let Some(mine) = mine.filter(is_newer)
            && row.sealed.as_ref() != Some(&mine)
        {
            row.sealed = Some(mine);
            self.keep(slot, &row)?;
        }
        Ok(row.sealed)
    }

    /// Counts what must not happen too often.
    pub(super) fn spend(&mut self, slot: SharedSlot, budget: Budget) -> Result<bool, Fault> {
        let mut row = self.kept(slot)?;
        let now = self.now();
        if row.day != now / DAY_SECS {
            (row.day, row.spent) = (now / DAY_SECS, 0);
        }
        let rested = row.last == 0 || now.saturating_sub(row.last) >= budget.gap.as_secs();
        let may = rested && row.spent < u64::from(budget.a_day);
        if may {
            row.spent += 1;
            row.last = now;
            self.keep(slot, &row)?;
        }
        Ok(may)
    }

    fn kept(&self, slot: SharedSlot) -> Result<Row, Fault> {
        let stored = self.meta().get(name(slot).as_str())?;
        let row = stored.map(|stored| Row::from_bytes(stored.value()));
        // One that cannot be read is as good as none.
        Ok(row.and_then(Result::ok).unwrap_or_default())
    }

    fn keep(&mut self, slot: SharedSlot, row: &Row) -> Result<(), Fault> {
        let bytes = row.to_bytes();
        self.meta_mut()
            .insert(name(slot).as_str(), bytes.as_slice())?;
        Ok(())
    }
}

fn name(slot: SharedSlot) -> String {
    format!("kept:{:032x}", u128::from_be_bytes(*slot.as_bytes()))
}

impl Row {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        for number in [self.day, self.spent, self.last] {
            put_number(&mut out, number);
        }
        if let Some(Sealed { rank, bytes }) = &self.sealed {
            put_number(&mut out, *rank);
            out.extend_from_slice(bytes);
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut rest = Rest(bytes);
        let (day, spent, last) = (rest.number()?, rest.number()?, rest.number()?);
        let sealed = if rest.0.is_empty() {
            None
        } else {
            let rank = rest.number()?;
            let bytes = rest.0.to_vec();
            Some(Sealed { rank, bytes })
        };
        Ok(Self {
            day,
            spent,
            last,
            sealed,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_survives_its_bytes(
            (day, spent, last) in any::<(u64, u64, u64)>(),
            sealed in proptest::option::of(any::<(u64, Vec<u8>)>()),
        ) {
            let sealed = sealed.map(|(rank, bytes)| Sealed { rank, bytes });
            let row = Row { day, spent, last, sealed };
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()).unwrap(), row);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Row::from_bytes(&bytes);
        }
    }
}
