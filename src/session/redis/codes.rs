//! Single-flight over all nodes: which node redeems a code, and for a short time what that brought.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Redis;
use super::scripts::{CLAIM, GIVE_BACK, NOT_STORED};
use crate::session::StoreError;
use crate::session::claim::{CodeMark, Held, Holder, Memo};

/// WeChat's codes are valid for five minutes; the rest is for clocks that differ.
const CODE_LASTS: Duration = Duration::from_secs(330);

/// Another node that waits for the outcome of a code looks several times a second.
const MEMO_LASTS: Duration = Duration::from_secs(3);

/// The pause between attempts to store that a session could not be stored.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

impl Redis {
    pub(super) async fn take_code(
        &self,
        code: CodeMark,
        holder: Holder,
        lease: Duration,
    ) -> Result<Held, StoreError> {
        let change = CLAIM
            .of_code(&self.names, code)
            .arg(holder.as_bytes())
            .arg(millis(lease))
            // The claim outlives the code, so that nobody takes the code of a holder that died for a fresh one.
            .arg(millis(CODE_LASTS));
        self.change(change).await
    }

    pub(super) async fn give_code_back(
        &self,
        code: CodeMark,
        holder: Holder,
    ) -> Result<(), StoreError> {
        let change = GIVE_BACK.of_code(&self.names, code).arg(holder.as_bytes());
        self.change::<redis::Value>(change).await.map(drop)
    }

    /// Replaces the holder's claim by the errcode with which WeChat refused the code.
    pub(super) async fn keep_refused(
        &self,
        code: CodeMark,
        holder: Holder,
        errcode: i64,
        keep: Duration,
    ) -> Result<(), StoreError> {
        let change = GIVE_BACK
            .of_code(&self.names, code)
            .arg(holder.as_bytes())
            .arg(errcode)
            .arg(millis(keep));
        self.change::<redis::Value>(change).await.map(drop)
    }

    /// Stores that the session of a code could not be stored, as soon as Redis accepts that, so that other nodes say so too.
    pub(super) fn tell_not_stored(&self, code: CodeMark, holder: Holder) {
        let tell = NOT_STORED.of_code(&self.names, code);
        let tell = tell.arg(holder.as_bytes()).arg(millis(CODE_LASTS));
        let (link, closed) = (Arc::clone(&self.link), Arc::clone(&self.closed));
        self.behind.spawn(async move {
            let told = async {
                while tell.make::<redis::Value>(&link).await.is_err()
                    && !closed.load(Ordering::Relaxed)
                {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            };
            // After that, the code is invalid at WeChat too.
            let _ = tokio::time::timeout(CODE_LASTS, told).await;
        });
    }

    /// Stores the outcome of a code in the background: only another node that asks for the code needs it, and it asks again.
    pub(super) fn remember(&self, memo: Option<Memo>) {
        let Some(Memo {
            code, sealed, keep, ..
        }) = memo
        else {
            return;
        };
        let mut write = redis::cmd("SET");
        write.arg(self.names.code(code));
        write.arg([b"d".as_slice(), &sealed].concat());
        write.arg("PX").arg(millis(keep.max(MEMO_LASTS)));
        let link = Arc::clone(&self.link);
        self.behind.spawn(async move {
            if let Err(error) = link.ask::<redis::Value>(&write).await {
                // A client that sends the code again is told to get another.
                tracing::debug!(%error, "what a code brought could not be kept");
            }
        });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
