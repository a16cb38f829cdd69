//! What comes before the first session: a connection, the right seal key, and every permission.

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use redis::{RedisError, RedisResult};

use super::connect::Connector;
use super::keys::Names;
use super::link::Link;
use super::revocations::settle;
use super::stream::Stream;
use super::{refusal, rehearsal};
use crate::clock::Clock;
use crate::config::RedisServer;
use crate::secret::Secret;
use crate::session::OpenError;
use crate::session::seal::{Keys, SealKey};

/// A Redis that may yet turn out to be unusable.
pub(super) struct Entrance<'s> {
    server: &'s RedisServer,
    pub(super) connector: Arc<Connector>,
    pub(super) link: Arc<Link>,
    pub(super) names: Names,
    pub(super) keys: Keys,
}

impl<'s> Entrance<'s> {
    pub(super) fn new(server: &'s RedisServer, seal_key: &Secret) -> Result<Self, OpenError> {
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
    pub(super) async fn claim(&self) -> Result<(), OpenError> {
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
    pub(super) async fn is_ours(&self) -> Result<(), OpenError> {
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
    pub(super) async fn rehearse(&self, clock: &Clock) -> Result<(), OpenError> {
        let rehearsed = rehearsal::rehearse(&self.link, &self.names, clock).await;
        rehearsed.map_err(|error| self.unusable(&error))
    }

    pub(super) fn unusable(&self, error: &RedisError) -> OpenError {
        refusal::refusal(error, self.server)
    }
}
