//! What clients did on several nodes and were answered, and the rules that all of it must keep together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long another node may not know that a session has ended, while nothing is wrong.
const SOON: Duration = Duration::from_secs(1);
/// How long it may take after a fault until everybody knows.
pub const RECOVERY: Duration = Duration::from_secs(4);

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A login with this code.
    Login(String),
    /// A request with a token.
    Use,
    /// The successor of this refresh token.
    Refresh(String),
    /// The end of the session.
    Logout,
    /// The end of all sessions of its user.
    Everywhere,
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It was done; a login and a refresh bring this refresh token.
    Done(String),
    /// It was refused with this error.
    Refused(String),
    /// Nobody knows whether it was done: no answer, or one that says to come again.
    Unknown,
}

/// One thing that a client did.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Whose session it was about; a client's sessions are numbered.
    pub session: u64,
    /// Whose client it was.
    pub user: usize,
    /// The node that was asked.
    pub node: usize,
    /// What was asked.
    pub asked: Asked,
    /// What was answered.
    pub answered: Answered,
    /// When it was asked and answered.
    pub during: (Instant, Instant),
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct History {
    operations: Mutex<Vec<Operation>>,
    faults: Mutex<Vec<(Instant, Instant)>>,
}

impl History {
    /// Adds what a client did.
    pub fn record(&self, operation: Operation) {
        let operations = self.operations.lock();
        operations
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
    }

    /// Adds a time in which something was wrong.
    pub fn fault(&self, begun: Instant) {
        let faults = self.faults.lock();
        let mut faults = faults.unwrap_or_else(PoisonError::into_inner);
        faults.push((begun, Instant::now()));
    }

    /// Returns how often a token of an ended session was used when no fault excused who let it pass.
    pub fn judged(&self) -> usize {
        let operations = self.operations.lock();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        let faults = self.faults.lock();
        let faults = faults.unwrap_or_else(PoisonError::into_inner);
        let ends = Ends::of(&operations);
        let judged = |operation: &&Operation| {
            let since = ends.known.get(&operation.session);
            let answered = !matches!(operation.answered, Answered::Unknown);
            let late = since.is_some_and(|at| is_late(*at, operation.during.0, &faults));
            operation.asked == Asked::Use && answered && late
        };
        operations.iter().filter(judged).count()
    }

    /// Returns how many operations there are of each kind, by what was answered.
    pub fn counts(&self) -> String {
        let operations = self.operations.lock();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        let mut counts: HashMap<String, usize> = HashMap::new();
        for operation in operations.iter() {
            let asked = match &operation.asked {
                Asked::Login(_) => "login",
                Asked::Use => "use",
                Asked::Refresh(_) => "refresh",
                Asked::Logout => "logout",
                Asked::Everywhere => "everywhere",
            };
            let answered = match &operation.answered {
                Answered::Done(_) => "done",
                Answered::Refused(error) => error,
                Answered::Unknown => "unknown",
            };
            *counts.entry(format!("{asked} {answered}")).or_default() += 1;
        }
        let mut lines: Vec<String> = counts
            .into_iter()
            .map(|(what, count)| format!("{count} × {what}"))
            .collect();
        lines.sort();
        lines.join("\n")
    }

    /// Returns what was done with a session and what went wrong meanwhile, with the seconds since the first login.
    pub fn of(&self, session: u64) -> String {
        let operations = self.operations.lock();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        let faults = self.faults.lock();
        let faults = faults.unwrap_or_else(PoisonError::into_inner);
        let Some(first) = operations.iter().map(|operation| operation.during.0).min() else {
            return String::new();
        };
        let of_session = operations.iter().filter(|one| one.session == session);
        let done = of_session.map(|one| {
            let Operation {
                node,
                asked,
                answered,
                ..
            } = one;
            (one.during, format!("node {node}: {asked:?} {answered:?}"))
        });
        let faults = faults.iter().map(|during| (*during, "a fault".to_owned()));
        let mut all: Vec<_> = done.chain(faults).collect();
        all.sort_by_key(|(during, _)| during.0);
        let lines = all.iter().map(|((begun, over), told)| {
            let [begun, over] = [begun, over].map(|at| at.duration_since(first).as_secs_f64());
            format!("{begun:.3} to {over:.3} s: {told}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Returns every breach of a rule, as a sentence.
    pub fn breaches(&self) -> Vec<String> {
        let operations = self.operations.lock();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        let faults = self.faults.lock();
        let faults = faults.unwrap_or_else(PoisonError::into_inner);
        let ends = Ends::of(&operations);
        let mut breaches = successors(&operations);
        for operation in operations.iter() {
            let begun = operation.during.0;
            let since = ends.known.get(&operation.session).copied();
            let told = match (&operation.asked, &operation.answered) {
                // The store itself says so, and it has lost nothing.
                (Asked::Refresh(_), Answered::Done(_)) if since.is_some_and(|at| at < begun) => {
                    Some("an ended session was refreshed")
                }
                (Asked::Use, Answered::Done(_))
                    if since.is_some_and(|at| is_late(at, begun, &faults)) =>
                {
                    Some("a token of an ended session passed")
                }
                (Asked::Use | Asked::Refresh(_), Answered::Refused(_))
                    if !ends.has_reason(operation) =>
                {
                    Some("somebody was logged out without a reason")
                }
                _ => None,
            };
            breaches.extend(told.map(|told| format!("{told}: {operation:?}")));
        }
        breaches
    }
}

/// When sessions ended.
struct Ends {
    /// From when on everybody can know: an end was acknowledged.
    known: HashMap<u64, Instant>,
    /// From when on it may have ended: somebody asked for it.
    possible: HashMap<u64, Instant>,
}

impl Ends {
    fn of(operations: &[Operation]) -> Self {
        let mut ends = Self {
            known: HashMap::new(),
            possible: HashMap::new(),
        };
        let mut replaced: HashMap<&str, Instant> = HashMap::new();
        for operation in operations {
            if let (Asked::Refresh(token), Answered::Done(_)) =
                (&operation.asked, &operation.answered)
            {
                replaced.entry(token).or_insert(operation.during.1);
            }
        }
        for operation in operations {
            let (begun, answered) = operation.during;
            let sessions: Vec<u64> = match &operation.asked {
                Asked::Logout => vec![operation.session],
                // Those that its user had by then.
                Asked::Everywhere => operations
                    .iter()
                    .filter(|other| other.user == operation.user && other.during.1 <= begun)
                    .filter(|other| matches!(other.asked, Asked::Login(_)))
                    .map(|other| other.session)
                    .collect(),
                // Who shows a token that was replaced long before ends the session, whatever is answered.
                Asked::Refresh(token)
                    if replaced.get(token.as_str()).is_some_and(|at| *at < begun) =>
                {
                    vec![operation.session]
                }
                Asked::Login(_) | Asked::Use | Asked::Refresh(_) => Vec::new(),
            };
            let acknowledged = match (&operation.asked, &operation.answered) {
                (Asked::Logout | Asked::Everywhere, Answered::Done(_)) => true,
                (_, Answered::Refused(error)) => {
                    ["session_ended", "refresh_reused"].contains(&error.as_str())
                }
                _ => false,
            };
            for session in sessions {
                let possible = ends.possible.entry(session).or_insert(begun);
                *possible = begun.min(*possible);
                if acknowledged {
                    let known = ends.known.entry(session).or_insert(answered);
                    *known = answered.min(*known);
                }
            }
        }
        ends
    }

    fn has_reason(&self, operation: &Operation) -> bool {
        let possible = self.possible.get(&operation.session);
        possible.is_some_and(|from| *from <= operation.during.1)
    }
}

/// Returns whether every node had to know of an end when it was asked.
fn is_late(ended: Instant, asked: Instant, faults: &[(Instant, Instant)]) -> bool {
    let meanwhile = faults.iter().filter(|(begun, _)| *begun <= asked);
    let disturbed = meanwhile.filter(|(_, over)| *over + RECOVERY >= ended);
    let known = disturbed.map(|(_, over)| *over + RECOVERY).max();
    asked > known.unwrap_or(ended).max(ended + SOON)
}

/// Finds refresh tokens that had two successors, and codes that brought two sessions.
fn successors(operations: &[Operation]) -> Vec<String> {
    let mut brought: HashMap<&str, &str> = HashMap::new();
    let mut breaches = Vec::new();
    for operation in operations {
        let (Asked::Refresh(from) | Asked::Login(from), Answered::Done(to)) =
            (&operation.asked, &operation.answered)
        else {
            continue;
        };
        let before = brought.entry(from).or_insert(to);
        if before != to {
            breaches.push(format!("another answer than before: {operation:?}"));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(operations: &[(Asked, Answered)], apart: Duration) -> History {
        let history = History::default();
        let mut now = Instant::now();
        for (asked, answered) in operations {
            let during = (now, now + Duration::from_millis(1));
            now += apart;
            history.record(Operation {
                session: 1,
                user: 1,
                node: 0,
                asked: asked.clone(),
                answered: answered.clone(),
                during,
            });
        }
        history
    }

    fn done(token: &str) -> Answered {
        Answered::Done(token.to_owned())
    }

    fn refused(error: &str) -> Answered {
        Answered::Refused(error.to_owned())
    }

    #[test]
    fn what_is_as_it_should_be_is_no_breach() {
        let login = (Asked::Login("c".to_owned()), done("1"));
        let refresh = (Asked::Refresh("1".to_owned()), done("2"));
        let operations = [
            login,
            refresh.clone(),
            refresh,
            (Asked::Use, done("")),
            (Asked::Logout, done("")),
            (Asked::Use, refused("session_ended")),
            (Asked::Refresh("2".to_owned()), refused("session_ended")),
        ];
        let apart = Duration::from_millis(10);
        assert_eq!(history(&operations, apart).breaches(), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_looked_at() {
        let refresh = |to| (Asked::Refresh("1".to_owned()), done(to));
        let ended = (Asked::Logout, done(""));
        for (operations, told) in [
            (vec![refresh("2"), refresh("3")], "another answer"),
            (vec![ended.clone(), refresh("2")], "was refreshed"),
            (vec![ended, (Asked::Use, done(""))], "passed"),
            (
                vec![(Asked::Use, refused("session_ended"))],
                "without a reason",
            ),
        ] {
            let breaches = history(&operations, Duration::from_secs(3)).breaches();
            assert_eq!(breaches.len(), 1, "{breaches:?}");
            assert!(
                breaches[0].starts_with(told) || breaches[0].contains(told),
                "{breaches:?}"
            );
        }
    }

    #[test]
    fn what_passes_between_faults_is_found_as_soon_as_the_last_excuses_nobody() {
        let passes = || done("");
        for (last, found) in [(refused("session_ended"), 0), (passes(), 1)] {
            let operations = [
                (Asked::Logout, done("")),
                (Asked::Use, passes()),
                (Asked::Use, last),
            ];
            let history = history(&operations, Duration::from_secs(3));
            let begun = history.operations.lock().unwrap()[0].during.0;
            let at = |ms| begun + Duration::from_millis(ms);
            *history.faults.lock().unwrap() = vec![(at(500), at(1000)), (at(9000), at(9500))];
            let breaches = history.breaches();
            assert_eq!(breaches.len(), found, "{breaches:?}");
            assert_eq!(history.judged(), 1);
        }
    }

    #[test]
    fn a_fault_excuses_who_does_not_know_for_a_while() {
        let operations = [(Asked::Logout, done("")), (Asked::Use, done(""))];
        let history = history(&operations, Duration::from_secs(3));
        history.fault(Instant::now());
        assert_eq!(history.breaches(), Vec::<String>::new());
    }
}
