//! Reads `[server]`, the public listener.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::{LISTEN, NETWORK, ORIGIN};
use super::kind::{self, Kind, SWITCH, TEXT, number};
use super::limits;
use super::model::{Server, Tls};
use super::pem::{check_certificates, check_private_key};
use super::reader::Table;
use super::route::path;
use super::unit::{PERIOD, RATE, SIZE, TIMEOUT};

const AUTH_PATH: Kind<String> = Kind {
    expected: "a path other than \"/\" in its plain form, such as \"/_auth\"",
    read: |value| path(value).filter(|path| path != "/"),
};

const THREADS: Kind<usize> = Kind {
    expected: "a whole number from 0 to 1024",
    read: |value| {
        let threads = usize::try_from(number(value)?).ok();
        threads.filter(|threads| *threads <= 1024)
    },
};

const POOL: Kind<usize> = Kind {
    expected: "a whole number from 1 to 1000000",
    read: |value| {
        let size = usize::try_from(number(value)?).ok();
        size.filter(|size| (1..=1_000_000).contains(size))
    },
};

const HEADER_SIZE: Kind<usize> = Kind {
    expected: "a size with a unit, such as \"64KiB\", from 1KiB",
    read: |value| {
        let bytes = usize::try_from((SIZE.read)(value)?).ok();
        bytes.filter(|bytes| *bytes >= 1024)
    },
};

/// Which listeners something goes for, as it is written.
enum Where {
    Everywhere(bool),
    Here(Vec<SocketAddr>),
}

const PROXY_PROTOCOL: Kind<Where> = Kind {
    expected: "true or false, or a list of addresses of listen or redirect_http",
    read: |value| {
        if let Some(everywhere) = value.as_bool() {
            return Some(Where::Everywhere(everywhere));
        }
        let addresses = value.as_array()?.iter();
        let addresses = addresses.map(|address| (LISTEN.read)(address.get_ref()));
        addresses.collect::<Option<_>>().map(Where::Here)
    },
};

/// What routes need to know of this section, which they can even where the rest of it is wrong.
pub(super) struct Draft {
    pub(super) auth_path: Option<String>,
    pub(super) server: Option<Server>,
}

/// What the system has room for, with the NUL behind it.
const SOCKET_PATH: Kind<PathBuf> = Kind {
    expected: "the path of a socket, such as \"/run/menshen/upgrade.sock\", of up to 107 bytes",
    read: |value| {
        let path = PathBuf::from(kind::text(value)?);
        fits_socket(&path).then_some(path)
    },
};

/// Returns whether the system has room for the path of a socket.
pub(super) fn fits_socket(path: &Path) -> bool {
    path.as_os_str().len() < 108
}

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Draft {
    let auth_path = table.or("auth_path", r#""/_auth""#, &AUTH_PATH);
    Draft {
        server: server(table, auth_path.clone()),
        auth_path,
    }
}

fn server(table: &mut Table<'_, '_>, auth_path: Option<String>) -> Option<Server> {
    let listen = table.required_list("listen", &LISTEN);
    let redirect_http = table.list("redirect_http", &LISTEN);
    let public_url = table.optional("public_url", &ORIGIN);
    let first = table.section("tls", certificate);
    let more = table.optional_sections("certificate", |table| {
        if !table.has("cert_file") && !table.has("key_file") {
            table.refuse("cert_file", "is required, with key_file".to_owned());
        }
        certificate(table)
    });
    let redirects = redirect_http.as_ref().is_some_and(|list| !list.is_empty());
    let plain = public_url
        .as_ref()
        .map(|origin| !origin.starts_with("https://"));
    if redirects && plain.unwrap_or(!table.has("tls") && !table.has("certificate")) {
        let message = "is of no use without a certificate or a public_url with https";
        table.refuse("redirect_http", message.to_owned());
    }
    let trusted_proxies = table.list("trusted_proxies", &NETWORK);
    let all: Vec<_> = [&listen, &redirect_http]
        .into_iter()
        .flatten()
        .flatten()
        .copied()
        .collect();
    refuse_repeats(table, &listen, &redirect_http);
    let proxy_protocol = proxy_protocol(table, all);
    let asked_for = proxy_protocol.as_ref().is_some_and(|list| !list.is_empty());
    if asked_for && trusted_proxies.as_ref().is_some_and(Vec::is_empty) {
        let message = "lets nobody connect without trusted_proxies";
        table.refuse("proxy_protocol", message.to_owned());
    }
    let threads = table.or("threads", "0", &THREADS);
    let max_header = table.or("max_header", r#""16KiB""#, &HEADER_SIZE);
    let max_body = table.or("max_body", r#""100MiB""#, &SIZE);
    let min_body_rate = table.or("min_body_rate", r#""100B""#, &RATE);
    let client_timeout = table.or("client_timeout", r#""60s""#, &TIMEOUT);
    let limits = limits::read(table);
    let keepalive = table.or("keepalive", r#""60s""#, &PERIOD);
    let upstream_pool = table.or("upstream_pool", "1024", &POOL);
    let drain = table.or("drain", r#""30s""#, &PERIOD);
    let shutdown_delay = table.or("shutdown_delay", r#""0s""#, &PERIOD);
    let watch = table.or("watch", "false", &SWITCH);
    let upgrade_socket = table.optional("upgrade_socket", &SOCKET_PATH);
    let upgrade_socket = upgrade_socket.map(|path| table.located(path));
    if upgrade_socket
        .as_ref()
        .is_some_and(|path| !fits_socket(path))
    {
        table.refuse(
            "upgrade_socket",
            format!("must be {}", SOCKET_PATH.expected),
        );
    }
    Some(Server {
        listen: listen?,
        redirect_http: redirect_http?,
        public_url,
        tls: first
            .map(Some)
            .into_iter()
            .chain(more)
            .collect::<Option<_>>()?,
        trusted_proxies: trusted_proxies?,
        proxy_protocol: proxy_protocol?,
        auth_path: auth_path?,
        threads: threads?,
        max_header_bytes: max_header?,
        max_body_bytes: max_body?,
        min_body_rate: Some(min_body_rate?).filter(|rate| *rate > 0),
        client_timeout: client_timeout?,
        limits: limits?,
        keepalive: keepalive?,
        upstream_pool: upstream_pool?,
        drain: drain?,
        shutdown_delay: shutdown_delay?,
        watch: watch?,
        upgrade_socket,
    })
}

/// Refuses an address that is to be listened on twice; port 0 is another one each time.
fn refuse_repeats(
    table: &mut Table<'_, '_>,
    listen: &Option<Vec<SocketAddr>>,
    redirect_http: &Option<Vec<SocketAddr>>,
) {
    let fixed = |list: &Option<Vec<SocketAddr>>| -> Vec<SocketAddr> {
        let addresses = list.iter().flatten().copied();
        addresses.filter(|address| address.port() != 0).collect()
    };
    table.refuse_repeats("listen", &[], &fixed(listen));
    table.refuse_repeats("redirect_http", &fixed(listen), &fixed(redirect_http));
    let (listen, redirect_http) = (fixed(listen), fixed(redirect_http));
    refuse_held(table, "listen", &listen, &listen);
    let all: Vec<SocketAddr> = [listen, redirect_http.clone()].concat();
    refuse_held(table, "redirect_http", &redirect_http, &all);
}

/// Refuses an address whose port another one holds for every address of its kind.
fn refuse_held(
    table: &mut Table<'_, '_>,
    key: &'static str,
    items: &[SocketAddr],
    all: &[SocketAddr],
) {
    let holds = |other: &SocketAddr, item: &SocketAddr| {
        let everywhere = other.ip().is_unspecified() && !item.ip().is_unspecified();
        everywhere && other.port() == item.port() && other.is_ipv4() == item.is_ipv4()
    };
    for item in items {
        let held_by = |other: &SocketAddr| {
            holds(other, item) || (key == "redirect_http" && holds(item, other))
        };
        if let Some(other) = all.iter().find(|other| held_by(other)) {
            table.refuse(
                key,
                format!("names {item}, which cannot be listened on beside {other}"),
            );
        }
    }
}

/// Reads on which of `all` listeners the PROXY protocol is spoken.
fn proxy_protocol(table: &mut Table<'_, '_>, all: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
    let named = match table.or("proxy_protocol", "false", &PROXY_PROTOCOL)? {
        Where::Everywhere(true) => return Some(all),
        Where::Everywhere(false) => return Some(Vec::new()),
        Where::Here(named) => named,
    };
    for address in named.iter().filter(|address| !all.contains(address)) {
        let message = format!("names {address}, which is not in listen or redirect_http");
        table.refuse("proxy_protocol", message);
    }
    Some(named)
}

fn certificate(table: &mut Table<'_, '_>) -> Option<Tls> {
    let cert_file = table.optional("cert_file", &TEXT);
    let key_file = table.optional("key_file", &TEXT);
    for (key, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if table.has(other) && !table.has(key) {
            table.refuse(key, format!("is required where {other} is given"));
        }
    }
    let mut checked = |key, file: Option<String>, check: fn(&Path) -> Result<(), String>| {
        let file = table.located(file?);
        check(&file)
            .map_err(|message| table.refuse(key, message))
            .ok()?;
        Some(file)
    };
    let cert_file = checked("cert_file", cert_file, check_certificates);
    let key_file = checked("key_file", key_file, check_private_key);
    Some(Tls {
        cert_file: cert_file?,
        key_file: key_file?,
    })
}
