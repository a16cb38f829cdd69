//! What a running process cannot take over from a changed configuration.

use super::model::Config;

impl Config {
    /// Takes from the configuration that runs what only a start can change, and names the keys that differ.
    pub fn keep(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Kept(Vec::new());
        let (new, old) = (&mut self.server, &running.server);
        kept.take("server.listen", &mut new.listen, &old.listen);
        let redirects = (&mut new.redirect_http, &old.redirect_http);
        kept.take("server.redirect_http", redirects.0, redirects.1);
        kept.take("server.tls", &mut new.tls, &old.tls);
        let proxies = (&mut new.proxy_protocol, &old.proxy_protocol);
        kept.take("server.proxy_protocol", proxies.0, proxies.1);
        kept.take("server.threads", &mut new.threads, &old.threads);
        let header = (&mut new.max_header_bytes, &old.max_header_bytes);
        kept.take("server.max_header", header.0, header.1);
        let pool = (&mut new.upstream_pool, &old.upstream_pool);
        kept.take("server.upstream_pool", pool.0, pool.1);
        kept.take("server.drain", &mut new.drain, &old.drain);
        let upgrade = (&mut new.upgrade_socket, &old.upgrade_socket);
        kept.take("server.upgrade_socket", upgrade.0, upgrade.1);
        let (new, old) = (&mut new.limits, &old.limits);
        let head = (&mut new.head_timeout, &old.head_timeout);
        kept.take("server.head_timeout", head.0, head.1);
        let most = (&mut new.max_connections, &old.max_connections);
        kept.take("server.max_connections", most.0, most.1);
        let each = (
            &mut new.max_connections_per_address,
            &old.max_connections_per_address,
        );
        kept.take("server.max_connections_per_address", each.0, each.1);
        // A secret that is only needed at another address must not be lost at this one.
        if self.control.listen != running.control.listen {
            kept.take("control", &mut self.control, &running.control);
        }
        // Tokens and sessions outlive a reload, and what is known of them was written by these.
        kept.take("token", &mut self.token, &running.token);
        kept.take("session", &mut self.session, &running.session);
        kept.take("log.format", &mut self.log.format, &running.log.format);
        kept.0
    }
}

struct Kept(Vec<&'static str>);

impl Kept {
    fn take<T: Clone + PartialEq>(&mut self, key: &'static str, new: &mut T, old: &T) {
        if new != old {
            self.0.push(key);
            new.clone_from(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    const RUNNING: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n[[app]]\nname = \"shop\"\nkind = \"mini_program\"\nappid = \"wx0123456789abcdef\"\nsecret_env = \"S\"\n[[upstream]]\nname = \"api\"\nservers = [\"127.0.0.1:3000\"]\n[[route]]\npath = \"/\"\nupstream = \"api\"\nauth = \"required\"\n";

    #[test]
    fn what_only_a_start_can_change_is_kept_and_named() {
        let env = |_: &str| Some("secret".to_owned());
        let running = parse(RUNNING, "running", &env).unwrap();
        let wanted = RUNNING.replace("127.0.0.1:0", "127.0.0.1:1") + "[session]\nttl = \"1h\"\n";
        let wanted = wanted.replace("path = \"/\"", "path = \"/api\"");
        let mut wanted = parse(&wanted, "wanted", &env).unwrap();
        assert_eq!(wanted.keep(&running), ["server.listen", "session"]);
        assert_eq!(wanted.server.listen, running.server.listen);
        assert_eq!(wanted.session, running.session);
        assert_ne!(wanted.routes, running.routes);
    }

    #[test]
    fn the_secret_of_the_control_listener_changes_unless_its_address_does() {
        let env = |name: &str| Some(format!("0123456789abcdef-{name}"));
        let with = |control: &str| parse(&format!("{RUNNING}[control]\n{control}"), "x", &env);
        let public = "listen = \"0.0.0.0:9090\"\nsecret_env = \"OLD\"";
        let running = with(public).unwrap();
        let mut renewed = with(&public.replace("OLD", "NEW")).unwrap();
        assert!(renewed.keep(&running).is_empty());
        assert_ne!(renewed.control, running.control);
        let mut moved = with("listen = \"127.0.0.1:9090\"").unwrap();
        assert_eq!(moved.keep(&running), ["control"]);
        assert_eq!(moved.control, running.control);
    }

    #[test]
    fn the_same_again_needs_no_restart() {
        let env = |_: &str| Some("secret".to_owned());
        let running = parse(RUNNING, "running", &env).unwrap();
        assert!(running.clone().keep(&running).is_empty());
    }
}
