//! Which exchanges are to go wrong: the fault plans that are still to be used.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::fault::Fault;

const MAX_PLANS: usize = 1000;

/// Why a plan is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("path: must start with / and not be under /_sim/")]
    Path,
    #[error("spend: {0} says itself whether the request is carried out")]
    Spend(String),
    #[error("there are already {MAX_PLANS} plans")]
    TooMany,
}

/// A fault for the exchanges on one path.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    path: String,
    /// How many exchanges are left; `None` means until it is forgotten.
    left: Option<NonZeroU32>,
    planned: Planned,
    written: Map<String, Value>,
}

/// What is to go wrong in one exchange.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) fault: Fault,
    /// Whether a request that the fault answers by itself is carried out all the same.
    pub(super) spend: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    path: String,
    times: Option<NonZeroU32>,
    #[serde(default)]
    spend: bool,
}

impl Plan {
    /// Reads a plan as written in the body of `POST /_sim/faults`.
    pub(super) fn read(body: &[u8]) -> Result<Self, PlanError> {
        let mut written: Map<String, Value> = serde_json::from_slice(body)?;
        written.retain(|_, value| !value.is_null());
        let (terms, fault): (Map<_, _>, Map<_, _>) = written
            .clone()
            .into_iter()
            .partition(|(key, _)| matches!(key.as_str(), "path" | "times" | "spend"));
        let name = fault.get("fault").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_owned();
        let fault: Fault = serde_json::from_value(Value::Object(fault))?;
        let Terms { path, times, spend } = serde_json::from_value(Value::Object(terms))?;
        if !path.starts_with('/') || path == "/_sim" || path.starts_with("/_sim/") {
            return Err(PlanError::Path);
        }
        if spend && !fault.replaces_answer() {
            return Err(PlanError::Spend(name));
        }
        Ok(Self {
            path,
            left: times,
            planned: Planned { name, fault, spend },
            written,
        })
    }

    /// Returns the plan as it was written, with what is left of its `times`.
    pub(super) fn written(&self) -> Value {
        let mut written = self.written.clone();
        if let Some(left) = self.left {
            written.insert("times".to_owned(), left.get().into());
        }
        Value::Object(written)
    }
}

/// The plans that are still to be used, in the order they came.
#[derive(Default)]
pub(super) struct Plans(VecDeque<Plan>);

impl Plans {
    /// Adds a plan; one without `times` replaces the one its path had.
    pub(super) fn add(&mut self, plan: Plan) -> Result<(), PlanError> {
        if plan.left.is_none() {
            self.0
                .retain(|old| old.left.is_some() || old.path != plan.path);
        }
        if self.0.len() >= MAX_PLANS {
            return Err(PlanError::TooMany);
        }
        self.0.push_back(plan);
        Ok(())
    }

    /// Takes what is to go wrong in the next exchange on this path.
    pub(super) fn next(&mut self, path: &str) -> Option<Planned> {
        let counted = |plan: &Plan| plan.left.is_some() && plan.path == path;
        let Some(at) = self.0.iter().position(counted) else {
            let standing = self.0.iter().find(|plan| plan.path == path)?;
            return Some(standing.planned.clone());
        };
        let plan = self.0.get_mut(at)?;
        let fewer = plan.left.and_then(|left| NonZeroU32::new(left.get() - 1));
        if fewer.is_some() {
            plan.left = fewer;
            Some(plan.planned.clone())
        } else {
            self.0.remove(at).map(|plan| plan.planned)
        }
    }

    /// Forgets the plans of one path, or all, and returns how many those were.
    pub(super) fn forget(&mut self, path: Option<&str>) -> usize {
        let before = self.0.len();
        self.0
            .retain(|plan| path.is_some_and(|path| path != plan.path));
        before - self.0.len()
    }

    /// Returns all plans as they were written.
    pub(super) fn written(&self) -> Vec<Value> {
        self.0.iter().map(Plan::written).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        Plan::read(text.as_bytes()).unwrap()
    }

    fn plans(texts: &[&str]) -> Plans {
        let mut plans = Plans::default();
        for text in texts {
            plans.add(plan(text)).unwrap();
        }
        plans
    }

    fn refusal(text: &str) -> String {
        Plan::read(text.as_bytes()).unwrap_err().to_string()
    }

    fn names(plans: &mut Plans, count: usize) -> Vec<Option<String>> {
        (0..count)
            .map(|_| plans.next("/p").map(|planned| planned.name))
            .collect()
    }

    #[test]
    fn every_fault_of_the_documentation_can_be_written() {
        for text in [
            r#"{"path":"/p","fault":"errcode","errcode":-1}"#,
            r#"{"path":"/p","fault":"errcode_string","errcode":40029,"errmsg":"no"}"#,
            r#"{"path":"/p","fault":"status","status":502}"#,
            r#"{"path":"/p","fault":"html"}"#,
            r#"{"path":"/p","fault":"redirect"}"#,
            r#"{"path":"/p","fault":"hang","spend":true}"#,
            r#"{"path":"/p","fault":"close_before"}"#,
            r#"{"path":"/p","fault":"close_after"}"#,
            r#"{"path":"/p","fault":"delay","by":"3s"}"#,
            r#"{"path":"/p","fault":"truncate"}"#,
            r#"{"path":"/p","fault":"errcode_zero"}"#,
            r#"{"path":"/p","fault":"content_type","content_type":"image/jpeg"}"#,
            r#"{"path":"/p","fault":"empty_openid"}"#,
            r#"{"path":"/p","fault":"missing_openid"}"#,
            r#"{"path":"/p","fault":"missing_session_key"}"#,
            r#"{"path":"/p","fault":"raw_control"}"#,
            r#"{"path":"/p","fault":"bom"}"#,
            r#"{"path":"/p","fault":"huge"}"#,
            r#"{"path":"/p","fault":"chunked_412"}"#,
        ] {
            assert!(Plan::read(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn null_is_a_field_that_is_missing() {
        let with = r#"{"path":"/p","fault":"redirect","location":null,"times":null,"spend":null}"#;
        let without = plan(r#"{"path":"/p","fault":"redirect"}"#);
        assert_eq!(plan(with).planned.fault, without.planned.fault);
        assert!(refusal(r#"{"path":"/p","fault":"delay","by":null}"#).contains("`by`"));
    }

    #[test]
    fn an_unknown_fault_is_answered_with_the_known_ones() {
        let refusal = refusal(r#"{"path":"/p","fault":"hagn"}"#);
        assert!(refusal.contains("hagn") && refusal.contains("`hang`"));
    }

    #[test]
    fn a_field_of_another_fault_is_refused() {
        assert!(refusal(r#"{"path":"/p","fault":"hang","by":"3s"}"#).contains("`by`"));
    }

    #[test]
    fn a_missing_field_is_named() {
        assert!(refusal(r#"{"path":"/p","fault":"delay"}"#).contains("`by`"));
    }

    #[test]
    fn a_bad_duration_is_refused_with_an_example() {
        assert!(refusal(r#"{"path":"/p","fault":"delay","by":"soon"}"#).contains("3s"));
    }

    #[test]
    fn a_status_that_is_no_error_is_refused() {
        assert!(refusal(r#"{"path":"/p","fault":"status","status":204}"#).contains("400 to 599"));
    }

    #[test]
    fn an_errcode_of_zero_is_refused() {
        assert!(refusal(r#"{"path":"/p","fault":"errcode","errcode":0}"#).contains("nonzero"));
    }

    #[test]
    fn no_times_at_all_is_refused() {
        assert!(refusal(r#"{"path":"/p","fault":"hang","times":0}"#).contains("nonzero"));
    }

    #[test]
    fn the_control_plane_cannot_be_made_to_fail() {
        assert!(refusal(r#"{"path":"/_sim/faults","fault":"hang"}"#).starts_with("path:"));
    }

    #[test]
    fn spending_is_refused_where_the_fault_decides_it() {
        let refusal = refusal(r#"{"path":"/p","fault":"close_before","spend":true}"#);
        assert!(refusal.starts_with("spend: close_before"));
    }

    #[test]
    fn counted_plans_are_used_in_the_order_they_came() {
        let mut plans = plans(&[
            r#"{"path":"/p","fault":"bom","times":2}"#,
            r#"{"path":"/p","fault":"html","times":1}"#,
        ]);
        let [bom, html] = ["bom", "html"].map(|name| Some(name.to_owned()));
        assert_eq!(names(&mut plans, 4), [bom.clone(), bom, html, None]);
    }

    #[test]
    fn a_standing_plan_waits_until_the_counted_ones_are_used() {
        let mut plans = plans(&[
            r#"{"path":"/p","fault":"bom"}"#,
            r#"{"path":"/p","fault":"html","times":1}"#,
        ]);
        let [bom, html] = ["bom", "html"].map(|name| Some(name.to_owned()));
        assert_eq!(names(&mut plans, 3), [html, bom.clone(), bom]);
    }

    #[test]
    fn the_latest_standing_plan_of_a_path_counts() {
        let mut plans = plans(&[
            r#"{"path":"/p","fault":"bom"}"#,
            r#"{"path":"/p","fault":"html"}"#,
        ]);
        assert_eq!(names(&mut plans, 1), [Some("html".to_owned())]);
    }

    #[test]
    fn a_plan_leaves_other_paths_alone() {
        let mut plans = plans(&[r#"{"path":"/other","fault":"bom"}"#]);
        assert_eq!(names(&mut plans, 1), [None]);
    }

    #[test]
    fn forgetting_one_path_keeps_the_others() {
        let mut plans = plans(&[
            r#"{"path":"/p","fault":"bom"}"#,
            r#"{"path":"/other","fault":"bom"}"#,
        ]);
        assert_eq!((plans.forget(Some("/p")), plans.forget(None)), (1, 1));
    }

    #[test]
    fn the_list_shows_how_many_times_are_left() {
        let mut plans = plans(&[r#"{"path":"/p","fault":"bom","times":3}"#]);
        plans.next("/p");
        assert_eq!(plans.written()[0]["times"], 2);
    }
}
