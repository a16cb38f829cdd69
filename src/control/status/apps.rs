//! Each app: its logins, what WeChat answered, and how it stands with quota and queue.

use serde::Serialize;

use super::shown::Shown;
use crate::config::{App, AppKind};
use crate::metrics::Sample;
use crate::request::advice;
use crate::wechat::{self, ErrcodeClass, class};

/// An app.
#[derive(Serialize)]
pub(super) struct AppStatus {
    name: String,
    kind: &'static str,
    appid: String,
    logins: Vec<Counted>,
    calls: Vec<Call>,
    replays: f64,
    /// How long a login that went well took on average since the start, in milliseconds.
    login_ms: Option<f64>,
    /// How many wait for their turn.
    waiting: Option<f64>,
    /// How long one waited on average since the start, in milliseconds.
    waited_ms: Option<f64>,
    quota_per_minute: Option<u32>,
    /// `null` without a quota, and before the first login.
    quota_left: Option<f64>,
    /// Why logins are held back.
    kept_back: Vec<String>,
}

/// How often something came of logins.
#[derive(Serialize)]
struct Counted {
    outcome: String,
    hour: f64,
    since_start: f64,
    operator_should: &'static str,
}

/// How often WeChat answered so.
#[derive(Serialize)]
struct Call {
    endpoint: String,
    /// "ok", an errcode or a word.
    result: String,
    hour: f64,
    since_start: f64,
    operator_should: &'static str,
}

impl AppStatus {
    pub(super) fn of(app: &App, shown: &Shown) -> Self {
        let name = ("app", app.name.as_str());
        let of = |metric: &'static str| {
            let all = shown.all(metric);
            all.filter(|sample| sample.label("app") == app.name)
        };
        let mut logins: Vec<Counted> = of("menshen_logins_total")
            .map(|sample| Counted::of(sample, shown))
            .collect();
        logins.sort_by(|one, other| other.hour.total_cmp(&one.hour));
        let mut calls: Vec<Call> = of("menshen_wechat_calls_total")
            .map(|sample| Call::of(sample, shown))
            .collect();
        calls.sort_by(|one, other| other.hour.total_cmp(&one.hour));
        let kept_back = of("menshen_login_kept_back").filter(|sample| sample.value > 0.0);
        let took = |part: &'static str| {
            let mut found = of(part).filter(|sample| sample.label("outcome") == "ok");
            found.next().map(|sample| sample.value)
        };
        Self {
            name: app.name.clone(),
            kind: match app.kind {
                AppKind::MiniProgram => "mini_program",
                AppKind::OfficialAccount(_) => "official_account",
                AppKind::Website => "website",
            },
            appid: app.appid.clone(),
            logins,
            calls,
            replays: shown.of("menshen_login_replays_total", name).unwrap_or(0.0),
            login_ms: mean_ms(
                took("menshen_login_duration_seconds_sum"),
                took("menshen_login_duration_seconds_count"),
            ),
            waiting: shown.of("menshen_login_waiting", name),
            waited_ms: mean_ms(
                shown.of("menshen_login_wait_seconds_sum", name),
                shown.of("menshen_login_wait_seconds_count", name),
            ),
            quota_per_minute: app.quota_per_minute.map(u32::from),
            quota_left: shown.of("menshen_login_quota_left", name),
            kept_back: kept_back
                .map(|sample| sample.label("reason").to_owned())
                .collect(),
        }
    }
}

impl Counted {
    fn of(sample: &Sample, shown: &Shown) -> Self {
        let outcome = sample.label("outcome").to_owned();
        Self {
            hour: shown.lately(sample),
            since_start: sample.value,
            operator_should: advice(&outcome).operator,
            outcome,
        }
    }
}

impl Call {
    fn of(sample: &Sample, shown: &Shown) -> Self {
        let result = sample.label("result").to_owned();
        Self {
            endpoint: sample.label("endpoint").to_owned(),
            hour: shown.lately(sample),
            since_start: sample.value,
            operator_should: about(&result),
            result,
        }
    }
}

/// Says what an operator can do about what WeChat answered.
fn about(result: &str) -> &'static str {
    let code = match result.parse::<i64>().ok() {
        Some(errcode) => match wechat::advice(errcode) {
            Some(should) => return should,
            None => match class(errcode) {
                ErrcodeClass::CodeInvalid => "code_invalid",
                ErrcodeClass::CodeUsed => "code_used",
                ErrcodeClass::UserBlocked => "user_blocked",
                ErrcodeClass::Busy | ErrcodeClass::MinuteQuota | ErrcodeClass::DayQuota => {
                    "wechat_busy"
                }
                ErrcodeClass::Misconfigured => "wechat_misconfigured",
                ErrcodeClass::Unknown => "wechat_error",
            },
        },
        None => match result {
            "unreachable" => "wechat_unreachable",
            "no_answer" => "wechat_timeout",
            "invalid" | "other" => "wechat_error",
            "store" | "turn" => "store_unavailable",
            _ => "",
        },
    };
    advice(code).operator
}

/// Returns an average in milliseconds.
pub(super) fn mean_ms(sum: Option<f64>, count: Option<f64>) -> Option<f64> {
    let (sum, count) = (sum?, count?);
    (count > 0.0).then(|| (sum / count * 100_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_well_has_advice() {
        for result in [
            "40029",
            "40163",
            "40226",
            "-1",
            "45011",
            "45009",
            "40013",
            "40125",
            "40164",
            "99999",
            "other",
            "invalid",
            "unreachable",
            "no_answer",
            "store",
            "turn",
        ] {
            assert!(!about(result).is_empty(), "{result}");
        }
        assert_eq!(about("ok"), "");
    }
}
