//! Who will be let in where, in three lines: the end of `menshen check`.

use std::fmt;

use crate::config::{Auth, Config, Route};

/// More routes than these are counted and not listed.
const MOST: usize = 6;

/// What a configuration will do.
pub(super) struct AccessSummary<'c>(pub(super) &'c Config);

impl fmt::Display for AccessSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = &self.0.server.auth_path;
        let logged_in = self.places(&[Auth::Required, Auth::SignedUrl]);
        writeln!(f, "  only logged in    {logged_in}")?;
        writeln!(f, "  logged in or not  {}", self.places(&[Auth::Optional]))?;
        let public = self.places(&[Auth::Public]);
        let and = match public.as_str() {
            NOWHERE => String::new(),
            public => format!("{public}; "),
        };
        write!(
            f,
            "  everybody         {and}Menshen's own endpoints below {own}"
        )
    }
}

const NOWHERE: &str = "nowhere";

impl AccessSummary<'_> {
    /// Lists where one of some rules holds.
    fn places(&self, rules: &[Auth]) -> String {
        let routes = self.0.routes.iter();
        let routes = routes.filter(|route| rules.contains(&route.auth));
        let mut places: Vec<String> = routes.map(|route| self.place(route)).collect();
        let more = places.len().saturating_sub(MOST);
        if more > 0 {
            places.truncate(MOST);
            places.push(format!("and {more} more"));
        }
        match places.is_empty() {
            true => NOWHERE.to_owned(),
            false => places.join("; "),
        }
    }

    fn place(&self, route: &Route) -> String {
        let mut place = String::new();
        if !route.methods.is_empty() {
            let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
            place = format!("{} ", methods.join(", "));
        }
        place.push_str(route.host.as_deref().unwrap_or_default());
        place.push_str(&route.path);
        // An app that is left out is what an operator looks for.
        if route.auth != Auth::Public && route.apps.len() < self.0.apps.len() {
            let apps = route.apps.iter().filter_map(|app| self.0.apps.get(*app));
            let apps: Vec<&str> = apps.map(|app| app.name.as_str()).collect();
            place.push_str(&format!(", users of {}", apps.join(", ")));
        }
        if route.auth == Auth::SignedUrl {
            place.push_str(", or with a signed URL");
        }
        let upstream = self.0.upstreams.get(route.upstream);
        let upstream = upstream.map(|upstream| upstream.name.as_str());
        format!("{place} (to {})", upstream.unwrap_or_default())
    }
}
