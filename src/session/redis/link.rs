//! Keeps the connection that all requests share, and reconnects and sends a command once more when it breaks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redis::{Arg, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::sync::{Mutex, Notify};

use super::connect::{Connection, Connector};
use super::trouble::RedisState;

/// After a failed attempt to connect, every command fails at once for this long.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(250);
/// The pause before a command is sent again to a slot that is being moved.
const SLOT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The connection that all requests share.
pub(super) struct Link {
    connector: Arc<Connector>,
    timeout: Duration,
    state: Mutex<LinkState>,
    available: AtomicBool,
    /// Whether Redis has ever answered; until then, errors are told to whoever starts the node, and not to the log.
    answered: AtomicBool,
    operations: AtomicU64,
    refusal: std::sync::Mutex<Option<Refusal>>,
    /// Wakes the task that tries whether a refusal is over.
    refused: Notify,
}

/// What Redis refused last.
#[derive(Clone, Debug)]
struct Refusal {
    trouble: RedisState,
    /// A harmless command that Redis refuses for the same reason; `None` where any answer means that the trouble is over.
    probe: Option<Cmd>,
}

#[derive(Clone, Copy)]
enum Question<'q> {
    One(&'q Cmd),
    Several(&'q Pipeline),
}

#[derive(Default)]
struct LinkState {
    connection: Option<Connection>,
    /// Counts the connections, so that a broken one is given up only once.
    number: u64,
    /// When the last attempt to connect failed, and why.
    failed: Option<(Instant, RedisError)>,
}

impl Link {
    pub(super) fn new(connector: Arc<Connector>, timeout: Duration) -> Self {
        Self {
            connector,
            timeout,
            state: Mutex::default(),
            available: AtomicBool::new(true),
            answered: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            refusal: std::sync::Mutex::default(),
            refused: Notify::new(),
        }
    }

    /// Sends a command, which must be idempotent.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.attempts(Question::One(command)).await
    }

    /// Sends several commands in one round trip.
    pub(super) async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        self.attempts(Question::Several(commands)).await
    }

    /// Returns the count of the present master, for [`Self::is_still`].
    pub(super) fn masters(&self) -> u64 {
        self.connector.masters()
    }

    /// Returns whether what was asked since the master had this count was answered by the one that is the master now. One that was
    /// replaced may still answer, and lacks what others wrote since.
    pub(super) async fn is_still(&self, master: u64) -> RedisResult<bool> {
        self.connector.is_still(master).await
    }

    /// Returns whether Redis answered the last time.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Returns why Redis refused the last command, as a sentence; `None` also where it does not answer.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        let refusal = self.refusal.lock();
        let refusal = refusal.unwrap_or_else(PoisonError::into_inner);
        let trouble = refusal.as_ref().map(|refusal| refusal.trouble);
        let said = trouble.filter(|trouble| *trouble != RedisState::Away);
        said.map(RedisState::sentence)
    }

    /// Records that Redis can be reached again, so that the next command is sent.
    pub(super) async fn revive(&self) {
        self.state.lock().await.failed = None;
        self.answers();
    }

    /// Records an error; `probe` is a command that fails with it for as long as the trouble lasts, when others may not.
    pub(super) fn fails(&self, error: &RedisError, probe: impl FnOnce(RedisState) -> Cmd) {
        let Some(trouble) = RedisState::of(error) else {
            return self.answers();
        };
        let of_connection = trouble.is_of_connection();
        self.available.store(!of_connection, Ordering::Relaxed);
        let probe = (!of_connection).then(|| probe(trouble));
        let new = Refusal { trouble, probe };
        let before = self.replace_refusal(|_| Some(new));
        if before.is_none_or(|before| before.trouble != trouble) {
            self.refused.notify_one();
            if self.answered.load(Ordering::Relaxed) {
                let sentence = trouble.sentence();
                tracing::error!(cause = %error, "{sentence}: logins and refreshes may fail");
            }
        }
    }

    /// Tries again and again whether a refusal is over, for as long as there is one.
    pub(super) async fn probe(&self) {
        loop {
            self.refused.notified().await;
            while let Some(probe) = self.pending_probe() {
                tokio::time::sleep(RECONNECT_INTERVAL).await;
                let probed: RedisResult<redis::Value> = self.ask(&probe).await;
                if probed.is_ok() {
                    self.replace_refusal(|_| None);
                    tracing::info!("Redis works again");
                }
            }
        }
    }

    fn pending_probe(&self) -> Option<Cmd> {
        let refusal = self.refusal.lock();
        let refusal = refusal.unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().and_then(|refusal| refusal.probe.clone())
    }

    fn replace_refusal(
        &self,
        with: impl FnOnce(Option<&Refusal>) -> Option<Refusal>,
    ) -> Option<Refusal> {
        let refusal = self.refusal.lock();
        let mut refusal = refusal.unwrap_or_else(PoisonError::into_inner);
        let new = with(refusal.as_ref());
        std::mem::replace(&mut *refusal, new)
    }

    /// Records that Redis answered; it may still refuse other commands.
    fn answers(&self) {
        self.answered.store(true, Ordering::Relaxed);
        if self.available.swap(true, Ordering::Relaxed) {
            return;
        }
        self.replace_refusal(|refusal| {
            let stays = refusal.filter(|refusal| refusal.probe.is_some());
            stays.cloned()
        });
        tracing::info!("Redis answers again");
    }

    /// Returns how many commands were sent.
    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    async fn attempts<T: FromRedisValue>(&self, question: Question<'_>) -> RedisResult<T> {
        let mut last = None;
        let attempts = async {
            let mut reconnected = false;
            loop {
                let failed = match self.attempt(question).await {
                    Err(error) => error,
                    answer => return answer,
                };
                match RedisState::of(&failed) {
                    // Redis may have restarted, or another server may be the master by now.
                    Some(trouble) if trouble.is_of_connection() && !reconnected => {
                        reconnected = true;
                    }
                    Some(RedisState::SlotMoving) => {
                        last = Some(failed);
                        tokio::time::sleep(SLOT_RETRY_INTERVAL).await;
                    }
                    Some(_) | None => return Err(failed),
                }
            }
        };
        let outcome = tokio::time::timeout(self.timeout, attempts).await;
        let outcome = outcome.unwrap_or_else(|_| Err(last.unwrap_or_else(no_answer)));
        match &outcome {
            Ok(_) => self.answers(),
            Err(error) => self.fails(error, |trouble| question.probe(trouble)),
        }
        outcome
    }

    async fn attempt<T: FromRedisValue>(&self, question: Question<'_>) -> RedisResult<T> {
        let (mut connection, number) = self.connection().await?;
        self.operations.fetch_add(1, Ordering::Relaxed);
        let outcome = match question {
            Question::One(command) => command.query_async(&mut connection).await,
            Question::Several(commands) => commands.query_async(&mut connection).await,
        };
        if outcome.as_ref().is_err_and(is_lost) {
            let mut state = self.state.lock().await;
            if state.number == number {
                state.connection = None;
            }
        }
        outcome
    }

    async fn connection(&self) -> RedisResult<(Connection, u64)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && self.connector.is_current(connection)
        {
            return Ok((connection.clone(), state.number));
        }
        if let Some((failed, error)) = &state.failed
            && failed.elapsed() < RECONNECT_INTERVAL
        {
            return Err(error.clone());
        }
        match self.connector.connect().await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.number += 1;
                state.failed = None;
                Ok((connection, state.number))
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

impl Question<'_> {
    /// Returns a harmless command that meets the same trouble.
    fn probe(self, trouble: RedisState) -> Cmd {
        let first = match self {
            Self::One(command) => Some(command),
            Self::Several(commands) => commands.cmd_iter().next(),
        };
        let arguments = first.into_iter().flat_map(Cmd::args_iter);
        let mut arguments = arguments.filter_map(|argument| {
            let Arg::Simple(bytes) = argument else {
                return None;
            };
            Some(bytes)
        });
        let is_script = matches!(arguments.next(), Some(b"EVALSHA" | b"EVAL"));
        if !is_script {
            return first.cloned().unwrap_or_else(|| redis::cmd("PING"));
        }
        let count = arguments
            .nth(1)
            .and_then(|count| str::from_utf8(count).ok());
        let count = count.and_then(|count| count.parse().ok()).unwrap_or(1);
        let keys: Vec<&[u8]> = arguments.take(count).collect();
        match trouble {
            RedisState::NoMemory | RedisState::FewReplicas | RedisState::DiskFailed => {
                let mut write = redis::cmd("SET");
                // In the same slot, by the same braces.
                let key = keys.iter().find(|key| key.contains(&b'}'));
                let tagged = key.and_then(|key| key.split(|byte| *byte == b'}').next());
                let name = [tagged.unwrap_or_default(), b"}:probe"].concat();
                write.arg(name).arg(1).arg("PX").arg(1);
                write
            }
            RedisState::Away
            | RedisState::Password
            | RedisState::Loading
            | RedisState::MasterDown
            | RedisState::ReadOnly
            | RedisState::PartDown
            | RedisState::SlotMoving
            | RedisState::Busy => {
                let mut look = redis::cmd("EXISTS");
                look.arg(keys);
                look
            }
        }
    }
}

/// Returns whether an error is about the connection or its server, and not about the command.
pub(super) fn is_lost(error: &RedisError) -> bool {
    RedisState::of(error).is_some_and(RedisState::is_of_connection)
}

pub(super) fn no_answer() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
