//! WeChat's API: the client, what its answers mean, the codes that it redeems, the access_tokens that it gives, and what is
//! done with a user's session_key.

mod advice;
mod answer;
mod client;
mod code;
mod code2session;
mod connections;
mod errcode;
mod failure;
mod keeper;
mod lost;
mod oauth;
mod open_data;
mod phone_number;
mod probe;
mod reach;
mod resolver;
mod session_check;
mod transport;
mod unreachable_cause;
mod warning_limit;

pub use advice::advice;
pub use answer::{AnswerError, Fields};
pub use client::{CallError, Client, ClientError};
pub use code::{Code, CodeError};
pub use code2session::Redeemed;
pub use errcode::{
    ErrcodeClass, SECRET_REFUSED, TOKEN_EXPIRED, TOKEN_INVALID, class, is_of_another_user,
    is_secret_refused,
};
pub use failure::{ApiError, CallFailure, FailureClass};
pub use keeper::{AccessToken, AccessTokens, Failure, TokenStatus};
pub use open_data::{NotOpened, Owner, decrypt, is_signed, sign};
pub use phone_number::{PhoneNumber, PhoneOwner};
pub use probe::Verdict;
pub use reach::Reach;
pub use session_check::KeyHolder;
pub use transport::{Lease, Transport};
pub use unreachable_cause::UnreachableCause;
pub use warning_limit::WarningLimit;
