//! Asks servers in the background how they are.

use std::sync::Arc;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::names::Names;
use super::server::Server;
use super::{Group, Wanted};
use crate::config::{Health, Patience};

/// Starts to ask every server whose upstream says so, each on its own; dropping what is returned ends it.
pub(super) fn watch(groups: &[Arc<Group>], names: &Arc<Names>) -> JoinSet<()> {
    let mut checks = JoinSet::new();
    let mut connector = None;
    for group in groups {
        let Some(health) = &group.config.health else {
            continue;
        };
        let connector = connector.get_or_insert_with(|| Arc::new(Connector::new(None)));
        for server in &group.servers {
            let check = Check {
                group: Arc::clone(group),
                server: Arc::clone(server),
                names: Arc::clone(names),
                connector: Arc::clone(connector),
            };
            checks.spawn(check.run(health.clone()));
        }
    }
    checks
}

/// The checks of one server.
struct Check {
    group: Arc<Group>,
    server: Arc<Server>,
    names: Arc<Names>,
    connector: Arc<Connector>,
}

impl Check {
    async fn run(self, health: Health) {
        let mut ticks = interval(health.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        // How many answers in a row contradict what is thought of it.
        let mut against = 0;
        loop {
            ticks.tick().await;
            let answer = self.ask(&health).await;
            if answer.is_ok() == well {
                against = 0;
                continue;
            }
            against += 1;
            let needed = if well {
                health.unhealthy_after
            } else {
                health.healthy_after
            };
            if against < needed {
                continue;
            }
            (well, against) = (!well, 0);
            self.server.standing.checked(well);
            let (upstream, server) = (self.group.config.name.as_str(), &self.server.address);
            match answer {
                Ok(()) => tracing::info!(upstream, %server, "a server is healthy again"),
                Err(reason) => tracing::warn!(upstream, %server, reason, "a server is unhealthy"),
            }
        }
    }

    /// Asks once; the error says what was wrong.
    async fn ask(&self, health: &Health) -> Result<(), String> {
        let exchange = async {
            let places = self.names.places(&self.server.address).await;
            let place = places.first().ok_or("its name has no address")?;
            let status = self.status(place, &health.path).await;
            let status = status.map_err(|error| error.etype().as_str().to_owned())?;
            if (200..400).contains(&status) {
                Ok(())
            } else {
                Err(format!("answered {status}"))
            }
        };
        let answer = timeout(health.timeout, exchange).await;
        answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn status(&self, place: &SocketAddr, path: &str) -> Result<u16> {
        let wanted = Wanted {
            openid: None,
            upgrade: false,
            patience: Patience::default(),
        };
        let peer = self.group.template.peer(&self.server, place, &wanted, true);
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        let host = match &peer.sni {
            name if name.is_empty() => self.server.address.host().unwrap_or("localhost"),
            name => name,
        };
        let mut request = RequestHeader::build("GET", path.as_bytes(), Some(2))?;
        request.insert_header("Host", host)?;
        request.insert_header("User-Agent", "menshen-health")?;
        if session.as_http2().is_some() {
            request.set_version(http::Version::HTTP_2);
            let uri = http::Uri::builder()
                .scheme(if peer.is_tls() { "https" } else { "http" })
                .authority(host)
                .path_and_query(path)
                .build();
            request.set_uri(
                uri.map_err(|error| {
                    Error::because(ErrorType::InternalError, "health path", error)
                })?,
            );
            request.remove_header(&http::header::HOST);
        }
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session
            .response_header()
            .map_or(0, |head| head.status.as_u16());
        session.shutdown().await;
        Ok(status)
    }
}
