//! A faithful WeChat for development and tests, driven under `/_sim/` on the address where it answers.

mod answer;
mod api;
mod app;
mod calls;
mod code2session;
mod control;
mod exchange;
mod fault;
mod identity;
mod misbehave;
mod open_data;
mod params;
mod plan;
mod png;
mod quota;
mod random;
mod session;
mod session_key;
mod stable_token;
#[cfg(test)]
mod tests;
mod token;
mod tokens;
mod web;
mod wire;
mod world;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::{any, get, post};
use tokio::net::TcpListener;

use crate::clock::Clock;

pub use self::app::{AppTextError, SimulatedApp};
pub use self::fault::Fault;

use self::calls::Calls;
use self::plan::Plans;
use self::wire::{Cutter, Wires};
use self::world::World;

/// A simulated WeChat; clones share its users, codes, fault plans and clock.
///
/// It answers `sns/jscode2session`, `cgi-bin/token`, `cgi-bin/stable_token`, `wxa/checksession` and `wxa/resetusersessionkey`;
/// phone numbers, subscribe and customer messages, mini-program codes, security checks, media and quotas. For browsers,
/// `connect/oauth2/authorize` and `connect/qrconnect`, with pages to click on, `sns/oauth2/access_token` and `sns/userinfo`. It needs
/// no internet.
/// Its control plane, under `/_sim/`, speaks JSON:
///
/// | call | does |
/// |---|---|
/// | `POST /_sim/login` `{"appid","user"}` | what `wx.login` does, answers `{"code"}`; with `"blocked":true` the code is one of a user whom WeChat blocked |
/// | `POST /_sim/phone-code` `{"appid","user"}` | what a tap on the button for phone numbers does, answers `{"code","phone"}` |
/// | `POST /_sim/revoke` `{"appid"}` | ends the app's access_tokens, with nothing in their place |
/// | `POST /_sim/encrypt` `{"appid","user","data"}` | what a page gets of open data: `{"encryptedData","iv","rawData","signature"}`; an object without a `watermark` gets one, a string is encrypted as it is |
/// | `POST /_sim/clock` `{"advance":"6m"}` | moves its clock, answers `{"now"}` in Unix seconds |
/// | `POST /_sim/faults` `{"path","fault",…}` | plans a [`Fault`] for the next exchanges on a path |
/// | `GET /_sim/faults` | the plans that are still to be used |
/// | `DELETE /_sim/faults[?path=…]` | forgets all plans, or those of one path |
/// | `POST /_sim/quota` `{"appid","per_minute"}` | answers calls beyond so many a minute of its clock with 45011 |
/// | `POST /_sim/oauth` `{"appid",…}` | how an app's pages behave: `domain` (the registered one), `name`, `agrees` (a user who agrees without a page), `denies`, `twice` (the browser comes back twice), `snapshot` (a snapshot user), `nickname`, `picture`; what is left out is as at the start |
/// | `GET /_sim/oauth` | the same of every app |
/// | `GET /_sim/quota` | of each such app, the calls that passed and those that were refused, and the `fullest` 60 seconds |
/// | `GET /_sim/calls` | how often each path was called, and with what outcome |
#[derive(Clone)]
pub struct Simulator {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    world: World,
    plans: Plans,
    calls: Calls,
}

impl Simulator {
    /// Makes a WeChat that knows these apps; of two with one appid the later counts.
    pub fn new(apps: Vec<SimulatedApp>, clock: Clock) -> Self {
        let state = State {
            world: World::new(apps),
            plans: Plans::default(),
            calls: Calls::default(),
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns every endpoint; faults that drop the connection need [`Simulator::serve`] to be exact.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/_sim/login", post(control::log_in))
            .route("/_sim/phone-code", post(control::phone_code))
            .route("/_sim/revoke", post(control::revoke))
            .route("/_sim/encrypt", post(control::encrypt))
            .route("/_sim/clock", post(control::advance_clock))
            .route(
                "/_sim/faults",
                get(control::plans)
                    .post(control::plan)
                    .delete(control::forget_plans),
            )
            .route("/_sim/quota", get(control::quotas).post(control::set_quota))
            .route("/_sim/oauth", get(web::settings).post(web::set))
            .route("/connect/oauth2/authorize", get(web::authorize))
            .route("/connect/qrconnect", get(web::qrconnect))
            .route("/connect/confirm", get(web::confirm))
            .route("/_sim/calls", get(control::calls))
            .route("/_sim/{*unknown}", any(control::unknown))
            .fallback(exchange::reply)
            .with_state(self.clone())
    }

    /// Answers on this listener until `shutdown`, which also drops the connections that still wait.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let wires = Wires::new(listener);
        let stop = wires.stop();
        let service = self
            .router()
            .into_make_service_with_connect_info::<Cutter>();
        axum::serve(wires, service)
            .with_graceful_shutdown(async move {
                shutdown.await;
                stop.cancel();
            })
            .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
