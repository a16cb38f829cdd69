//! An app that the simulator knows, and how one is written on the command line.

use std::str::FromStr;

use crate::secret::Secret;

const OPEN_PLATFORM: &str = "open-platform";

/// An app that the simulator knows.
#[derive(Clone, Debug)]
pub struct SimulatedApp {
    /// The appid.
    pub appid: String,
    /// The AppSecret that calls must bring.
    pub secret: Secret,
    /// The Open Platform account the app is bound to; without one, users have no unionid.
    pub open_platform: Option<String>,
}

/// What is wrong with a text that should name an app.
#[derive(Debug, Clone, Copy, Eq, PartialEq, thiserror::Error)]
pub enum AppTextError {
    /// There is no colon.
    #[error("an app must be written APPID:SECRET")]
    ColonMissing,
    /// Nothing stands before the colon.
    #[error("an app must be written APPID:SECRET, and the appid is empty")]
    AppidEmpty,
    /// Nothing stands after the colon.
    #[error("an app must be written APPID:SECRET, and the secret is empty")]
    SecretEmpty,
}

impl FromStr for SimulatedApp {
    type Err = AppTextError;

    /// Reads `APPID:SECRET`; every app read this way is bound to the same Open Platform account.
    fn from_str(text: &str) -> Result<Self, AppTextError> {
        let (appid, secret) = text.split_once(':').ok_or(AppTextError::ColonMissing)?;
        if appid.is_empty() {
            return Err(AppTextError::AppidEmpty);
        }
        if secret.is_empty() {
            return Err(AppTextError::SecretEmpty);
        }
        Ok(Self {
            appid: appid.to_owned(),
            secret: Secret::new(secret),
            open_platform: Some(OPEN_PLATFORM.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_written_with_a_colon() {
        let app: SimulatedApp = "wx1:s3cret".parse().unwrap();
        assert_eq!((app.appid.as_str(), app.secret.expose()), ("wx1", "s3cret"));
    }

    #[test]
    fn an_app_that_was_written_has_unionids() {
        let app: SimulatedApp = "wx1:s3cret".parse().unwrap();
        assert!(app.open_platform.is_some());
    }

    #[test]
    fn a_badly_written_app_is_refused_with_its_reason() {
        let reason = |text: &str| text.parse::<SimulatedApp>().err();
        assert_eq!(reason("wx1"), Some(AppTextError::ColonMissing));
        assert_eq!(reason(":s3cret"), Some(AppTextError::AppidEmpty));
        assert_eq!(reason("wx1:"), Some(AppTextError::SecretEmpty));
    }
}
