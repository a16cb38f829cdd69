//! The apps that sessions may go on in.

use std::sync::Arc;

use super::Identity;
use super::record::identity_beginning;

/// Apps by name and appid; clones share one list.
#[derive(Clone, Debug)]
pub struct Apps(Arc<[Vec<u8>]>);

impl Apps {
    /// Makes a list of pairs of name and appid.
    pub fn new<'a>(apps: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let apps = apps.into_iter();
        Self(apps.map(|(app, id)| identity_beginning(app, id)).collect())
    }

    /// Returns whether an identity is of one of them.
    pub(super) fn have(&self, identity: &Identity) -> bool {
        let beginning = identity_beginning(&identity.app, &identity.appid);
        self.0.contains(&beginning)
    }

    /// Returns what stored identities begin with, for each of them.
    pub(super) fn beginnings(&self) -> &[Vec<u8>] {
        &self.0
    }
}
