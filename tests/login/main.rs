//! Logging in with a code of WeChat's: its result, its queue, its quota, and what happens when WeChat fails.

mod again;
mod apps;
mod busy;
mod first_request;
mod gauges;
mod minute;
mod nodes;
mod once;
mod quota;
mod reload;
mod restart;
mod secrets;
mod warnings;
mod wechat_faults;
mod wechat_foreign;
mod wechat_lost;
mod wechat_proxy;
mod wechat_reach;
mod with_a_code;
