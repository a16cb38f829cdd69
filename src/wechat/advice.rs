//! What an operator can do about an errcode.

use super::errcode::is_operators;

/// Returns what to do; `None` where the operator can do nothing.
pub fn advice(errcode: i64) -> Option<&'static str> {
    Some(match errcode {
        40013 => "the appid does not exist; copy it from the Mini Program console",
        40125 => {
            "the secret is wrong; compare it with the one in the Mini Program console first, since a reset there ends it everywhere"
        }
        41002 | 41004 => "WeChat did not see the appid or the secret; is api_base WeChat's?",
        40243 => "the secret is frozen; unfreeze it in the Mini Program console",
        50002 | 50007 => "the account is frozen",
        48001 => "this kind of account has no right to that",
        40164 => "add this machine's address to the IP whitelist in the console",
        89501 | 89503 => "an administrator of the account must confirm this machine's address",
        89506 | 89507 => {
            "an administrator of the account refused this machine's address; wait and ask again"
        }
        61024 => "this appid is a third-party platform's, which has no such access_token",
        61003 => {
            "the account has not authorised the third-party platform; use the app's own secret"
        }
        _ if is_operators(errcode) => {
            "WeChat refuses this app, this machine or the call; its documentation has the number"
        }
        _ => return None,
    })
}
