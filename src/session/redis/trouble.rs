//! The passing states of Redis, each by its name: another configuration does not help.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A state in which Redis refuses commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisState {
    Away,
    Password,
    Loading,
    MasterDown,
    ReadOnly,
    PartDown,
    SlotMoving,
    Busy,
    NoMemory,
    FewReplicas,
    DiskFailed,
}

const ALL: [RedisState; 11] = [
    RedisState::Away,
    RedisState::Password,
    RedisState::Loading,
    RedisState::MasterDown,
    RedisState::ReadOnly,
    RedisState::PartDown,
    RedisState::SlotMoving,
    RedisState::Busy,
    RedisState::NoMemory,
    RedisState::FewReplicas,
    RedisState::DiskFailed,
];

impl RedisState {
    /// Returns the state that an error means; `None` means that Redis works, and the command or a permission is wrong.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        let kind = error.kind();
        let of_connection = [
            ErrorKind::Io,
            ErrorKind::Parse,
            ErrorKind::ClusterConnectionNotFound,
            ErrorKind::MasterNameNotFoundBySentinel,
        ];
        if of_connection.contains(&kind) {
            // Why no server of a Cluster could be connected is only a text.
            let told = error.to_string();
            let mut codes = Self::Password.codes().iter();
            let refused = codes.any(|code| told.contains(code));
            return Some(if refused { Self::Password } else { Self::Away });
        }
        if kind == ErrorKind::AuthenticationFailed {
            Some(Self::Password)
        } else if kind == ErrorKind::Server(ServerErrorKind::Moved) {
            Some(Self::Away)
        } else if kind == ErrorKind::Server(ServerErrorKind::NoPerm) {
            None
        } else if kind == ErrorKind::Server(ServerErrorKind::Ask) {
            // The driver has followed the slot's keys from one server to the other until it gave up.
            Some(Self::SlotMoving)
        } else {
            ALL.into_iter().find(|trouble| trouble.is_told_by(error))
        }
    }

    fn is_told_by(self, error: &RedisError) -> bool {
        let of_code = error
            .code()
            .is_some_and(|code| self.codes().contains(&code));
        // The error of a command in a script is only a text on older servers, and in a pipeline on all.
        let told = if of_code {
            String::new()
        } else {
            error.to_string()
        };
        of_code
            || told
                .split(|c: char| !c.is_ascii_uppercase())
                .any(|word| self.codes().contains(&word))
    }

    /// Returns the words with which Redis's errors begin.
    fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Away => &[],
            Self::Password => &["WRONGPASS", "NOAUTH"],
            Self::Loading => &["LOADING"],
            Self::MasterDown => &["MASTERDOWN"],
            Self::ReadOnly => &["READONLY"],
            Self::PartDown => &["CLUSTERDOWN"],
            Self::SlotMoving => &["TRYAGAIN"],
            Self::Busy => &["BUSY"],
            Self::NoMemory => &["OOM"],
            Self::FewReplicas => &["NOREPLICAS"],
            Self::DiskFailed => &["MISCONF"],
        }
    }

    /// Returns whether another connection may lead to a server that does not refuse.
    pub(super) fn is_of_connection(self) -> bool {
        match self {
            Self::Away
            | Self::Password
            | Self::Loading
            | Self::MasterDown
            | Self::ReadOnly
            | Self::PartDown => true,
            Self::SlotMoving
            | Self::Busy
            | Self::NoMemory
            | Self::FewReplicas
            | Self::DiskFailed => false,
        }
    }

    /// Returns the state as a sentence about Redis, with the code that its manual explains.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Away => "Redis does not answer",
            Self::Password => "Redis does not accept the password (WRONGPASS or NOAUTH)",
            Self::Loading => "Redis is loading its data (LOADING)",
            Self::MasterDown => "Redis has lost its master (MASTERDOWN)",
            Self::ReadOnly => "Redis is a replica and takes no writes (READONLY)",
            Self::PartDown => "a part of the Redis Cluster is down (CLUSTERDOWN)",
            Self::SlotMoving => "a slot of the Redis Cluster is being moved (TRYAGAIN)",
            Self::Busy => "Redis is busy with a script of somebody (BUSY)",
            Self::NoMemory => "Redis has no memory left and takes no writes (OOM)",
            Self::FewReplicas => "Redis has too few replicas and takes no writes (NOREPLICAS)",
            Self::DiskFailed => "Redis cannot save to its disk and takes no writes (MISCONF)",
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn error(line: &str) -> RedisError {
        let mut parser = redis::Parser::new();
        let bytes = format!("-{line}\r\n");
        let value = parser.parse_value(bytes.as_bytes()).unwrap();
        let Value::ServerError(error) = value else {
            panic!("{value:?}");
        };
        error.into()
    }

    #[test]
    fn each_state_is_known_by_what_redis_says() {
        for (line, trouble) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:3.",
                RedisState::NoMemory,
            ),
            (
                "ERR Error running script (call to f_1f): @user_script:3: -OOM command not allowed when used memory > 'maxmemory'.",
                RedisState::NoMemory,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                RedisState::FewReplicas,
            ),
            ("BUSY Redis is busy running a script.", RedisState::Busy),
            (
                "READONLY You can't write against a read only replica.",
                RedisState::ReadOnly,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but",
                RedisState::DiskFailed,
            ),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                RedisState::SlotMoving,
            ),
            ("ASK 866 127.0.0.1:7001", RedisState::SlotMoving),
            ("CLUSTERDOWN The cluster is down", RedisState::PartDown),
            (
                "LOADING Redis is loading the dataset in memory",
                RedisState::Loading,
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                RedisState::MasterDown,
            ),
            ("NOAUTH Authentication required.", RedisState::Password),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                RedisState::Password,
            ),
        ] {
            assert_eq!(RedisState::of(&error(line)), Some(trouble), "{line}");
            let told = trouble.sentence();
            assert!(
                trouble.codes().iter().any(|code| told.contains(code)),
                "{told}"
            );
        }
    }

    #[test]
    fn what_does_not_pass_is_no_such_state() {
        for line in [
            "NOPERM this user has no permissions to run the 'get' command",
            "ERR unknown command",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ] {
            assert_eq!(RedisState::of(&error(line)), None, "{line}");
        }
    }
}
