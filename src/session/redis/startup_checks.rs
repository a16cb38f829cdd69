//! The checks before the first session: can Redis be reached, is it the right seal key, and is every command permitted?

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use redis::{RedisError, RedisResult};
use tokio_util::task::TaskTracker;

use super::connect::Connector;
use super::count::Count;
use super::ends::Ends;
use super::keys::Names;
use super::link::Link;
use super::maintenance::measure;
use super::revocations::{Beginning, Revocations, settle};
use super::seal_key_check::{self, Checks};
use super::stream::Stream;
use super::time::{self, Time};
use super::{Redis, durability, refusal, rehearsal};
use crate::clock::Clock;
use crate::config::RedisServer;
use crate::secret::Secret;
use crate::session::seal::{Keys, SealKey};
use crate::session::{OpenError, SessionRules};

impl Redis {
    /// Connects, and returns when every revocation is known.
    pub(in crate::session) async fn connect(
        server: &RedisServer,
        seal_key: &Secret,
        rules: SessionRules,
        clock: Clock,
    ) -> Result<(Self, Keys), OpenError> {
        let unchecked = UncheckedRedis::new(server, seal_key)?;
        unchecked.is_ours().await?;
        unchecked.rehearse(&clock).await?;
        for warning in unchecked.warnings(&clock).await? {
            tracing::warn!("{warning}");
        }
        unchecked.claim().await?;
        let ends = Ends::new(&unchecked.names, &rules, &clock);
        let time = Time::new(clock.clone());
        let followed = Revocations::follow(Beginning {
            connector: Arc::clone(&unchecked.connector),
            link: Arc::clone(&unchecked.link),
            names: unchecked.names.clone(),
            ends: ends.clone(),
            time: time.clone(),
            checks: Checks::new(&unchecked.names, unchecked.keys.check),
            timeout: server.timeout,
            refuse_after: server.refuse_after,
        });
        let revocations = followed.await.map_err(|error| unchecked.unusable(&error))?;
        let UncheckedRedis {
            link,
            names,
            keys,
            connector,
            ..
        } = unchecked;
        let store = Self {
            revocations,
            count: Count::start(connector, names.clone()),
            ends,
            link,
            names,
            rules,
            clock,
            time,
            closed: Arc::default(),
            behind: TaskTracker::new(),
        };
        Ok((store, keys))
    }

    /// Checks whether [`Self::connect`] would succeed, without starting a node, and returns warnings for the operator.
    pub(in crate::session) async fn try_out(
        server: &RedisServer,
        seal_key: &Secret,
        clock: &Clock,
    ) -> Result<Vec<String>, OpenError> {
        let unchecked = UncheckedRedis::new(server, seal_key)?;
        unchecked.is_ours().await?;
        unchecked.rehearse(clock).await?;
        unchecked.warnings(clock).await
    }
}

/// A Redis that has not passed all checks yet.
struct UncheckedRedis<'s> {
    server: &'s RedisServer,
    connector: Arc<Connector>,
    link: Arc<Link>,
    names: Names,
    keys: Keys,
    checks: Checks,
}

impl<'s> UncheckedRedis<'s> {
    fn new(server: &'s RedisServer, seal_key: &Secret) -> Result<Self, OpenError> {
        let keys = SealKey::parse(seal_key)
            .ok_or(OpenError::ConfiguredSealKeyMalformed)?
            .derive()
            .map_err(|Unspecified| OpenError::Cryptography)?;
        let connector = Connector::new(server);
        let connector = Arc::new(connector.map_err(|error| refusal::refusal(&error, server))?);
        let names = Names::new(&server.prefix, &server.mode);
        Ok(Self {
            server,
            link: Arc::new(Link::new(Arc::clone(&connector), server.timeout)),
            connector,
            checks: Checks::new(&names, keys.check),
            names,
            keys,
        })
    }

    /// Stores the digest of the seal key, unless there is one. Where Redis lost it, the nodes that run store theirs first.
    async fn claim(&self) -> Result<(), OpenError> {
        let connected = self.connector.connect().await;
        let mut connection = connected.map_err(|error| self.unusable(&error))?;
        let stream = Stream::new(&self.names);
        let settled = settle(&mut connection, &stream, self.server.timeout);
        settled.await.map_err(|error| self.unusable(&error))?;
        self.is_ours().await?;
        for (at, write) in self.checks.writes().iter().enumerate() {
            let written: RedisResult<Option<String>> = self.link.ask(write).await;
            written.map_err(|error| self.unusable(&error))?;
            if at == 0 {
                // Of two nodes that start at once with different keys, the first to write this one writes the others.
                self.is_ours().await?;
            }
        }
        self.is_ours().await
    }

    /// Compares the seal key with the stored digests or, where all of them are lost, with a session_key that was sealed.
    async fn is_ours(&self) -> Result<(), OpenError> {
        let ours = async {
            let mut read = Vec::new();
            for look in self.checks.reads() {
                read.push(self.link.ask(&look).await?);
            }
            if let Some(ours) = self.checks.are_ours(&read) {
                return Ok(ours);
            }
            let mut connection = self.connector.connect().await?;
            let opens = seal_key_check::opens(&mut connection, &self.names, &self.keys.sealer);
            Ok(opens.await?.unwrap_or(true))
        };
        match ours.await.map_err(|error| self.unusable(&error))? {
            true => Ok(()),
            false => Err(OpenError::SealKeyDiffers(self.server.to_string())),
        }
    }

    /// Sends every command that the store needs; see [`rehearsal`].
    async fn rehearse(&self, clock: &Clock) -> Result<(), OpenError> {
        let rehearsed = async {
            rehearsal::rehearse(&self.link, &self.names, clock).await?;
            let mut connection = self.connector.connect().await?;
            seal_key_check::rehearse(&mut connection, &self.names).await
        };
        rehearsed.await.map_err(|error| self.unusable(&error))
    }

    /// Returns a sentence for each setting and clock that an operator should correct.
    async fn warnings(&self, clock: &Clock) -> Result<Vec<String>, OpenError> {
        let warnings = async {
            let mut connection = self.connector.connect().await?;
            let mut warnings = durability::warnings(&mut connection).await?;
            let time = Time::new(clock.clone());
            let ahead_ms = measure(&mut connection, &time).await?;
            warnings.extend(time::warning(ahead_ms));
            Ok(warnings)
        };
        warnings.await.map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &RedisError) -> OpenError {
        refusal::refusal(error, self.server)
    }
}
