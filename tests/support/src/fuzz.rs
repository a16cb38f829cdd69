//! Runs generated cases from a seed, and notices panics that a runtime would swallow.

use std::env;
use std::fmt::Debug;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Runs cases: as many as `MENSHEN_FUZZ_CASES` says, or else `cases`; from `MENSHEN_FUZZ_SEED`, or else always the same.
///
/// What fails is made smaller and then shown, with the seed. A panic of any thread or task fails its case.
pub fn fuzz<S>(cases: u32, strategy: &S, case: impl Fn(S::Value) -> TestCaseResult)
where
    S: Strategy,
    S::Value: Debug,
{
    let cases = number("MENSHEN_FUZZ_CASES").unwrap_or(cases.into());
    let seed = number("MENSHEN_FUZZ_SEED").unwrap_or(0);
    count_panics();
    let config = Config {
        cases: u32::try_from(cases).expect("fewer cases"),
        failure_persistence: None,
        max_shrink_iters: 1000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let run = TestRunner::new_with_rng(config, rng).run(strategy, |input| {
        let before = PANICS.load(Ordering::SeqCst);
        case(input)?;
        let panics = PANICS.load(Ordering::SeqCst) - before;
        proptest::prop_assert_eq!(panics, 0, "something panicked");
        Ok(())
    });
    if let Err(error) = run {
        panic!("MENSHEN_FUZZ_SEED={seed} MENSHEN_FUZZ_CASES={cases}: {error}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} should be a number")),
    )
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            shown(info);
        }));
    });
}
