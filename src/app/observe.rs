//! Names what metrics show that is looked up when somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::parts::Lasting;
use crate::log;
use crate::metrics::{Labels, Page};
use crate::server::{Encryption, Generations};
use crate::session::StoreUse;

/// What came of the last reload; the start counts as one.
#[derive(Debug, Default)]
pub(super) struct LastReload {
    /// When the configuration was last taken over, in milliseconds since the Unix epoch.
    taken_over: AtomicU64,
    refused: AtomicBool,
}

impl LastReload {
    pub(super) fn taken_over(&self, unix_ms: u64) {
        self.taken_over.store(unix_ms, Ordering::Relaxed);
        self.refused.store(false, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    fn secs(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a float is what is shown")]
        let ms = self.taken_over.load(Ordering::Relaxed) as f64;
        ms / 1000.0
    }

    fn was_taken_over(&self) -> bool {
        !self.refused.load(Ordering::Relaxed)
    }
}

/// Has the metrics show the parts.
pub(super) fn observe(lasting: &Lasting, generations: &Arc<Generations>, tls: Option<&Encryption>) {
    let (metrics, start) = (lasting.metrics.clone(), lasting.clock.unix_ms());
    lasting.reloaded.taken_over(start);
    let traffic = Arc::clone(&lasting.traffic);
    metrics.observe(move |page| traffic.show(page));
    metrics.observe(sessions(lasting));
    // The generations hold the metrics, so a strong reference would keep both alive.
    metrics.observe(generation(lasting, Arc::downgrade(generations)));
    metrics.observe(spans(lasting));
    let (tls, reloaded) = (tls.cloned(), Arc::clone(&lasting.reloaded));
    metrics.observe(move |page| {
        let dropped = "Log lines that nobody read in time";
        page.counter("log_lines_dropped", dropped, one(log::dropped()));
        let last = "When the configuration was last taken over, the start included";
        page.seconds(
            "config_last_taken_over_timestamp",
            last,
            one(reloaded.secs()),
        );
        let taken_over = one(u64::from(reloaded.was_taken_over()));
        let help = "Whether the last reload was taken over";
        page.gauge("config_last_reload_taken_over", help, taken_over);
        let expiries = tls.iter().flat_map(Encryption::expiries);
        let expiries =
            expiries.map(|(file, until)| (vec![("file", file.display().to_string())], until));
        let help = "When a certificate of the listener expires";
        page.seconds("certificate_expiry_timestamp", help, expiries);
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.gauge("build_info", "The program", [(version, 1_u64)]);
    });
}

/// Shows sessions and their store.
fn sessions(lasting: &Lasting) -> impl Fn(&mut Page<'_>) + Send + 'static {
    let (sessions, sockets) = (lasting.sessions.clone(), Arc::clone(&lasting.sockets));
    let uses = sessions.uses();
    move |page| {
        let opened = one(uses.opened.sum());
        page.counter("sessions_opened", "Sessions that logins opened", opened);
        let refreshed = one(uses.refreshed.sum());
        page.counter(
            "sessions_refreshed",
            "Sessions that were refreshed",
            refreshed,
        );
        let ended = one(uses.ended.sum());
        page.counter(
            "sessions_ended",
            "Sessions that were ended before their time",
            ended,
        );
        let stored = sessions.stored().map(|count| (vec![], count as u64));
        page.gauge("sessions_stored", "Sessions in the store", stored);
        let held = one(sessions.revoked().len() as u64);
        page.gauge(
            "revocations_held",
            "Ended sessions whose tokens are refused",
            held,
        );
        let available = one(u64::from(sessions.is_available()));
        page.gauge(
            "store_available",
            "Whether the store did what it was last asked",
            available,
        );
        let named = |used: &StoreUse| vec![("operation", used.name.to_owned())];
        let times = uses
            .operations()
            .map(|used| (named(used), used.took.snapshot()));
        page.durations(
            "store_operation_duration",
            "The time of an operation of the store",
            times,
        );
        let errors = uses
            .operations()
            .map(|used| (named(used), used.errors.sum()));
        page.counter(
            "store_errors",
            "Operations of the store that failed",
            errors,
        );
        let open = one(sockets.len() as u64);
        page.gauge("websockets_open", "WebSockets that are open", open);
        let (received, sent) = sockets.bytes();
        let help = "Bytes that WebSockets brought from clients";
        page.bytes("websocket_received", help, one(received));
        let help = "Bytes that WebSockets brought from servers";
        page.bytes("websocket_sent", help, one(sent));
    }
}

/// Shows what becomes of spans.
fn spans(lasting: &Lasting) -> impl Fn(&mut Page<'_>) + Send + 'static {
    let queue = Arc::clone(lasting.spans.queue());
    move |page| {
        let counts = &queue.counts;
        let exported = one(counts.exported.load(Ordering::Relaxed));
        page.counter("spans_exported", "Spans that the collector took", exported);
        let dropped = [
            ("no_room", &counts.no_room),
            ("failed", &counts.failed),
            ("rejected", &counts.rejected),
        ];
        let dropped = dropped.map(|(reason, count)| {
            let labels = vec![("reason", reason.to_owned())];
            (labels, count.load(Ordering::Relaxed))
        });
        let help = "Spans that the collector did not take, by reason";
        page.counter("spans_dropped", help, dropped);
        let waiting = one(queue.waiting() as u64);
        page.gauge("spans_waiting", "Spans that wait to be sent", waiting);
    }
}

/// Shows what a reload replaces.
fn generation(
    lasting: &Lasting,
    generations: Weak<Generations>,
) -> impl Fn(&mut Page<'_>) + Send + 'static {
    let (uses, clock) = (Arc::clone(&lasting.cache_uses), lasting.clock.clone());
    move |page| {
        let Some(generation) = generations
            .upgrade()
            .map(|generations| generations.current())
        else {
            return;
        };
        let hits = one(uses.hits.sum());
        page.counter("token_cache_hits", "Tokens that the cache had", hits);
        let misses = one(uses.misses.sum());
        page.counter(
            "token_cache_misses",
            "Tokens that were verified anew",
            misses,
        );
        let evictions = one(uses.evictions.sum());
        page.counter(
            "token_cache_evictions",
            "Tokens that made room for others",
            evictions,
        );
        let entries = one(generation.requests.remembered_tokens() as u64);
        page.gauge("token_cache_entries", "Tokens in the cache", entries);
        let servers = generation.upstreams.standings().into_iter();
        let servers = servers.map(|(upstream, server, is_up)| {
            let labels = vec![("upstream", upstream), ("server", server)];
            (labels, u64::from(is_up))
        });
        page.gauge("upstream_server_up", "Whether a server is asked", servers);
        let keys = generation.keys.by_state(clock.unix_ms()).into_iter();
        let keys = keys.map(|(state, count)| (vec![("state", state.to_owned())], count as u64));
        page.gauge("keys", "Signing keys by state", keys);
    }
}

fn one<V>(value: V) -> [(Labels, V); 1] {
    [(vec![], value)]
}
