//! Active health checks: asks servers in the background how they are.

use std::future::poll_fn;
use std::sync::Arc;

use http::{Method, Request};
use pingora::protocols::l4::socket::SocketAddr;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connect::{Connection, Connector, Target};
use super::group::Group;
use super::names::ResolvedNames;
use super::reuse::Reuse;
use super::server::Server;
use super::uploads::Unread;
use super::wanted::Wanted;
use crate::config::{Health, UpstreamTimeouts};
use crate::server::http2::ClientStream;
use crate::server::message::Body;

/// Starts to ask every server whose upstream says so, each on its own; dropping what is returned ends it.
pub(super) fn watch(
    groups: &[Arc<Group>],
    names: &Arc<ResolvedNames>,
    connector: &Arc<Connector>,
) -> JoinSet<()> {
    let mut checks = JoinSet::new();
    for group in groups {
        let Some(health) = &group.config.health else {
            continue;
        };
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
    names: Arc<ResolvedNames>,
    connector: Arc<Connector>,
}

/// What is thought of one address.
struct Opinion {
    is_well: bool,
    /// How many answers in a row contradict that.
    against: u32,
}

impl Check {
    async fn run(self, health: Health) {
        let mut ticks = interval(health.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // By address; a server whose name has none has one opinion all the same.
        let mut opinions: Vec<(Option<SocketAddr>, Opinion)> = Vec::new();
        loop {
            ticks.tick().await;
            let answers = self.ask(&health).await;
            opinions.retain(|(place, _)| answers.iter().any(|(asked, _)| asked == place));
            for (place, answer) in answers {
                let known = opinions.iter().position(|(known, _)| *known == place);
                let at = known.unwrap_or_else(|| {
                    // What checks before a reload found goes on to be known.
                    let is_well = place
                        .as_ref()
                        .is_none_or(|place| !self.server.is_unwell(place));
                    opinions.push((
                        place,
                        Opinion {
                            is_well,
                            against: 0,
                        },
                    ));
                    opinions.len() - 1
                });
                if let Some((place, opinion)) = opinions.get_mut(at)
                    && opinion.heard(answer.is_ok(), &health)
                {
                    self.tell(place.as_ref(), answer);
                }
            }
            let ill = opinions.iter().filter(|(_, opinion)| !opinion.is_well);
            let ill: Vec<_> = ill.map(|(place, _)| place.clone()).collect();
            self.server.health.checked(ill.len() < opinions.len());
            self.server.unwell(ill.into_iter().flatten().collect());
        }
    }

    fn tell(&self, place: Option<&SocketAddr>, answer: Result<(), String>) {
        let (upstream, server) = (self.group.config.name.as_str(), &self.server.address);
        let address = place.map(ToString::to_string).unwrap_or_default();
        match answer {
            Ok(()) => tracing::info!(upstream, %server, address, "a server is healthy again"),
            Err(reason) => {
                tracing::warn!(upstream, %server, address, reason, "a server is unhealthy");
            }
        }
    }

    /// Asks each address of the server once; the error says what was wrong.
    async fn ask(&self, health: &Health) -> Vec<(Option<SocketAddr>, Result<(), String>)> {
        let places = match &self.server.fixed {
            Some(place) => vec![place.clone()],
            None => {
                let names = &self.names;
                names.places(&self.server.address, health.timeout).await
            }
        };
        if places.is_empty() {
            return vec![(None, Err("its name has no address".to_owned()))];
        }
        let asking = places.into_iter().map(|place| async move {
            let answer = timeout(health.timeout, self.ask_at(&place, health)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            (Some(place), answer)
        });
        futures::future::join_all(asking).await
    }

    async fn ask_at(&self, place: &SocketAddr, health: &Health) -> Result<(), String> {
        let status = self.status(place, health).await?;
        if (200..400).contains(&status) {
            Ok(())
        } else {
            Err(format!("answered {status}"))
        }
    }

    /// Asks on a connection of its own, which shows that new ones can be made.
    async fn status(&self, place: &SocketAddr, health: &Health) -> Result<u16, String> {
        let wanted = Wanted {
            openid: None,
            upgrade: false,
            repeatable: true,
            upload: Unread::NONE,
            timeouts: UpstreamTimeouts::default(),
        };
        let template = &self.group.template;
        let apart = Server::new(&self.server.address);
        let target = Target {
            template,
            server: &apart,
            place,
            speaks: template.speaks(&wanted),
            revision: template.revision(),
            reuse: Reuse::Never,
            upload: wanted.upload,
            limit: health.timeout,
        };
        let host = match template.server_name(&self.server) {
            "" => self.server.address.host().unwrap_or("localhost"),
            name => name,
        };
        let connected = self.connector.connect(&target, || false).await;
        let connection = connected.map_err(|error| error.to_string())?.connection;
        let answered = match connection {
            Connection::Http1(mut client) => {
                client.put_head(false, Body::Empty, false, |out| {
                    let path = &health.path;
                    let head = format!(
                        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: menshen-health\r\nConnection: close\r\n"
                    );
                    out.extend_from_slice(head.as_bytes());
                });
                poll_fn(|cx| client.poll_flush(cx))
                    .await
                    .map_err(|error| error.to_string())?;
                poll_fn(|cx| client.poll_head(cx)).await
            }
            Connection::Http2(mut requests, mut lease) => {
                let uri = http::Uri::builder()
                    .scheme(if template.is_tls() { "https" } else { "http" })
                    .authority(host)
                    .path_and_query(health.path.as_str())
                    .build()
                    .map_err(|error| error.to_string())?;
                let mut request = Request::new(());
                *request.method_mut() = Method::GET;
                *request.uri_mut() = uri;
                let agent = http::HeaderValue::from_static("menshen-health");
                request
                    .headers_mut()
                    .insert(http::header::USER_AGENT, agent);
                let stream = ClientStream::start(&mut requests, request, true);
                let mut stream = stream.map_err(|error| error.to_string())?;
                let answered = poll_fn(|cx| stream.poll_head(cx)).await;
                lease.is_over = stream.is_over();
                answered
            }
        };
        let head = answered.map_err(|error| error.to_string())?;
        Ok(head.status.as_u16())
    }
}

impl Opinion {
    /// Notes an answer, and says whether it changed the opinion.
    fn heard(&mut self, well: bool, health: &Health) -> bool {
        if well == self.is_well {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if self.is_well {
            health.unhealthy_after
        } else {
            health.healthy_after
        };
        if self.against < needed {
            return false;
        }
        (self.is_well, self.against) = (well, 0);
        true
    }
}

#[cfg(test)]
mod tests;
