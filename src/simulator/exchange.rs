//! One exchange on one of WeChat's paths: as planned when a fault is, else as WeChat would.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::Method;

use super::answer::{Answer, Refused};
use super::params::Params;
use super::{
    Simulator, api, code2session, misbehave, random, session_key, stable_token, token, web,
};

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
    let reply = answer.reply(&simulator.rid());
    reply.for_path(&path).into_response()
}

/// Carries a request out as WeChat would.
pub(super) async fn answer(simulator: &Simulator, request: Request) -> Answer {
    let path = request.uri().path().to_owned();
    if path == stable_token::PATH {
        let asked = stable_token::Asked::of(request).await;
        let now_ms = simulator.clock.unix_ms();
        return stable_token::answer(&mut simulator.state().world, asked, now_ms);
    }
    let request = match api::answer(simulator, request).await {
        Ok(answer) => return answer,
        Err(request) => request,
    };
    let answer = match path.as_str() {
        code2session::PATH => code2session::answer,
        token::PATH => token::answer,
        session_key::CHECK => session_key::check,
        session_key::RESET => session_key::reset,
        web::ACCESS_TOKEN => web::access_token,
        web::USERINFO => web::userinfo,
        _ => return Answer::Refused(Refused::new(40066)),
    };
    // Only the oldest endpoint also takes a form.
    let taken = path == code2session::PATH || request.method() == Method::GET;
    match Params::of(request).await.filter(|_| taken) {
        Some(params) => {
            let now_ms = simulator.clock.unix_ms();
            answer(&mut simulator.state().world, &params, now_ms)
        }
        None => Answer::Refused(Refused::new(43001)),
    }
}

impl Simulator {
    /// Returns a trace id of this moment.
    pub(super) fn rid(&self) -> String {
        random::rid(self.clock.unix_secs())
    }
}
