//! Logins in browsers: the pages of `open.weixin.qq.com`, and the calls by which their codes are redeemed.

mod asked;
mod calls;
mod control;
mod pages;
mod world;

pub(super) use self::calls::{ACCESS_TOKEN, USERINFO, access_token, userinfo};
pub(super) use self::control::{set, settings};
pub(super) use self::pages::{authorize, confirm, qrconnect};
pub(super) use self::world::Web;
