//! Looks names up, and says by a type of its own that one has no address.

use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// A name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
pub(super) struct Unresolved(#[source] pub(super) io::Error);

/// The system's resolver.
#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await;
            let found: Vec<_> = found.map_err(Unresolved)?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
