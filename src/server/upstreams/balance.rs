//! Load balancing: round robin, least connections, or rendezvous hashing (highest random weight).

use std::sync::Arc;

use super::hashing::mix;
use super::server::Server;
use crate::config::Balance;

/// Picks among `candidates`, which are those of the `servers` that come into question, with their positions.
pub(super) fn choose<'s>(
    balance: Balance,
    servers: usize,
    turn: usize,
    key: Option<u64>,
    candidates: impl Iterator<Item = (usize, &'s Arc<Server>)>,
) -> Option<(usize, &'s Arc<Server>)> {
    let servers = servers.max(1);
    let place_in_turn = |at: usize| (at + servers - turn % servers) % servers;
    match (balance, key) {
        // Rendezvous hashing: the server with the highest score for a key wins. When a server goes, only its own keys move, and
        // they spread over all others. The order in the file does not matter.
        (Balance::Hash, Some(key)) => {
            candidates.max_by_key(|(_, server)| mix(server.key ^ mix(key)))
        }
        (Balance::LeastConnections, _) => {
            candidates.min_by_key(|(at, server)| (server.busy(), place_in_turn(*at)))
        }
        (Balance::RoundRobin | Balance::Hash, _) => {
            candidates.min_by_key(|(at, _)| place_in_turn(*at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hashing::key;
    use super::super::server::Busy;
    use super::*;
    use crate::config::ServerAddress;

    fn servers(names: &[&str]) -> Vec<Arc<Server>> {
        let address = |name: &&str| ServerAddress::Tcp(format!("{name}:80"));
        let server = |name| Arc::new(Server::new(&address(name)));
        names.iter().map(server).collect()
    }

    fn chosen(
        balance: Balance,
        servers: &[Arc<Server>],
        turn: usize,
        user: Option<&str>,
    ) -> String {
        let key = user.map(|user| key(user.as_bytes()));
        let candidates = servers.iter().enumerate();
        let (_, server) = choose(balance, servers.len(), turn, key, candidates).unwrap();
        server.address.to_string()
    }

    #[test]
    fn servers_take_turns() {
        let servers = servers(&["a", "b", "c"]);
        let chosen = |turn| chosen(Balance::RoundRobin, &servers, turn, Some("u"));
        let turns: Vec<String> = (0..4).map(chosen).collect();
        assert_eq!(turns, ["a:80", "b:80", "c:80", "a:80"]);
    }

    #[test]
    fn the_idlest_server_is_chosen_and_equals_take_turns() {
        let servers = servers(&["a", "b"]);
        let chosen = |turn| chosen(Balance::LeastConnections, &servers, turn, None);
        assert_eq!([chosen(0), chosen(1)], ["a:80", "b:80"]);
        let busy = Busy::with(&servers[0]);
        assert_eq!([chosen(0), chosen(1)], ["b:80", "b:80"]);
        drop(busy);
        assert_eq!(chosen(0), "a:80");
    }

    #[test]
    fn a_user_stays_with_a_server_whatever_the_turn_and_the_order() {
        let (one, two) = (servers(&["a", "b", "c"]), servers(&["c", "a", "b"]));
        for user in ["u1", "u2", "u3", "u4"] {
            let first = chosen(Balance::Hash, &one, 0, Some(user));
            assert_eq!(first, chosen(Balance::Hash, &one, 1, Some(user)));
            assert_eq!(first, chosen(Balance::Hash, &two, 2, Some(user)));
        }
    }

    #[test]
    fn users_are_spread_evenly_and_only_those_of_a_server_that_goes_move() {
        let (all, fewer) = (servers(&["a", "b", "c", "d"]), servers(&["a", "b", "d"]));
        let mut each = std::collections::BTreeMap::new();
        for user in 0..4000 {
            let user = format!("oHa2-5qTK_{user:06}");
            let before = chosen(Balance::Hash, &all, 0, Some(&user));
            let after = chosen(Balance::Hash, &fewer, 0, Some(&user));
            assert!(before == after || before == "c:80");
            *each.entry(before).or_insert(0) += 1;
        }
        assert!(
            each.values().all(|users| (850..1150).contains(users)),
            "{each:?}"
        );
    }

    #[test]
    fn nobody_is_sent_to_the_next_in_turn() {
        let servers = servers(&["a", "b"]);
        let chosen = |turn| chosen(Balance::Hash, &servers, turn, None);
        assert_eq!([chosen(0), chosen(1)], ["a:80", "b:80"]);
    }
}
