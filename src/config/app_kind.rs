//! What a WeChat application is, and so how its users log in.

/// What an official account learns of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The openid, without a question to the user.
    Base,
    /// Also the profile and the unionid, if the user agrees.
    UserInfo,
}

/// What a WeChat application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppKind {
    /// A mini-program, whose code comes from `wx.login`.
    MiniProgram,
    /// An official account, for browsers inside WeChat.
    OfficialAccount(Scope),
    /// A website, for browsers elsewhere.
    Website,
}
