//! What `menshen --version` says: the version, the commit and its date, and what was built in.

/// The version and the commit, in one line.
pub(super) const LINE: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("MENSHEN_COMMIT"),
    ", ",
    env!("MENSHEN_DATE"),
    ")"
);

/// The same with everything else.
pub(super) const LINES: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("MENSHEN_COMMIT"),
    "\ndate: ",
    env!("MENSHEN_DATE"),
    "\nfeatures: embedded, redis, http2, websocket, rustls, aws-lc-rs, mimalloc, sd-notify",
);
