//! Keeps one connection for everything that is asked, makes another when it breaks, and asks once more then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Mutex;

use super::connect::{Connection, Connector};

/// After a failed try to connect, everybody is told so for this long without another.
const REST: Duration = Duration::from_millis(250);

/// The connection that all requests share.
pub(super) struct Link {
    connector: Arc<Connector>,
    timeout: Duration,
    state: Mutex<State>,
    available: AtomicBool,
    /// Whether Redis has ever answered; until then, whoever starts is told what is wrong, and not the log.
    answered: AtomicBool,
    operations: AtomicU64,
}

#[derive(Clone, Copy)]
enum Question<'q> {
    One(&'q Cmd),
    Several(&'q Pipeline),
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts the connections, so that a broken one is given up once.
    number: u64,
    /// When the last try to connect failed, and why.
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
        }
    }

    /// Sends a command, which must be one that may happen twice.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.attempts(Question::One(command)).await
    }

    /// Sends several commands at once.
    pub(super) async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        self.attempts(Question::Several(commands)).await
    }

    /// Tells whether Redis answered the last time.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Takes notice that Redis can be reached again, so that nobody is refused until they try.
    pub(super) async fn revive(&self) {
        self.state.lock().await.failed = None;
        self.set_available(true);
    }

    pub(super) fn set_available(&self, available: bool) {
        let before = self.available.swap(available, Ordering::Relaxed);
        let answered = self.answered.fetch_or(available, Ordering::Relaxed);
        if !answered {
            return;
        }
        match (before, available) {
            (true, false) => tracing::error!("Redis does not answer: nobody can log in or refresh"),
            (false, true) => tracing::info!("Redis answers again"),
            (true, true) | (false, false) => {}
        }
    }

    /// Returns how many commands were sent.
    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    async fn attempts<T: FromRedisValue>(&self, question: Question<'_>) -> RedisResult<T> {
        let attempts = async {
            let first = self.attempt(question).await;
            match first {
                // Redis may have restarted, or another server may be the master by now.
                Err(error) if is_lost(&error) => self.attempt(question).await,
                outcome => outcome,
            }
        };
        let outcome = tokio::time::timeout(self.timeout, attempts).await;
        let outcome = outcome.unwrap_or_else(|_| Err(no_answer()));
        match &outcome {
            Err(error) if is_lost(error) => self.set_available(false),
            Ok(_) | Err(_) => self.set_available(true),
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
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.number));
        }
        if let Some((failed, error)) = &state.failed
            && failed.elapsed() < REST
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

/// Tells whether an error is about the connection or the server behind it, and not about what was asked.
pub(super) fn is_lost(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::AuthenticationFailed
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
        ),
        // Also kinds that are yet to come: they were answers.
        ErrorKind::UnexpectedReturnType
        | ErrorKind::InvalidClientConfig
        | ErrorKind::Client
        | ErrorKind::Extension
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::EmptySentinelList
        | ErrorKind::RESP3NotSupported
        | _ => false,
    }
}

fn no_answer() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
