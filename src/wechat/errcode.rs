//! WeChat's errcodes and what each means for a login.

/// What an errcode means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrcodeClass {
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

/// The secret is not the app's.
pub const SECRET_REFUSED: i64 = 40125;

/// The access_token is none of the app's, or no longer.
pub const TOKEN_INVALID: i64 = 40001;

/// The access_token has expired.
pub const TOKEN_EXPIRED: i64 = 42001;

/// Returns whether WeChat refuses the app's secret, before it looks at the code, which is then as good as before.
pub fn is_secret_refused(errcode: i64) -> bool {
    errcode == SECRET_REFUSED
}

/// Returns whether WeChat says, where it was told a user, that a code is another user's.
pub fn is_of_another_user(errcode: i64) -> bool {
    errcode == 40003
}

/// Returns what an errcode of `sns/jscode2session` means.
pub fn class(errcode: i64) -> ErrcodeClass {
    match errcode {
        40029 => ErrcodeClass::CodeInvalid,
        40163 => ErrcodeClass::CodeUsed,
        40226 => ErrcodeClass::UserBlocked,
        -1 => ErrcodeClass::Busy,
        45011 => ErrcodeClass::MinuteQuota,
        45009 => ErrcodeClass::DayQuota,
        _ if is_operators(errcode) => ErrcodeClass::Misconfigured,
        _ => ErrcodeClass::Unknown,
    }
}

/// Returns whether the operator must act, at whichever endpoint: no other code, token or try brings another answer.
pub(super) fn is_operators(errcode: i64) -> bool {
    matches!(
        errcode,
        // grant_type, appid, secret; no appid, secret, token or code; a token where a secret belongs.
        40002 | 40013 | 40125 | 40001 | 40014 | 42001 | 41001 | 41002 | 41004 | 41008
        // The secret is frozen; this machine's address.
        | 40243 | 40164 | 89501..=89507
        // The account: forbidden, frozen, no right; a third-party platform's.
        | 48001 | 48004 | 50002 | 50004 | 50007 | 61003..=61007 | 61011 | 61024
        // Our call: path, method, body, way of signing.
        | 40066 | 43001 | 43002 | 44002 | 47001 | 87008
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_other_code_cures_is_the_operators() {
        for errcode in [89503, 89507, 61003, 40164, 40243, 48001, 40001] {
            assert_eq!(class(errcode), ErrcodeClass::Misconfigured, "{errcode}");
        }
        assert_eq!(class(40029), ErrcodeClass::CodeInvalid);
        assert_eq!(class(99999), ErrcodeClass::Unknown);
    }
}
