//! Reads off the wire what the decision needs.

use http::Version;
use http::header::{CONNECTION, UPGRADE};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::request::{
    Connection, Denial, Identities, Message, Peer, is_handshake, without_protected,
};

/// Takes out what a request says of its connection and may not, before anything is decided on it.
pub(super) fn settle(request: &mut RequestHeader, identities: &Identities) -> Result<(), Denial> {
    let headers = &request.headers;
    if headers.contains_key(UPGRADE) && !is_handshake(&request.method, request.version, headers) {
        // pingora looks at nothing but this, and would open a tunnel.
        request.remove_header(&UPGRADE);
    }
    if let Some(left) = without_protected(&request.headers, |name| identities.owns(name))? {
        request.remove_header(&CONNECTION);
        if !left.is_empty() {
            let inserted = request.insert_header(CONNECTION, left);
            inserted.map_err(|_| Denial::Internal)?;
        }
    }
    Ok(())
}

/// Returns what a request says.
pub(super) fn message(request: &RequestHeader) -> Message<'_> {
    Message {
        method: &request.method,
        target: request.raw_path(),
        authority: authority(request),
        version: request.version,
        headers: &request.headers,
    }
}

/// Returns the authority that HTTP/2 sends apart from the target.
pub(super) fn authority(request: &RequestHeader) -> Option<&str> {
    let authority = request.uri.authority();
    authority
        .filter(|_| request.version == Version::HTTP_2)
        .map(|authority| authority.as_str())
}

/// Returns the connection that a request came on, whose other end is known when it was used before.
pub(super) fn connection(wire: &Session, peer: Option<Peer>) -> Connection {
    let peer = peer.or_else(|| {
        let address = wire.client_addr()?.as_inet()?;
        Some(Peer::new(address.ip()))
    });
    let tls = wire
        .digest()
        .is_some_and(|digest| digest.ssl_digest.is_some());
    Connection { peer, tls }
}
