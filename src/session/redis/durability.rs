//! Warns of settings of Redis with which sessions can be lost.

use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

use super::connect::Connection;

/// Returns a sentence for each such setting; none where a service does not tell its settings.
pub(super) async fn warnings(connection: &mut Connection) -> RedisResult<Vec<String>> {
    let info: RedisResult<Value> = redis::cmd("INFO").query_async(connection).await;
    let info = match info {
        Ok(info) => info,
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
            return Err(error);
        }
        Err(error) => {
            tracing::debug!(%error, "Redis does not say how it is set up");
            return Ok(Vec::new());
        }
    };
    let mut found: Vec<String> = texts(info)
        .iter()
        .flat_map(|info| of_server(info))
        .collect();
    // The servers of a Cluster mostly have the same settings.
    found.sort();
    found.dedup();
    Ok(found)
}

/// Returns the texts in the answer of one server or of several.
pub(super) fn texts(answer: Value) -> Vec<String> {
    if let Value::BulkString(bytes) = answer {
        vec![String::from_utf8_lossy(&bytes).into_owned()]
    } else if let Value::SimpleString(text) | Value::VerbatimString { text, .. } = answer {
        vec![text]
    } else if let Value::Array(several) = answer {
        several.into_iter().flat_map(texts).collect()
    } else if let Value::Map(several) = answer {
        let several = several.into_iter();
        several.flat_map(|(_, answer)| texts(answer)).collect()
    } else {
        Vec::new()
    }
}

/// Returns a value of `INFO` by its name.
pub(super) fn value<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let mut lines = info.lines().filter_map(|line| line.trim().split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn of_server(info: &str) -> Vec<String> {
    let value = |name: &str| value(info, name);
    let mut warnings = Vec::new();
    let limited = value("maxmemory").is_some_and(|limit| limit != "0");
    let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction");
    if let Some(policy) = policy.filter(|_| limited) {
        warnings.push(format!(
            "Redis's maxmemory-policy is {policy}, so that it may throw away sessions and revocations; set noeviction"
        ));
    }
    if value("aof_enabled") == Some("0") {
        warnings.push(
            "Redis's appendonly is off, so that a crash loses the logins and logouts since its last snapshot; set appendonly yes"
                .to_owned(),
        );
    }
    let replicas = value("connected_slaves").is_some_and(|count| count != "0");
    if replicas && value("min_slaves_good_slaves").is_none() {
        warnings.push(
            "Redis's min-replicas-to-write is 0, so that a master which lost its replicas takes logins and logouts that a \
             failover loses; set 1"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_up_well_is_passed_over() {
        let info = "# Memory\r\nmaxmemory:1000000\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n\
                    connected_slaves:1\r\nmin_slaves_good_slaves:1\r\n";
        assert_eq!(of_server(info), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_loses_sessions_has_its_sentence() {
        let info = "maxmemory:1000000\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\nconnected_slaves:2\r\n";
        let warnings = of_server(info);
        for (warning, word) in warnings
            .iter()
            .zip(["allkeys-lru", "appendonly", "min-replicas"])
        {
            assert!(warning.contains(word), "{warning}");
        }
        assert_eq!(warnings.len(), 3);
    }

    #[test]
    fn a_policy_without_a_limit_throws_nothing_away() {
        let info = "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\nconnected_slaves:0\r\n";
        assert_eq!(of_server(info), Vec::<String>::new());
    }
}
