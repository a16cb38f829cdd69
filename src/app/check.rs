//! The checks of a start that leave nothing behind.

use std::path::Path;

use super::StartError;
use crate::clock::Clock;
use crate::config::{Config, Store};
use crate::server::{Encryption, PrivateSocket, UpgradeSocket, Upstreams, can_bind};
use crate::session::{OpenError, Sessions};
use crate::token::verify_files;
use crate::traces::Collector;
use crate::wechat::Client;

/// Does the checks of a start that leave nothing behind, and returns each problem with the key that it is about.
pub fn check(config: &Config) -> Vec<(&'static str, StartError)> {
    let (tls, session) = (&config.server.tls, &config.session);
    let tls = Encryption::load(tls);
    let upstreams = Upstreams::new(
        &config.upstreams,
        config.server.upstream_pool,
        config.server.limits.server_connections(),
        config.own_listeners(),
    );
    let wechat = Client::new(&config.wechat);
    let keys = verify_files(&config.token.keys_dir);
    let traces = Collector::new(&config.traces);
    // Whether Redis can be reached is not asked, but by `try_store`: a check changes nothing and needs no network.
    let store = match &session.store {
        Store::Embedded(path) => {
            let checked = Sessions::check_embedded(path, session.seal_key.clone());
            may_make(path).and_then(|()| checked.map_err(StartError::from))
        }
        Store::Redis(_) => Ok(()),
    };
    let listen = can_bind(&config.server.listen);
    let control = config.control.listen.as_ref();
    let control = control.map_or(Ok(()), PrivateSocket::may_bind);
    let checks = [
        ("server.listen", listen.map_err(StartError::from)),
        ("control.listen", control.map_err(StartError::from)),
        ("server.upgrade_socket", may_open_upgrade_socket(config)),
        ("token.keys_dir", may_make(&config.token.keys_dir)),
        ("server.tls", tls.map(drop).map_err(StartError::from)),
        ("upstream", upstreams.map(drop).map_err(StartError::from)),
        ("token.keys_dir", keys.map_err(StartError::from)),
        ("session.path", store),
        ("wechat", wechat.map(drop).map_err(StartError::from)),
        ("traces", traces.map(drop).map_err(StartError::from)),
    ];
    checks
        .into_iter()
        .filter_map(|(key, checked)| checked.err().map(|problem| (key, problem)))
        .collect()
}

/// Tries the session store out where it is a server of its own, leaves no session behind, and returns a sentence for each thing
/// that an operator should know.
pub async fn try_store(config: &Config, clock: &Clock) -> Result<Vec<String>, StartError> {
    let session = &config.session;
    let Store::Redis(server) = &session.store else {
        return Ok(Vec::new());
    };
    let key = session.seal_key.as_ref();
    let key = key.ok_or(OpenError::ConfiguredSealKeyMalformed)?;
    Ok(Sessions::try_redis(server, key, clock).await?)
}

pub(super) fn may_open_upgrade_socket(config: &Config) -> Result<(), StartError> {
    let path = config.server.upgrade_socket.as_deref();
    path.map_or(Ok(()), UpgradeSocket::may_open)
        .map_err(StartError::UpgradeSocket)
}

/// Returns whether a folder that is not there yet can be made, by making a file where it would be and taking it away.
fn may_make(folder: &Path) -> Result<(), StartError> {
    if folder.exists() {
        return Ok(());
    }
    let above = folder.ancestors().find(|above| above.exists());
    let above = above.unwrap_or(Path::new("."));
    tempfile::tempfile_in(above)
        .map(drop)
        .map_err(|cause| StartError::Folder {
            folder: folder.to_owned(),
            cause,
        })
}
