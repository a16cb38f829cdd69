//! What keeps a call from WeChat, and what an operator can do about it.
//!
//! The reason is found in the error's causes: the system's error, rustls's, that of our own resolver. hyper-util hides its type for a
//! proxy's refusal, so that one is known by its text, which a test watches. reqwest's own text holds the URL, and so the AppSecret:
//! it goes nowhere. Whatever stands in WeChat's place may have passed the code on, which is not sent again.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;

use super::resolver::Unresolved;

/// What keeps a call from WeChat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreachableCause {
    /// The host's name, or the proxy's, has no address.
    Name,
    /// The connection was refused or broke off.
    Refused,
    /// There was no connection in time.
    Slow,
    /// The certificate is of an authority that is not trusted.
    Untrusted,
    /// The certificate has expired or is not valid yet.
    OutOfDate,
    /// The certificate is for another name.
    OtherName,
    /// TLS failed in another way.
    Tls,
    /// The proxy wants to know who asks.
    ProxyAuth,
    /// The proxy made no connection.
    Proxy,
    /// Something else answered in WeChat's place.
    Page,
    /// The connection ended before there was an answer.
    BrokenOff,
    /// Nothing of these.
    Other,
}

impl UnreachableCause {
    /// Finds out why a call that was not sent failed, with the words of the system or of TLS where there are some.
    pub(super) fn of(error: &reqwest::Error) -> (Self, Option<String>) {
        let mut found = (Self::Other, None);
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(Unresolved(reason)) = error.downcast_ref() {
                return (Self::Name, Some(reason.to_string()));
            }
            if let Some(failed) = error.downcast_ref::<io::Error>() {
                let failed = innermost(failed);
                let tls = failed.get_ref().and_then(|inner| inner.downcast_ref());
                return match tls {
                    Some(tls) => (Self::of_tls(tls), Some(tls.to_string())),
                    None => (Self::of_system(failed), Some(failed.to_string())),
                };
            }
            // The crate does not show its type, but what it says is its own, and tests would notice another wording.
            match error.to_string().as_str() {
                "tunnel error: proxy authorization required" => return (Self::ProxyAuth, None),
                "tunnel error: failed to create underlying connection" => {}
                text if text.starts_with("tunnel error: ") => found = (Self::Proxy, None),
                _ => {}
            }
            cause = error.source();
        }
        if error.is_timeout() {
            return (Self::Slow, None);
        }
        found
    }

    /// Finds out why a connection could not be made, with the words of the system or of TLS.
    pub(super) fn of_io(error: &io::Error) -> (Self, String) {
        let failed = innermost(error);
        let tls = failed.get_ref().and_then(|inner| inner.downcast_ref());
        match tls {
            Some(tls) => (Self::of_tls(tls), tls.to_string()),
            None => (Self::of_system(failed), failed.to_string()),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return Self::Tls;
        };
        if matches!(
            reason,
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        ) {
            Self::OutOfDate
        } else if matches!(
            reason,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ) {
            Self::OtherName
        } else {
            Self::Untrusted
        }
    }

    fn of_system(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            Self::Slow
        } else {
            Self::Refused
        }
    }

    /// Returns what to look at.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Name => {
                "look at this machine's DNS, and at the names in wechat.api_base and wechat.proxy"
            }
            Self::Refused => "is the address right, and does a firewall let this machine out?",
            Self::Slow => {
                "does a firewall swallow connections? Where this machine goes out through a proxy, name it in wechat.proxy"
            }
            Self::Untrusted => {
                "does a proxy in between open TLS? Name its authority in wechat.ca_file, or have it let WeChat's host pass"
            }
            Self::OutOfDate => {
                "is this machine's clock right, and does a proxy in between show a certificate of its own?"
            }
            Self::OtherName => {
                "something else is at this address: look at wechat.api_base and at this machine's DNS"
            }
            Self::Tls => "does wechat.api_base speak https, and is there something in between?",
            Self::ProxyAuth => "give the proxy's user and password in wechat.proxy_auth_file",
            Self::Proxy => "have the proxy connect to WeChat's host",
            Self::Page => {
                "a portal, a proxy or another server answers: is this machine logged in to its network, and is wechat.api_base WeChat's?"
            }
            Self::BrokenOff => {
                "does a firewall or a proxy in between end connections, and does what is at wechat.api_base speak http and not https?"
            }
            Self::Other => "can this machine reach wechat.api_base (its name, a firewall, TLS)?",
        }
    }
}

/// Takes off what wraps an error of the system in others of the same type.
fn innermost(error: &io::Error) -> &io::Error {
    let mut error = error;
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    error
}

impl fmt::Display for UnreachableCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name has no address",
            Self::Refused => "the connection was refused or broke off",
            Self::Slow => "there was no connection in time",
            Self::Untrusted => "its certificate is not trusted",
            Self::OutOfDate => "its certificate has expired or is not valid yet",
            Self::OtherName => "its certificate is for another name",
            Self::Tls => "TLS failed",
            Self::ProxyAuth => "the proxy asks for a user and password",
            Self::Proxy => "the proxy did not connect",
            Self::Page => "something else answers in its place",
            Self::BrokenOff => "the connection ended before there was an answer",
            Self::Other => "no connection",
        })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::dns::{Name, Resolve, Resolving};

    use super::*;

    struct NoSuchName;

    impl Resolve for NoSuchName {
        fn resolve(&self, _: Name) -> Resolving {
            let failed = io::Error::new(io::ErrorKind::NotFound, "no such name");
            Box::pin(async { Err(Unresolved(failed).into()) })
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_told_from_the_rest() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .no_proxy()
            .dns_resolver(NoSuchName);
        let client = builder.build().unwrap();
        for url in [
            "http://wechat.test/?secret=s",
            "https://wechat.test/?secret=s",
        ] {
            let failed = client.get(url).send().await.unwrap_err();
            let detail = Some("no such name".to_owned());
            assert_eq!(
                UnreachableCause::of(&failed),
                (UnreachableCause::Name, detail)
            );
        }
    }
}
