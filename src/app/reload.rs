//! Replaces what a changed configuration changes, while exchanges in flight keep what they began with.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::parts::{Counters, Lasting, generation, wechat};
use super::{StartError, audit, check};
use crate::config::{Config, Problems};
use crate::control::{RefusedReload, Reload, ReloadRefused, WeChatApi};
use crate::server::{Generation, Generations, supervisor};
use crate::token::load;
use crate::traces::Collector;

/// Reads the configuration anew.
pub type Source = Box<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is not one to work with.
    #[error(transparent)]
    Config(#[from] Problems),
    /// What it asks for cannot be had; each with the key that it is about.
    #[error("the configuration cannot be used")]
    Unusable(Vec<(&'static str, StartError)>),
    /// The process has stopped.
    #[error("the program is stopping")]
    Stopping,
}

impl ReloadError {
    /// Returns every problem, one line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Config(problems) => problems.iter().map(ToString::to_string).collect(),
            Self::Unusable(problems) => problems
                .iter()
                .map(|(key, problem)| format!("{key}: {problem}"))
                .collect(),
            Self::Stopping => vec![self.to_string()],
        }
    }
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The sections that differ from those before.
    pub changed: Vec<&'static str>,
    /// The keys whose new values wait for the next start.
    pub restart_needed: Vec<&'static str>,
}

/// Reloads, one at a time; clones take turns.
#[derive(Clone)]
pub struct Reloader {
    shared: Arc<Shared>,
}

struct Shared {
    running: Mutex<Config>,
    source: Arc<Source>,
    generations: Arc<Generations>,
    lasting: Lasting,
}

impl Reloader {
    pub(super) fn new(
        running: Config,
        source: Source,
        generations: Arc<Generations>,
        lasting: Lasting,
    ) -> Self {
        let shared = Arc::new(Shared {
            running: Mutex::new(running),
            source: Arc::new(source),
            generations,
            lasting,
        });
        Self { shared }
    }

    /// Takes the configuration over, or changes nothing; `by` says in the log who wants it.
    pub async fn reload(&self, by: &str) -> Result<Reloaded, ReloadError> {
        supervisor::reloading();
        let reloaded = self.take_over().await;
        audit::reloaded(by, &reloaded);
        let Lasting {
            metrics,
            reloaded: last,
            clock,
            known,
            ..
        } = &self.shared.lasting;
        match &reloaded {
            Ok(_) => {
                supervisor::ready();
                metrics.reload("ok");
                last.taken_over(clock.unix_ms());
            }
            Err(error) => {
                supervisor::kept();
                last.refused();
                known.refuse(RefusedReload {
                    at: clock.unix_secs(),
                    problems: error.lines(),
                });
                metrics.reload("refused");
            }
        }
        reloaded
    }

    /// Returns what has to be watched for changes, where that is asked for: the keys; the file is the caller's.
    pub async fn watched(&self) -> Option<PathBuf> {
        let running = self.shared.running.lock().await;
        let watched = running.server.watch.then(|| running.token.keys_dir.clone());
        drop(running);
        watched
    }

    async fn take_over(&self) -> Result<Reloaded, ReloadError> {
        let shared = &self.shared;
        let mut running = shared.running.lock().await;
        let (source, current) = (Arc::clone(&shared.source), running.clone());
        let (old, lasting) = (shared.generations.current(), shared.lasting.clone());
        // It reads files, and checks certificates and keys.
        let prepared =
            tokio::task::spawn_blocking(move || prepare(&source, &current, &old, &lasting)).await;
        let Prepared {
            config,
            generation,
            wechat,
            collector,
            restart_needed,
        } = prepared.map_err(|_| ReloadError::Stopping)??;
        crate::log::show(&config.log);
        audit::keys(&shared.generations.current().keys, &generation.keys);
        let changed = audit::changed(&running, &config);
        shared.lasting.spans.aim(collector);
        let (known, keys) = (&shared.lasting.known, Arc::clone(&generation.keys));
        shared.generations.replace(generation);
        known.replace(&config, wechat, keys, restart_needed.clone());
        shared.lasting.tokens.keep(&config.apps);
        *running = config;
        Ok(Reloaded {
            changed,
            restart_needed,
        })
    }

    /// Returns the same as the private listener calls it.
    pub(super) fn for_control(self) -> Reload {
        Arc::new(move |by: String| {
            let reloader = self.clone();
            Box::pin(async move { reloader.reload_for_control(&by).await })
        })
    }

    async fn reload_for_control(&self, by: &str) -> Result<Vec<&'static str>, ReloadRefused> {
        match self.reload(by).await {
            Ok(Reloaded { restart_needed, .. }) => Ok(restart_needed),
            Err(ReloadError::Stopping) => Err(ReloadRefused::Stopping),
            Err(error @ (ReloadError::Config(_) | ReloadError::Unusable(_))) => {
                Err(ReloadRefused::Problems(error.lines()))
            }
        }
    }
}

/// What a reload has made before it changes anything.
struct Prepared {
    config: Config,
    generation: Generation,
    wechat: WeChatApi,
    /// `None` where nothing is traced, or where spans go does not change.
    collector: Option<Collector>,
    restart_needed: Vec<&'static str>,
}

fn prepare(
    source: &Source,
    running: &Config,
    old: &Generation,
    lasting: &Lasting,
) -> Result<Prepared, ReloadError> {
    let mut config = source()?;
    let restart_needed = config.keep(running);
    let problems = check(&config);
    if !problems.is_empty() {
        return Err(ReloadError::Unusable(problems));
    }
    let about = |key| move |error: StartError| ReloadError::Unusable(vec![(key, error)]);
    let upstreams = old.upstreams.renewed(&config.upstreams);
    let upstreams = upstreams.map_err(|error| about("upstream")(error.into()))?;
    let keys = load(&config.token.keys_dir);
    let keys = Arc::new(keys.map_err(|error| about("token.keys_dir")(error.into()))?);
    let counters = Counters::renewed(&config, running, old);
    let generation =
        generation(&config, &keys, upstreams, counters, lasting).map_err(about("configuration"))?;
    let wechat = wechat(&config, &lasting.tokens, &lasting.metrics, &lasting.reach);
    let wechat = wechat.map_err(about("wechat"))?;
    let collector = match config.traces == running.traces {
        true => None,
        false => Collector::new(&config.traces).map_err(|error| about("traces")(error.into()))?,
    };
    Ok(Prepared {
        config,
        generation,
        wechat,
        collector,
        restart_needed,
    })
}
