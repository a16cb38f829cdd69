//! The exchanges of the public listener now and over the last hour, and what was refused.

use std::time::Duration;

use serde::Serialize;

use super::shown::Shown;
use crate::control::Control;
use crate::control::calls::Limited;
use crate::control::requests::may_know;
use crate::metrics::{Step, Totals};
use crate::request::{CODES, Found, advice};

/// How far back "now" reaches at least.
const NOW: Duration = Duration::from_secs(10);
/// The most refusals that are told of.
const LAST: usize = 20;

/// The traffic.
#[derive(Serialize)]
pub(super) struct Traffic {
    /// How many seconds of the last hour are known.
    reaches: f64,
    requests_open: Option<f64>,
    connections_open: Option<f64>,
    websockets_open: Option<f64>,
    now: Part,
    hour: Part,
    steps: Steps,
}

/// What came in some time.
#[derive(Serialize)]
struct Part {
    seconds: f64,
    requests: u64,
    refused: u64,
    failed: u64,
    received: u64,
    sent: u64,
    /// In milliseconds.
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// The steps of the last hour, column by column.
#[derive(Default, Serialize)]
struct Steps {
    ago: Vec<f64>,
    seconds: Vec<f64>,
    requests: Vec<u64>,
    refused: Vec<u64>,
    failed: Vec<u64>,
    p50: Vec<Option<f64>>,
    p95: Vec<Option<f64>>,
    p99: Vec<Option<f64>>,
}

/// How often something was refused.
#[derive(Serialize)]
pub(super) struct RefusalCount {
    code: &'static str,
    hour: u64,
    since_start: u64,
    client_should: &'static str,
    operator_should: &'static str,
}

/// A refusal.
#[derive(Serialize)]
pub(super) struct LastRefusal {
    /// How many seconds ago it ended.
    ago: f64,
    request: Option<String>,
    status: u16,
    code: &'static str,
    message: &'static str,
    token_fault: Option<&'static str>,
    errcode: Option<i64>,
    credential: &'static str,
    app: Option<String>,
    client: Option<String>,
}

/// Returns the traffic, and what was refused of it.
pub(super) fn traffic(control: &Control, shown: &Shown) -> (Traffic, Vec<RefusalCount>) {
    let (now, totals) = (control.clock.instant(), control.traffic.totals());
    let hour = &control.hour;
    let steps = hour.steps(now, totals.clone());
    let whole = hour.since(now, &totals, Duration::MAX);
    let refusals = refusals(&totals, &whole.totals);
    let traffic = Traffic {
        reaches: whole.lasted.as_secs_f64(),
        requests_open: shown.one("menshen_requests_open"),
        connections_open: shown.one("menshen_connections_open"),
        websockets_open: shown.one("menshen_websockets_open"),
        now: Part::of(&hour.since(now, &totals, NOW)),
        hour: Part::of(&whole),
        steps: Steps::of(&steps),
    };
    (traffic, refusals)
}

fn refusals(all: &Totals, hour: &Totals) -> Vec<RefusalCount> {
    let counts = all.refused.iter().zip(&hour.refused);
    let counts = CODES.into_iter().zip(counts);
    let mut counts: Vec<RefusalCount> = counts
        .filter(|(_, (since_start, _))| **since_start > 0)
        .map(|(code, (since_start, hour))| {
            let should = advice(code);
            RefusalCount {
                code,
                hour: *hour,
                since_start: *since_start,
                client_should: should.client,
                operator_should: should.operator,
            }
        })
        .collect();
    counts.sort_by_key(|count| std::cmp::Reverse((count.hour, count.since_start)));
    counts
}

/// Returns the last refusals that whoever asks may know of.
pub(super) fn last(control: &Control, limited: Option<&Limited>) -> Vec<LastRefusal> {
    let found = control
        .recent
        .refused(LAST, |found| may_know(limited, found));
    found.into_iter().filter_map(LastRefusal::of).collect()
}

impl LastRefusal {
    fn of(found: Found) -> Option<Self> {
        let entry = found.entry;
        let refused = entry.refused?;
        let (_, code, message) = refused.denial.response();
        let request = Some(refused.request.to_string());
        Some(Self {
            ago: entry.ended.elapsed().as_secs_f64(),
            // Of a head that nobody could read, there is neither method nor path.
            request: request.filter(|request| request.len() > 1),
            status: entry.status,
            code,
            message,
            token_fault: refused.denial.token_fault(),
            errcode: refused.denial.errcode(),
            credential: entry.credential.as_str(),
            app: found.app,
            client: entry.client.map(|client| client.to_string()),
        })
    }
}

impl Part {
    fn of(step: &Step) -> Self {
        let Totals {
            requests,
            failed,
            received,
            sent,
            ..
        } = step.totals;
        let [p50, p95, p99] = percentiles(&step.totals);
        Self {
            seconds: step.lasted.as_secs_f64(),
            requests,
            refused: step.totals.refused.iter().sum(),
            failed,
            received,
            sent,
            p50,
            p95,
            p99,
        }
    }
}

impl Steps {
    fn of(steps: &[Step]) -> Self {
        let mut columns = Self::default();
        for step in steps {
            let [p50, p95, p99] = percentiles(&step.totals);
            columns.ago.push(rounded(step.ago.as_secs_f64()));
            columns.seconds.push(rounded(step.lasted.as_secs_f64()));
            columns.requests.push(step.totals.requests);
            columns.refused.push(step.totals.refused.iter().sum());
            columns.failed.push(step.totals.failed);
            columns.p50.push(p50);
            columns.p95.push(p95);
            columns.p99.push(p99);
        }
        columns
    }
}

/// Returns percentiles in milliseconds.
fn percentiles(totals: &Totals) -> [Option<f64>; 3] {
    [50, 95, 99].map(|percent| {
        let seconds = totals.durations.percentile(percent);
        seconds.map(|seconds| rounded(seconds * 1000.0))
    })
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_for_the_hour_and_since_the_start_the_hours_most_first() {
        let counts = |counts: [u64; 4]| Totals {
            refused: counts.to_vec(),
            ..Totals::default()
        };
        let told = refusals(&counts([5, 9, 0, 7]), &counts([2, 1, 0, 2]));
        let told: Vec<_> = told
            .iter()
            .map(|count| (count.code, count.hour, count.since_start))
            .collect();
        let [one, other, _, last] = [0, 1, 2, 3].map(|place| CODES[place]);
        assert_eq!(told, [(last, 2, 7), (one, 2, 5), (other, 1, 9)]);
    }
}
