//! What a running process cannot take over from a changed configuration.

use super::Limits;
use super::model::{Config, Server};

impl Config {
    /// Takes from the configuration that runs what only a start can change, and names the keys that differ.
    pub fn keep(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Kept(Vec::new());
        kept.take_server(&mut self.server, &running.server);
        // A secret that is only needed at another address must not be lost at this one.
        if self.control.listen != running.control.listen {
            kept.take("control", &mut self.control, &running.control);
        }
        let (mode, running_mode) = (&mut self.control.socket_mode, &running.control.socket_mode);
        kept.take("control.socket_mode", mode, running_mode);
        // Tokens and sessions outlive a reload, and what is known of them was written by these.
        kept.take("token", &mut self.token, &running.token);
        kept.take("session", &mut self.session, &running.session);
        kept.take("log.format", &mut self.log.format, &running.log.format);
        let (queue, running_queue) = (&mut self.traces.queue, &running.traces.queue);
        kept.take("traces.queue", queue, running_queue);
        kept.0
    }
}

struct Kept(Vec<&'static str>);

impl Kept {
    /// Names every field, so that none is added without a decision.
    fn take_server(&mut self, new: &mut Server, old: &Server) {
        let Server {
            listen,
            redirect_http,
            public_url,
            tls,
            trusted_proxies,
            proxy_protocol,
            threads,
            max_header_bytes,
            limits,
            upstream_pool,
            drain,
            shutdown_delay,
            upgrade_socket,
            // A reload takes over what follows.
            auth_path: _,
            max_body_bytes: _,
            min_body_rate: _,
            client_timeout: _,
            keepalive: _,
            // Whoever watches asks what runs.
            watch: _,
        } = new;
        self.take("server.listen", listen, &old.listen);
        self.take("server.redirect_http", redirect_http, &old.redirect_http);
        self.take("server.public_url", public_url, &old.public_url);
        self.take("server.tls", tls, &old.tls);
        if *proxy_protocol != old.proxy_protocol {
            // Where proxies still have to speak, they must still be believed.
            self.take(
                "server.trusted_proxies",
                trusted_proxies,
                &old.trusted_proxies,
            );
        }
        self.take("server.proxy_protocol", proxy_protocol, &old.proxy_protocol);
        self.take("server.threads", threads, &old.threads);
        self.take("server.max_header", max_header_bytes, &old.max_header_bytes);
        self.take("server.upstream_pool", upstream_pool, &old.upstream_pool);
        self.take("server.drain", drain, &old.drain);
        self.take("server.shutdown_delay", shutdown_delay, &old.shutdown_delay);
        self.take("server.upgrade_socket", upgrade_socket, &old.upgrade_socket);
        self.take_limits(limits, &old.limits);
    }

    fn take_limits(&mut self, new: &mut Limits, old: &Limits) {
        let Limits {
            head_timeout,
            max_connections,
            max_connections_per_address,
            // A reload takes over what follows.
            max_requests_per_address: _,
            requests_per_minute: _,
            request_burst: _,
        } = new;
        self.take("server.head_timeout", head_timeout, &old.head_timeout);
        self.take(
            "server.max_connections",
            max_connections,
            &old.max_connections,
        );
        self.take(
            "server.max_connections_per_address",
            max_connections_per_address,
            &old.max_connections_per_address,
        );
    }

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
    fn proxies_that_still_have_to_speak_are_still_believed() {
        let env = |_: &str| Some("secret".to_owned());
        let with = |lines: &str| {
            let text = RUNNING.replacen("[server]", &format!("[server]\n{lines}"), 1);
            parse(&text, "x", &env).unwrap()
        };
        let running = with("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]");
        let mut wanted = with("");
        let kept = ["server.trusted_proxies", "server.proxy_protocol"];
        assert_eq!(wanted.keep(&running), kept);
        assert_eq!(wanted.server, running.server);
        let mut others = with("proxy_protocol = true\ntrusted_proxies = [\"192.0.2.1\"]");
        assert!(others.keep(&running).is_empty());
    }

    #[test]
    fn where_browsers_are_sent_waits_for_a_start() {
        let env = |_: &str| Some("secret".to_owned());
        let running = parse(RUNNING, "running", &env).unwrap();
        let wanted = RUNNING.replacen(
            "[server]",
            "[server]\npublic_url = \"https://a.example\"",
            1,
        );
        let mut wanted = parse(&wanted, "wanted", &env).unwrap();
        assert_eq!(wanted.keep(&running), ["server.public_url"]);
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
    fn who_may_connect_to_the_control_socket_waits_for_a_start_and_callers_do_not() {
        let env = |name: &str| Some(format!("0123456789abcdef-{name}"));
        let with = |control: &str| parse(&format!("{RUNNING}[control]\n{control}"), "x", &env);
        let running = with("listen = \"unix:/run/c.sock\"").unwrap();
        let caller = "[[control.caller]]\nname = \"a\"\nsecret_env = \"A\"\ncalls = [\"metrics\"]";
        let wanted = format!("listen = \"unix:/run/c.sock\"\nsocket_mode = \"0660\"\n{caller}");
        let mut wanted = with(&wanted).unwrap();
        assert_eq!(wanted.keep(&running), ["control.socket_mode"]);
        assert_eq!(wanted.control.socket_mode, 0o600);
        assert_eq!(wanted.control.callers.len(), 1);
    }

    #[test]
    fn the_same_again_needs_no_restart() {
        let env = |_: &str| Some("secret".to_owned());
        let running = parse(RUNNING, "running", &env).unwrap();
        assert!(running.clone().keep(&running).is_empty());
    }
}
