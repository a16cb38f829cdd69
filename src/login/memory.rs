//! What logins know that outlasts a reload: codes of the last minutes, the lines before WeChat, and what is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::TaskTracker;

use super::lane::Lane;
use super::once::Codes;
use crate::clock::Clock;

/// What logins know that outlasts a reload.
#[derive(Debug)]
pub struct Memory {
    pub(super) codes: Codes,
    /// The codes that are being redeemed.
    pub(super) tasks: TaskTracker,
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
    clock: Clock,
}

impl Memory {
    /// Begins with nothing.
    pub fn new(clock: Clock) -> Self {
        Self {
            codes: Codes::default(),
            tasks: TaskTracker::new(),
            lanes: Mutex::default(),
            clock,
        }
    }

    /// Returns the line of an app, which is the same for as long as the process lives.
    pub(super) fn lane(&self, appid: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes
            .entry(appid.to_owned())
            .or_insert_with(|| Arc::new(Lane::new(appid, self.clock.clone())));
        Arc::clone(lane)
    }

    /// Waits until no code is being redeemed, which no time limit of a login lets take long.
    pub async fn is_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}
