//! Serves a connection of HTTP/1: one exchange after the other.

use std::pin::pin;

use pingora::protocols::Stream;

use super::serve::Connections;
use crate::request::{self, Denial, RequestId};
use crate::server::exchange::{Client, Outcome, Proxy, join, refuse_unread};
use crate::server::http1::{Limits, Read, ServerSide};
use crate::server::timer::Timer;

impl Connections {
    pub(super) async fn serve_http1(
        &self,
        stream: Stream,
        proxy: &Proxy,
        connection: &request::Connection,
    ) {
        let mut client = ServerSide::new(stream);
        let mut timer = Timer::default();
        // A new connection is not kept, it is about to be used.
        let mut idle = self.client_timeout();
        let mut shutdown_delay = pin!(self.shutdown_delay());
        loop {
            let generation = self.generations.current();
            let limits = Limits {
                idle,
                read: generation.client_timeout,
                whole: self.head_timeout,
                max_bytes: generation.max_header_bytes,
            };
            drop(generation);
            let read = tokio::select! {
                biased;
                read = client.read_head(&mut timer, &limits) => read,
                // What has not been asked for whole by then is asked for elsewhere.
                () = &mut shutdown_delay => return,
            };
            let head = match read {
                Read::Head(head) => head,
                Read::Refused(denial) => {
                    let denial = proxy.deny_unread(connection, denial);
                    let id = RequestId::random();
                    // Boxed: every connection would be as large as this rare step.
                    let refusing =
                        refuse_unread(&mut client, &mut timer, &denial, &id, limits.read);
                    Box::pin(refusing).await;
                    let status = denial.status().as_u16();
                    proxy.note_unread(connection, &id, status, denial);
                    return client.linger().await;
                }
                Read::Unfinished => {
                    // It is no way round the limits, and the operator sees it.
                    let denial = proxy.deny_unread(connection, Denial::RequestTimeout);
                    proxy.note_unread(connection, &RequestId::random(), 0, denial);
                    return;
                }
                Read::Idle => return,
            };
            idle = self.keepalive();
            // Nobody is left on a connection that is about to be closed.
            if idle.is_zero() || *self.shutdown.borrow() {
                client.close_after();
            }
            let mut side = Client::Http1(&mut client);
            // Boxed: an idle connection would be as large as an exchange.
            let exchange = Box::pin(proxy.exchange(&mut side, &mut timer, &head, connection));
            let outcome = exchange.await;
            match outcome {
                Outcome::Answered if client.is_reusable() => {}
                Outcome::Answered | Outcome::Unread => return client.linger().await,
                Outcome::Broken => return,
                Outcome::Upgraded(upgraded) => {
                    let (socket, _held) = join(*upgraded, client.into_wire());
                    return Box::pin(socket.run()).await;
                }
            }
        }
    }
}
