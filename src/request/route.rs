//! Finds the route of a request: the more specific host first, then the longest prefix.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use http::Method;

use super::{Admitted, Denial, NormalPath};
use crate::config::Route;

/// The routes by host and prefix, made once from the configuration.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Routes for one host.
    exact: HashMap<String, Prefixes>,
    /// Routes for every host below a suffix such as `.example.com`, the longest suffix first.
    below: Vec<(String, Prefixes)>,
    /// Routes for any host.
    any: Prefixes,
    /// Whether a prefix has capitals, so that a path without them may still be read as one with them.
    has_capitals: bool,
}

#[derive(Debug, Default)]
struct Prefixes {
    /// Only the configuration puts keys in, so a fast hash is a safe one.
    routes: HashMap<String, Vec<Entry>, RandomState>,
    /// The prefixes as a backend that passes over case knows them.
    folded: HashSet<String, RandomState>,
    /// The most segments a prefix has: what is deeper in a path cannot matter.
    deepest: usize,
}

#[derive(Debug)]
struct Entry {
    route: usize,
    methods: Vec<Method>,
}

impl RouteTable {
    /// Makes the table.
    pub fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let entry = Entry {
                route: index,
                methods: route.methods.clone(),
            };
            table.has_capitals |= has_capitals(&route.path);
            table
                .prefixes_of(route.host.as_deref())
                .insert(&route.path, entry);
        }
        table
            .below
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    /// Returns the index of the route that a request takes.
    pub fn find(&self, request: &Admitted<'_>) -> Result<usize, Denial> {
        let found = self.look_up(request.host, request.path.as_str(), request.method);
        if !self.is_read_alike(request, &request.path, &found) {
            return Err(Denial::PathAmbiguous);
        }
        found
    }

    /// Returns whether whoever reads a path otherwise gets it under the rules of the same route.
    fn is_read_alike(
        &self,
        request: &Admitted<'_>,
        path: &NormalPath<'_>,
        found: &Result<usize, Denial>,
    ) -> bool {
        let (host, text) = (request.host, path.as_str());
        let look_up = |path: &str| self.look_up(host, path, request.method);
        let other = path.other_reading();
        if other
            .as_deref()
            .is_some_and(|other| look_up(other) != *found)
        {
            return false;
        }
        let case_matters = path.has_capitals() || self.has_capitals;
        let other = other.as_deref().unwrap_or(text);
        if case_matters && !(self.ignores_case(host, text) && self.ignores_case(host, other)) {
            return false;
        }
        if let Some([folded, merged]) = path.folded()
            && !(self.leads_alike(host, text, &folded) && self.leads_alike(host, text, &merged))
        {
            return false;
        }
        path.decoded_again().is_none_or(|again| {
            look_up(again.as_str()) == *found && self.is_read_alike(request, again, found)
        })
    }

    /// Returns whether a path leads to the same prefix for those that pass over case, as Express and Windows do.
    ///
    /// Of prefixes that differ in nothing but case the one that is spelled as the path counts.
    pub(super) fn ignores_case(&self, host: &str, path: &str) -> bool {
        self.leads_alike(host, path, &path.to_ascii_lowercase())
    }

    /// Returns whether a path leads to the same prefix as its reading in small letters does where case is passed over.
    fn leads_alike(&self, host: &str, path: &str, folded: &str) -> bool {
        let found = self.first(host, |prefixes| {
            let (length, _) = prefixes.longest(path, |prefix| prefixes.routes.get(prefix))?;
            Some((std::ptr::from_ref(prefixes), length))
        });
        let otherwise = self.first(host, |prefixes| {
            let (length, _) = prefixes.longest(folded, |prefix| prefixes.folded.get(prefix))?;
            Some((std::ptr::from_ref(prefixes), length))
        });
        found == otherwise
    }

    fn prefixes_of(&mut self, host: Option<&str>) -> &mut Prefixes {
        let Some(host) = host else {
            return &mut self.any;
        };
        let Some(suffix) = host.strip_prefix('*') else {
            return self.exact.entry(host.to_owned()).or_default();
        };
        let at = self
            .below
            .iter()
            .position(|(known, _)| known == suffix)
            .unwrap_or_else(|| {
                self.below.push((suffix.to_owned(), Prefixes::default()));
                self.below.len() - 1
            });
        match self.below.get_mut(at) {
            Some((_, prefixes)) => prefixes,
            None => &mut self.any,
        }
    }

    /// Looks a path up under the one reading that it is given in.
    pub(super) fn look_up(&self, host: &str, path: &str, method: &Method) -> Result<usize, Denial> {
        let entries = self.first(host, |prefixes| {
            let found = prefixes.longest(path, |prefix| prefixes.routes.get(prefix));
            found.map(|(_, entries)| entries)
        });
        entries.map_or(Err(Denial::RouteUnknown), |entries| choose(entries, method))
    }

    /// Returns what `find` finds first, the more specific hosts' prefixes before the others.
    fn first<'t, T>(&'t self, host: &str, find: impl Fn(&'t Prefixes) -> Option<T>) -> Option<T> {
        let folded;
        let host = if has_capitals(host) {
            folded = host.to_ascii_lowercase();
            &folded
        } else {
            host
        };
        let exact = self.exact.get(host);
        let below = self
            .below
            .iter()
            .filter(|(suffix, _)| host.ends_with(suffix.as_str()))
            .map(|(_, prefixes)| prefixes);
        exact
            .into_iter()
            .chain(below)
            .chain(std::iter::once(&self.any))
            .find_map(find)
    }
}

impl Prefixes {
    fn insert(&mut self, prefix: &str, entry: Entry) {
        self.deepest = self.deepest.max(segments(prefix));
        self.folded.insert(prefix.to_ascii_lowercase());
        self.routes
            .entry(prefix.to_owned())
            .or_default()
            .push(entry);
    }

    /// Returns the length of a path's longest prefix that `find` finds, and what it finds.
    fn longest<T>(&self, path: &str, find: impl Fn(&str) -> Option<T>) -> Option<(usize, T)> {
        if self.routes.is_empty() {
            return None;
        }
        let mut candidate = first_segments(path, self.deepest);
        loop {
            if let Some(found) = find(candidate) {
                return Some((candidate.len(), found));
            }
            match candidate.bytes().rposition(|b| b == b'/') {
                Some(0) | None => return find("/").map(|found| (1, found)),
                Some(at) => candidate = candidate.get(..at).unwrap_or("/"),
            }
        }
    }
}

fn has_capitals(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}

fn choose(entries: &[Entry], method: &Method) -> Result<usize, Denial> {
    let first = |is_it: &dyn Fn(&Method) -> bool| {
        let mut fitting = entries.iter();
        fitting
            .find(|entry| entry.methods.is_empty() || entry.methods.iter().any(is_it))
            .map(|entry| entry.route)
    };
    let found = first(&|known| known == method);
    // Django and Werkzeug take `post` for POST.
    let otherwise = first(&|known| known.as_str().eq_ignore_ascii_case(method.as_str()));
    found.filter(|_| found == otherwise).ok_or_else(|| {
        let allowed = entries.iter().flat_map(|entry| entry.methods.clone());
        Denial::MethodNotAllowed(allowed.collect())
    })
}

fn segments(prefix: &str) -> usize {
    prefix.bytes().filter(|&b| b == b'/').count()
}

/// Cuts a path after so many segments, so that a long path costs no more than a short one.
fn first_segments(path: &str, count: usize) -> &str {
    let slashes = path.bytes().enumerate().filter(|(_, b)| *b == b'/');
    slashes
        .map(|(at, _)| at)
        .nth(count)
        .and_then(|at| path.get(..at))
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Version};

    use super::*;
    use crate::config::Auth;
    use crate::request::{Message, admit};

    fn route(host: Option<&str>, path: &str, methods: &[Method]) -> Route {
        Route {
            index: 0,
            host: host.map(str::to_owned),
            path: path.to_owned(),
            methods: methods.to_vec(),
            upstream: 0,
            auth: Auth::Required,
            on_missing: crate::config::OnMissing::Reject,
            apps: vec![0],
            strip_prefix: false,
            max_body_bytes: 0,
            forward_token: false,
            cors: crate::config::Cors::default(),
            timeouts: crate::config::UpstreamTimeouts::default(),
        }
    }

    fn find(table: &RouteTable, method: Method, host: &str, path: &str) -> Result<usize, Denial> {
        let headers = HeaderMap::new();
        let message = Message {
            method: &method,
            target: path.as_bytes(),
            authority: Some(("http", host)),
            version: Version::HTTP_2,
            headers: &headers,
        };
        table.find(&admit(&message, 10_000)?)
    }

    fn table() -> RouteTable {
        RouteTable::new(&[
            route(None, "/", &[]),
            route(None, "/api", &[]),
            route(None, "/api/v2", &[Method::GET]),
            route(Some("shop.example"), "/api", &[]),
            route(Some("*.example"), "/", &[]),
            route(None, "/api/v2", &[Method::POST]),
        ])
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let table = table();
        let any = |path: &str| find(&table, Method::GET, "other", path).unwrap();
        assert_eq!(any("/"), 0);
        assert_eq!(any("/apix"), 0);
        assert_eq!(any("/api"), 1);
        assert_eq!(any("/api/"), 1);
        assert_eq!(any("/api/v1/x/y/z"), 1);
        assert_eq!(any("/api/v2"), 2);
        assert_eq!(any("/api/v2/things"), 2);
        assert_eq!(any("/%61pi/v2"), 2);
    }

    #[test]
    fn a_more_specific_host_goes_first() {
        let table = table();
        let at = |host: &str, path: &str| find(&table, Method::GET, host, path).unwrap();
        assert_eq!(at("shop.example", "/api/v2"), 3);
        assert_eq!(at("SHOP.example:81", "/api"), 3);
        assert_eq!(at("shop.example", "/other"), 4);
        assert_eq!(at("a.b.example", "/api"), 4);
        assert_eq!(at("example", "/api"), 1);
        assert_eq!(at("notexample", "/x"), 0);
    }

    #[test]
    fn a_method_that_no_route_of_the_prefix_has_is_not_allowed() {
        let table = table();
        assert_eq!(find(&table, Method::POST, "h", "/api/v2"), Ok(5));
        assert_eq!(
            find(&table, Method::DELETE, "h", "/api/v2"),
            Err(Denial::MethodNotAllowed(vec![Method::GET, Method::POST]))
        );
    }

    #[test]
    fn a_path_whose_other_reading_takes_another_route_is_refused() {
        let table = table();
        for path in ["/api;x/v2", "//api", "/x;/../api"] {
            assert_eq!(
                find(&table, Method::GET, "h", path),
                Err(Denial::PathAmbiguous),
                "{path}"
            );
        }
        assert_eq!(find(&table, Method::GET, "h", "/x;y=1/z"), Ok(0));
        assert_eq!(find(&table, Method::GET, "h", "/api/v1;y//z"), Ok(1));
    }

    #[test]
    fn a_path_that_takes_another_route_in_another_case_is_refused() {
        let table = RouteTable::new(&[
            route(None, "/", &[]),
            route(None, "/admin", &[]),
            route(None, "/Reports", &[]),
            route(None, "/api/v1", &[]),
            route(None, "/API/V1", &[]),
            route(Some("shop.example"), "/only", &[]),
        ]);
        let find = |host: &str, path: &str| find(&table, Method::GET, host, path);
        for (host, path) in [
            ("h", "/ADMIN/users"),
            ("h", "/Admin"),
            ("h", "/adm%49n"),
            ("h", "/ADMIN;x/users"),
            ("h", "//ADMIN"),
            ("h", "/reports/all"),
            ("h", "/REPORTS"),
            ("h", "/Api/V1"),
            ("shop.example", "/ONLY"),
        ] {
            assert_eq!(find(host, path), Err(Denial::PathAmbiguous), "{path}");
        }
        for (path, expected) in [
            ("/Things/ABC", 0),
            ("/admin/Users/X", 1),
            ("/admins", 0),
            ("/Reports/Q1", 2),
            ("/api/v1/X", 3),
            ("/API/V1/x", 4),
            ("/ONLY", 0),
        ] {
            assert_eq!(find("h", path), Ok(expected), "{path}");
        }
        assert_eq!(find("shop.example", "/only/A"), Ok(5));
    }

    #[test]
    fn a_method_that_takes_another_route_for_who_passes_over_case_is_refused() {
        let table = RouteTable::new(&[
            route(None, "/", &[]),
            route(None, "/notes", &[Method::POST]),
            route(None, "/notes", &[]),
        ]);
        let asked = |method: &str, path| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            find(&table, method, "h", path)
        };
        for method in ["post", "Post", "pOST"] {
            let refused = Err(Denial::MethodNotAllowed(vec![Method::POST]));
            assert_eq!(asked(method, "/notes/1"), refused, "{method}");
        }
        for (method, path, expected) in [
            ("POST", "/notes/1", 1),
            ("GET", "/notes/1", 2),
            ("get", "/notes/1", 2),
            ("post", "/other", 0),
        ] {
            assert_eq!(asked(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_takes_another_route_for_who_decodes_again_or_folds_unicode_is_refused() {
        let table = RouteTable::new(&[
            route(None, "/", &[]),
            route(None, "/kiosk", &[]),
            route(None, "/Shop/admin", &[]),
        ]);
        for path in [
            "/%256biosk",
            "/%25256biosk/x",
            "/%254Biosk",
            "/kiosk%253bx",
            "/%E2%84%AAiosk",
            "/%25E2%2584%25AAiosk",
            "/%E2%84%AAIOSK/x",
            "/k%C4%B1osk",
            "/K%C4%B0OSK",
            "/kio%C5%BFk",
            "/%EF%BD%8Biosk",
            "/kiosk%EF%BC%8Fx",
            "/kiosk%EF%BC%9Bx",
            "/%EF%BC%8Fkiosk",
            "/%C5%BFhop/admin",
            "/Shop/%EF%BD%81dmin",
            "/ki%C2%ADosk",
            "/kiosk%E2%80%8B/x",
        ] {
            let found = find(&table, Method::GET, "h", path);
            assert_eq!(found, Err(Denial::PathAmbiguous), "{path}");
        }
        for (path, expected) in [
            ("/kiosk/%E2%84%AA", 1),
            ("/kiosk/%256b%E4%BD%A0%EF%BC%8F", 1),
            ("/%E4%BD%A0/kiosk", 0),
            ("/a%2520b", 0),
            ("/kiosk%25", 0),
            ("/kiosk%C3%A9", 0),
            ("/%E2%9D%A4%EF%B8%8F", 0),
            ("/Shop/admin/%C5%BF", 2),
        ] {
            assert_eq!(find(&table, Method::GET, "h", path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn nothing_matches_where_there_is_no_route() {
        let table = RouteTable::new(&[route(None, "/api", &[])]);
        assert_eq!(
            find(&table, Method::GET, "h", "/"),
            Err(Denial::RouteUnknown)
        );
    }
}
