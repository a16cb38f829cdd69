//! The fields of an access line: their names, and a set of them in one word.

use std::ops::BitOr;

/// A field of an access line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogField {
    /// The id of the exchange.
    RequestId,
    /// The trace that the client or a proxy before it named.
    TraceId,
    /// The method.
    Method,
    /// The host that was asked for.
    Host,
    /// The path, without its query.
    Path,
    /// A call of the private listener, as it is documented.
    Call,
    /// The status of the response.
    Status,
    /// What was decided.
    Decision,
    /// The code of a refusal.
    Reason,
    /// What is wrong with a token or a signature.
    TokenFault,
    /// The path of the route.
    Route,
    /// The app of the user.
    App,
    /// The session of the user.
    Session,
    /// A digest of the user's openid, or the openid itself where that is configured.
    OpenId,
    /// The server that was asked last.
    Server,
    /// The client's address.
    Client,
    /// Whose secret came to the private listener.
    Caller,
    /// What the client calls itself.
    UserAgent,
    /// The bytes of the request's body.
    Received,
    /// The bytes of the response's body.
    Sent,
    /// The time of the exchange in all.
    Elapsed,
    /// The time until the head of the server's response came.
    Upstream,
    /// Whether the exchange ended before its response did.
    Failed,
}

impl LogField {
    /// Every field, in the order in which they are declared.
    pub const ALL: [Self; 23] = [
        Self::RequestId,
        Self::TraceId,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::Call,
        Self::Status,
        Self::Decision,
        Self::Reason,
        Self::TokenFault,
        Self::Route,
        Self::App,
        Self::Session,
        Self::OpenId,
        Self::Server,
        Self::Client,
        Self::Caller,
        Self::UserAgent,
        Self::Received,
        Self::Sent,
        Self::Elapsed,
        Self::Upstream,
        Self::Failed,
    ];

    /// Returns its name in a line and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestId => "request_id",
            Self::TraceId => "trace_id",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Call => "call",
            Self::Status => "status",
            Self::Decision => "decision",
            Self::Reason => "reason",
            Self::TokenFault => "token_fault",
            Self::Route => "route",
            Self::App => "app",
            Self::Session => "session",
            Self::OpenId => "openid",
            Self::Server => "server",
            Self::Client => "client",
            Self::Caller => "caller",
            Self::UserAgent => "user_agent",
            Self::Received => "received_bytes",
            Self::Sent => "sent_bytes",
            Self::Elapsed => "elapsed_ms",
            Self::Upstream => "upstream_ms",
            Self::Failed => "failed",
        }
    }

    /// Finds a field by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFields(u32);

impl LogFields {
    /// What a line holds where nothing else is configured: everything but what clients call themselves, which is long.
    pub const USUAL: Self = Self::all().without(LogField::UserAgent);

    const fn all() -> Self {
        Self((1 << LogField::ALL.len()) - 1)
    }

    const fn without(self, field: LogField) -> Self {
        Self(self.0 & !(1 << field as u32))
    }

    /// Returns whether a field is among them.
    pub const fn has(self, field: LogField) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    /// Returns them as the bits of a number.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Makes a set of what [`Self::bits`] returned.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::all().0)
    }
}

impl FromIterator<LogField> for LogFields {
    fn from_iter<I: IntoIterator<Item = LogField>>(fields: I) -> Self {
        let bits = fields.into_iter().map(|field| 1 << field as u32);
        Self(bits.fold(0, u32::bitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_a_bit_and_a_name_of_its_own() {
        for (place, field) in LogField::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, place);
            assert_eq!(LogField::from_name(field.name()), Some(field));
            let alone: LogFields = [field].into_iter().collect();
            let found = LogField::ALL.into_iter().filter(|other| alone.has(*other));
            assert_eq!(found.collect::<Vec<_>>(), [field]);
        }
        assert!(!LogFields::USUAL.has(LogField::UserAgent));
        assert_eq!(
            LogFields::from_bits(LogFields::USUAL.bits()),
            LogFields::USUAL
        );
    }
}
