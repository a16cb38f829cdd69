//! What comes before the first session: a connection, the right seal key, and every permission.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_lc_rs::error::Unspecified;
use redis::{RedisError, RedisResult};
use tokio_util::task::TaskTracker;

use super::connect::Connector;
use super::ends::Ends;
use super::keys::Names;
use super::link::Link;
use super::maintenance::measure;
use super::revocations::{Beginning, Revocations, settle};
use super::stream::Stream;
use super::time::{self, Time};
use super::{Redis, durability, refusal, rehearsal};
use crate::clock::Clock;
use crate::config::RedisServer;
use crate::secret::Secret;
use crate::session::seal::{Keys, SealKey};
use crate::session::{Lifetimes, OpenError};

impl Redis {
    /// Connects, and returns when all revocations are known.
    pub(in crate::session) async fn connect(
        server: &RedisServer,
        seal_key: &Secret,
        lifetimes: Lifetimes,
        clock: Clock,
    ) -> Result<(Self, Keys), OpenError> {
        let entrance = Entrance::new(server, seal_key)?;
        entrance.is_ours().await?;
        entrance.rehearse(&clock).await?;
        for warning in entrance.warnings(&clock).await? {
            tracing::warn!("{warning}");
        }
        entrance.claim().await?;
        let ends = Ends::new(&entrance.names, &lifetimes, &clock);
        let followed = Revocations::follow(Beginning {
            connector: Arc::clone(&entrance.connector),
            link: Arc::clone(&entrance.link),
            names: entrance.names.clone(),
            ends: ends.clone(),
            time: Time::new(clock.clone()),
            seal_check: entrance.keys.check,
            timeout: server.timeout,
            refuse_after: server.refuse_after,
        });
        let revocations = followed.await.map_err(|error| entrance.unusable(&error))?;
        let Entrance {
            link, names, keys, ..
        } = entrance;
        let store = Self {
            revocations,
            ends,
            link,
            names,
            lifetimes,
            clock,
            closed: AtomicBool::new(false),
            behind: TaskTracker::new(),
        };
        Ok((store, keys))
    }

    /// Tries out whether [`Self::connect`] would succeed, leaves no session behind, and returns what an operator should know.
    pub(in crate::session) async fn try_out(
        server: &RedisServer,
        seal_key: &Secret,
        clock: &Clock,
    ) -> Result<Vec<String>, OpenError> {
        let entrance = Entrance::new(server, seal_key)?;
        entrance.is_ours().await?;
        entrance.rehearse(clock).await?;
        entrance.warnings(clock).await
    }
}

/// A Redis that may yet turn out to be unusable.
struct Entrance<'s> {
    server: &'s RedisServer,
    connector: Arc<Connector>,
    link: Arc<Link>,
    names: Names,
    keys: Keys,
}

impl<'s> Entrance<'s> {
    fn new(server: &'s RedisServer, seal_key: &Secret) -> Result<Self, OpenError> {
        let keys = SealKey::parse(seal_key)
            .ok_or(OpenError::ConfiguredSealKeyMalformed)?
            .derive()
            .map_err(|Unspecified| OpenError::Cryptography)?;
        let connector = Connector::new(server);
        let connector = Arc::new(connector.map_err(|error| refusal::refusal(&error, server))?);
        Ok(Self {
            server,
            link: Arc::new(Link::new(Arc::clone(&connector), server.timeout)),
            connector,
            names: Names::new(&server.prefix, &server.mode),
            keys,
        })
    }

    /// Writes down which seal key belongs to the data, where nobody has: where Redis lost that, the nodes that know it come first.
    async fn claim(&self) -> Result<(), OpenError> {
        self.settle().await.map_err(|error| self.unusable(&error))?;
        let mut write = redis::cmd("SET");
        let (key, check) = (self.names.seal_check(), &self.keys.check);
        write.arg(key).arg(check).arg("NX");
        let written: RedisResult<Option<String>> = self.link.ask(&write).await;
        written.map_err(|error| self.unusable(&error))?;
        self.is_ours().await
    }

    async fn settle(&self) -> RedisResult<()> {
        let mut connection = self.connector.connect().await?;
        let stream = Stream::new(&self.names);
        settle(&mut connection, &stream, self.server.timeout).await
    }

    /// Compares the seal key with what was written down.
    async fn is_ours(&self) -> Result<(), OpenError> {
        let mut read = redis::cmd("GET");
        read.arg(self.names.seal_check());
        let stored: RedisResult<Option<Vec<u8>>> = self.link.ask(&read).await;
        match stored.map_err(|error| self.unusable(&error))? {
            Some(stored) if stored != self.keys.check => {
                Err(OpenError::SealKeyDiffers(self.server.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Asks for everything that the store will need; see [`rehearsal`].
    async fn rehearse(&self, clock: &Clock) -> Result<(), OpenError> {
        let rehearsed = rehearsal::rehearse(&self.link, &self.names, clock).await;
        rehearsed.map_err(|error| self.unusable(&error))
    }

    /// Looks at how Redis is set up, and returns a sentence for each thing that an operator should know.
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
