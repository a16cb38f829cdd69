//! Asks WeChat with a made-up code whether an appid and its secret are right.

use super::{AnswerError, Client, RedeemError};
use crate::config::App;

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
    },
    /// WeChat's answer does not tell.
    Unknown(RedeemError),
}

impl Client {
    /// Tries an app's credentials; costs no user anything.
    pub async fn probe(&self, app: &App) -> Verdict {
        match self.jscode2session(app, MADE_UP_CODE).await {
            // Nobody can redeem a made-up code, so whoever says so is not WeChat.
            Ok(_) => Verdict::Unknown(RedeemError::Answer(AnswerError::Invalid(
                "it redeems a code that was made up",
            ))),
            Err(RedeemError::Answer(AnswerError::Errcode { errcode, rid })) => match errcode {
                40029 | 40163 => Verdict::Right,
                40013 => wrong(
                    errcode,
                    "the appid does not exist; copy it from the Mini Program console",
                ),
                40125 => wrong(
                    errcode,
                    "the secret is wrong; reset it in the Mini Program console",
                ),
                41002 | 41004 => wrong(
                    errcode,
                    "WeChat did not see the appid or the secret; is api_base WeChat's?",
                ),
                40243 => wrong(
                    errcode,
                    "the secret is frozen; unfreeze it in the Mini Program console",
                ),
                50002 | 50007 => wrong(errcode, "the account is frozen"),
                48001 => wrong(
                    errcode,
                    "this kind of account cannot log mini-program users in",
                ),
                40164 => wrong(
                    errcode,
                    "add this machine's address to the IP whitelist in the console",
                ),
                _ => Verdict::Unknown(RedeemError::Answer(AnswerError::Errcode { errcode, rid })),
            },
            Err(other) => Verdict::Unknown(other),
        }
    }
}

fn wrong(errcode: i64, advice: &'static str) -> Verdict {
    Verdict::Wrong { errcode, advice }
}
