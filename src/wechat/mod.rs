//! WeChat's API: the client, what its answers mean, and the codes that it redeems.

mod answer;
mod client;
mod code;
mod code2session;
mod errcode;
mod probe;

pub use answer::{AnswerError, Fields};
pub use client::{CallError, Client, ClientError};
pub use code::{Code, CodeError};
pub use code2session::{RedeemError, Redeemed};
pub use errcode::{Refusal, class};
pub use probe::Verdict;
