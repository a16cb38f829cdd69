//! Asks WeChat with a made-up code whether an appid and its secret are right.

use std::net::IpAddr;

use super::{
    AnswerError, CallError, CallFailure, Client, ErrcodeClass, UnreachableCause, advice, class,
};
use crate::config::{App, AppKind};

/// WeChat checks appid and secret before it looks at the code, so a code that cannot exist is enough.
const MADE_UP_CODE: &str = "0menshenprobe0menshenprobe0mensh";

/// What WeChat said about an app's credentials.
#[derive(Debug)]
pub enum Verdict {
    /// They are right.
    Right,
    /// They are wrong, with what WeChat said and what to do.
    Wrong {
        /// WeChat's number.
        errcode: i64,
        /// What to do about it.
        advice: &'static str,
        /// The id under which WeChat finds the call in its own logs.
        rid: Option<String>,
        /// This machine's address as WeChat sees it, where WeChat names it.
        address: Option<IpAddr>,
    },
    /// WeChat's answer does not tell, or there is none.
    Unknown {
        /// Why.
        error: CallFailure,
        /// What to do about it.
        advice: String,
    },
}

impl Client {
    /// Tries an app's credentials; costs no user anything.
    pub async fn probe(&self, app: &App) -> Verdict {
        let called = match app.kind {
            AppKind::MiniProgram => self.jscode2session(app, MADE_UP_CODE, None).await,
            AppKind::OfficialAccount(_) | AppKind::Website => {
                self.oauth2_access_token(app, MADE_UP_CODE, None).await
            }
        };
        match called {
            // Nobody can redeem a made-up code, so whoever says so is not WeChat.
            Ok(_) => unknown(CallFailure::Answer(AnswerError::Invalid(
                "it redeems a code that was made up",
            ))),
            Err(CallFailure::Answer(AnswerError::Errcode {
                errcode: 40029 | 40163,
                ..
            })) => Verdict::Right,
            Err(CallFailure::Answer(AnswerError::Errcode {
                errcode,
                rid,
                errmsg,
                address,
            })) => match advice(errcode) {
                Some(advice) => Verdict::Wrong {
                    errcode,
                    advice,
                    rid,
                    address,
                },
                None => unknown(CallFailure::Answer(AnswerError::Errcode {
                    errcode,
                    rid,
                    errmsg,
                    address,
                })),
            },
            Err(other) => unknown(other),
        }
    }
}

fn unknown(error: CallFailure) -> Verdict {
    let advice = match &error {
        CallFailure::Call(CallError::Unreachable(cause)) => {
            let advice = format!(
                "can this machine reach wechat.api_base? {cause}: {}",
                cause.advice()
            );
            return Verdict::Unknown { error, advice };
        }
        CallFailure::Call(CallError::Gateway(_) | CallError::NotWeChat(_)) => {
            UnreachableCause::Page.advice()
        }
        CallFailure::Call(CallError::BrokenOff) => UnreachableCause::BrokenOff.advice(),
        CallFailure::Call(CallError::NoAnswer) => {
            "try again; does a firewall swallow calls to wechat.api_base?"
        }
        CallFailure::Call(CallError::NotAnAnswer(_))
        | CallFailure::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject) => {
            "is wechat.api_base WeChat's?"
        }
        CallFailure::Answer(AnswerError::Errcode { errcode, .. }) => match class(*errcode) {
            ErrcodeClass::Busy | ErrcodeClass::MinuteQuota | ErrcodeClass::DayQuota => {
                "WeChat is busy or a quota is used up; try again later"
            }
            ErrcodeClass::CodeInvalid
            | ErrcodeClass::CodeUsed
            | ErrcodeClass::UserBlocked
            | ErrcodeClass::Misconfigured
            | ErrcodeClass::Unknown => "WeChat's documentation has the number",
        },
    };
    let advice = advice.to_owned();
    Verdict::Unknown { error, advice }
}
