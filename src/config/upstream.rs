//! Reads `[[upstream]]`, the servers of one backend.

use std::time::Duration;

use super::address::{SERVER, WrittenServer, is_host_name};
use super::backend::{
    Balance, Health, Protocol, ServerAddress, Upstream, UpstreamTimeouts, UpstreamTls,
};
use super::kind::{self, Kind, SWITCH, number};
use super::model::{Control, Server};
use super::name::{self, Names};
use super::own_address::own_address;
use super::pem::{check_certificates, check_private_key, file};
use super::reader::Table;
use super::unit::{PERIOD, TIMEOUT};

const BALANCE: Kind<Balance> = Kind {
    expected: "\"round_robin\", \"least_connections\" or \"hash\"",
    read: |value| match value.as_str()? {
        "round_robin" => Some(Balance::RoundRobin),
        "least_connections" => Some(Balance::LeastConnections),
        "hash" => Some(Balance::Hash),
        _ => None,
    },
};

const PROTOCOL: Kind<Protocol> = Kind {
    expected: "\"http1\", \"http2\" or \"auto\"",
    read: |value| match value.as_str()? {
        "http1" => Some(Protocol::Http1),
        "http2" => Some(Protocol::Http2),
        "auto" => Some(Protocol::Auto),
        _ => None,
    },
};

const FAILS: Kind<u32> = Kind {
    expected: "a whole number from 0 to 1000",
    read: |value| u32::try_from(number(value)?).ok().filter(|n| *n <= 1000),
};

const ANSWERS: Kind<u32> = Kind {
    expected: "a whole number from 1 to 1000",
    read: |value| (FAILS.read)(value).filter(|n| *n > 0),
};

const SERVER_NAME: Kind<String> = Kind {
    expected: "a host name without port, such as \"api.example.com\"",
    read: |value| {
        let name = kind::text(value).filter(|name| is_host_name(name))?;
        Some(name.to_owned())
    },
};

const HEALTH_PATH: Kind<String> = Kind {
    expected: "a path with or without a query, such as \"/healthz\"",
    read: |value| {
        let path = kind::text(value).filter(|path| path.starts_with('/') && !path.contains('#'))?;
        path.parse::<http::uri::PathAndQuery>().ok()?;
        Some(path.to_owned())
    },
};

/// Reads one section.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    names: &mut Names,
    server: Option<&Server>,
    control: Option<&Control>,
) -> Option<Upstream> {
    let name = table.required("name", &name::UPSTREAM);
    names.take(table, "name");
    let written = table.required_list("servers", &SERVER);
    let scheme = scheme(table, written.as_deref().unwrap_or_default());
    let servers: Option<Vec<_>> =
        written.map(|written| written.into_iter().map(|server| server.address).collect());
    table.refuse_repeats("servers", &[], servers.as_deref().unwrap_or_default());
    for asked in servers.iter().flatten() {
        let own = server.and_then(|server| own_address(asked, server, control));
        if let Some((address, key)) = own {
            let message = format!("names {asked}, which is Menshen itself ({address} of {key})");
            table.refuse("servers", message);
        }
    }
    let balance = table.or("balance", r#""round_robin""#, &BALANCE);
    let protocol = table.or("protocol", r#""http1""#, &PROTOCOL);
    let has_unix = servers
        .iter()
        .flatten()
        .any(|server| matches!(server, ServerAddress::Unix(_)));
    let tls = table.section("tls", |table| tls(table, has_unix, scheme));
    let health = table.section("health", health);
    let max_fails = table.or("max_fails", "3", &FAILS);
    let fail_timeout = table.or("fail_timeout", r#""10s""#, &TIMEOUT);
    let connect_timeout = table.or("connect_timeout", r#""5s""#, &TIMEOUT);
    let read_timeout = table.or("read_timeout", r#""60s""#, &TIMEOUT);
    let write_timeout = table.or("write_timeout", r#""60s""#, &TIMEOUT);
    let keepalive = table.or("keepalive", r#""60s""#, &PERIOD);
    Some(Upstream {
        name: name?,
        servers: servers?,
        balance: balance?,
        protocol: protocol?,
        tls: tls?,
        health: health?,
        max_fails: max_fails?,
        fail_timeout: fail_timeout?,
        timeouts: UpstreamTimeouts {
            connect: connect_timeout?,
            read: read_timeout?,
            write: write_timeout?,
        },
        keepalive: keepalive?,
    })
}

/// Reads the limits that a route may have of its own.
pub(super) fn own_timeouts(table: &mut Table<'_, '_>) -> UpstreamTimeouts<Option<Duration>> {
    UpstreamTimeouts {
        connect: table.optional("connect_timeout", &TIMEOUT),
        read: table.optional("read_timeout", &TIMEOUT),
        write: table.optional("write_timeout", &TIMEOUT),
    }
}

/// Returns whether the schemes of servers ask for TLS; `None` where they say nothing.
fn scheme(table: &mut Table<'_, '_>, servers: &[WrittenServer]) -> Option<bool> {
    let said = |tls| servers.iter().any(|server| server.tls == Some(tls));
    if said(true) && said(false) {
        let message = "must all be http:// or all https://, as TLS goes for an upstream as a whole";
        table.refuse("servers", message.to_owned());
        return None;
    }
    (said(true) || said(false)).then(|| said(true))
}

/// Reads `tls`; the inner `None` means that it is off, the outer that a problem was noted.
fn tls(
    table: &mut Table<'_, '_>,
    has_unix: bool,
    scheme: Option<bool>,
) -> Option<Option<UpstreamTls>> {
    const CLIENT: [&str; 2] = ["cert_file", "key_file"];
    let enabled = table.or("enabled", "false", &SWITCH);
    let server_name = table.optional("server_name", &SERVER_NAME);
    let ca_file = file(table, "ca_file", check_certificates);
    let cert_file = file(table, "cert_file", check_certificates);
    let key_file = file(table, "key_file", check_private_key);
    let danger_skip_verify = table.or("danger_skip_verify", "false", &SWITCH);
    for (key, other) in [(CLIENT[0], CLIENT[1]), (CLIENT[1], CLIENT[0])] {
        if table.has(other) && !table.has(key) {
            table.refuse(key, format!("is required where {other} is given"));
        }
    }
    let enabled = match (enabled?, scheme) {
        (enabled, Some(scheme)) if enabled != scheme && table.has("enabled") => {
            let name = if scheme { "https" } else { "http" };
            let message = format!("must be {scheme} or left out, since servers say {name}://");
            table.refuse("enabled", message);
            return None;
        }
        (enabled, scheme) => scheme.unwrap_or(enabled),
    };
    if !enabled {
        // Somebody who names an authority does not mean to speak in clear.
        for key in ["server_name", "ca_file", CLIENT[0], CLIENT[1]] {
            if table.has(key) {
                table.refuse(
                    key,
                    "needs tls.enabled = true, or servers with https://".to_owned(),
                );
            }
        }
        return Some(None);
    }
    if has_unix && !table.has("server_name") {
        let message = "is required where a server is a Unix socket, which has no name";
        table.refuse("server_name", message.to_owned());
    }
    Some(Some(UpstreamTls {
        server_name,
        ca_file,
        client: cert_file.zip(key_file),
        danger_skip_verify: danger_skip_verify?,
    }))
}

/// Reads `health`; the inner `None` means that it is off, the outer that a problem was noted.
fn health(table: &mut Table<'_, '_>) -> Option<Option<Health>> {
    let path = table.optional("path", &HEALTH_PATH);
    let interval = table.or("interval", r#""10s""#, &TIMEOUT);
    let timeout = table.or("timeout", r#""2s""#, &TIMEOUT);
    let healthy_after = table.or("healthy_after", "2", &ANSWERS);
    let unhealthy_after = table.or("unhealthy_after", "3", &ANSWERS);
    let (interval, timeout) = (interval?, timeout?);
    let (healthy_after, unhealthy_after) = (healthy_after?, unhealthy_after?);
    Some(path.map(|path| Health {
        path,
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
    }))
}
