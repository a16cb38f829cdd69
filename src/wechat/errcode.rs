//! WeChat's errcodes and what each means for a login.

/// What an errcode means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The code is wrong, expired or of another app.
    CodeInvalid,
    /// The code was redeemed before.
    CodeUsed,
    /// WeChat holds the user for dangerous.
    UserBlocked,
    /// WeChat is busy; the code can be tried again in a moment.
    Busy,
    /// The quota of this minute is used up, of the app or of the user; the code can be tried again later.
    MinuteQuota,
    /// The quota of this day is used up; the code can be tried again later, if it lives that long.
    DayQuota,
    /// The appid, the secret, the account or our call is at fault; the operator must act.
    Misconfigured,
    /// Nothing we know.
    Unknown,
}

/// Returns what an errcode of `sns/jscode2session` means.
pub fn class(errcode: i64) -> Refusal {
    match errcode {
        40029 => Refusal::CodeInvalid,
        40163 => Refusal::CodeUsed,
        40226 => Refusal::UserBlocked,
        -1 => Refusal::Busy,
        45011 => Refusal::MinuteQuota,
        45009 => Refusal::DayQuota,
        // grant_type, appid, secret; missing appid, secret and code; frozen secret; account; rights; IP list.
        40002 | 40013 | 40125 | 41002 | 41004 | 41008 | 40243 | 50002 | 50004 | 50007 | 48001
        | 40164 | 61024 => Refusal::Misconfigured,
        _ => Refusal::Unknown,
    }
}
