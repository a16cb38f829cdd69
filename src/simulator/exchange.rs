//! One exchange on one of WeChat's paths: as planned when a fault is, else as WeChat would.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};

use super::answer::{Answer, Refused};
use super::code2session::{self, Params};
use super::{Simulator, misbehave, random};

/// Answers a request on any path that is not the control plane's.
pub(super) async fn reply(State(simulator): State<Simulator>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let planned = simulator.state().plans.next(&path);
    if let Some(planned) = planned {
        // Counted first: some faults never come to an end.
        let outcome = format!("fault:{}", planned.name);
        simulator.state().calls.count(&path, outcome);
        return misbehave::reply(&simulator, planned, request).await;
    }
    let answer = answer(&simulator, request).await;
    simulator.state().calls.count(&path, answer.outcome());
    answer.reply(&simulator.rid()).into_response()
}

/// Carries a request out as WeChat would.
pub(super) async fn answer(simulator: &Simulator, request: Request) -> Answer {
    match request.uri().path() {
        code2session::PATH => match Params::of(request).await {
            Some(params) => {
                let now_ms = simulator.clock.unix_ms();
                code2session::answer(&mut simulator.state().world, &params, now_ms)
            }
            None => Answer::Refused(Refused::new(43001)),
        },
        _ => Answer::Refused(Refused::new(40066)),
    }
}

impl Simulator {
    /// Returns a trace id of this moment.
    pub(super) fn rid(&self) -> String {
        random::rid(self.clock.unix_secs())
    }
}
