//! Which node redeems a code, and for a while what it brought.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Redis;
use super::scripts::{CLAIM, GIVE_BACK, NOT_STORED};
use crate::session::StoreError;
use crate::session::claim::{CodeMark, Held, Holder, Memo};

/// WeChat's codes live for five minutes; the rest is for clocks that differ.
const CODE_LASTS: Duration = Duration::from_secs(330);

/// Whoever waits on another node for what a code brings looks several times a second.
const MEMO_LASTS: Duration = Duration::from_secs(3);

/// The pause before a Redis that could not store a session is told so again.
const PAUSE: Duration = Duration::from_millis(100);

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
            // Whoever finds a claim whose holder died must not take the code for a fresh one while it could be.
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

    /// Keeps what WeChat refused a code with in place of the holder's claim.
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

    /// Has whoever asks for a code at another node told that its session could not be stored, as soon as Redis can be told.
    pub(super) fn tell_not_stored(&self, code: CodeMark, holder: Holder) {
        let tell = NOT_STORED.of_code(&self.names, code);
        let tell = tell.arg(holder.as_bytes()).arg(millis(CODE_LASTS));
        let (link, closed) = (Arc::clone(&self.link), Arc::clone(&self.closed));
        self.behind.spawn(async move {
            let told = async {
                while tell.make::<redis::Value>(&link).await.is_err()
                    && !closed.load(Ordering::Relaxed)
                {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            // After that, the code is good for nothing at WeChat either.
            let _ = tokio::time::timeout(CODE_LASTS, told).await;
        });
    }

    /// Keeps what a code brought. Nobody waits for it but who asks for the code at another node, and looks again.
    pub(super) fn remember(&self, memo: Option<Memo>) {
        let Some(Memo { code, sealed, keep }) = memo else {
            return;
        };
        let mut write = redis::cmd("SET");
        write.arg(self.names.code(code));
        write.arg([b"d".as_slice(), &sealed].concat());
        write.arg("PX").arg(millis(keep.max(MEMO_LASTS)));
        let link = Arc::clone(&self.link);
        self.behind.spawn(async move {
            if let Err(error) = link.ask::<redis::Value>(&write).await {
                // Who repeats the code is told to get another.
                tracing::debug!(%error, "what a code brought could not be kept");
            }
        });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
