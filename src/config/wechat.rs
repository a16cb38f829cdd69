//! Reads `[wechat]`, how WeChat is reached.

use super::address::{ORIGIN, is_plain_and_remote};
use super::kind::SWITCH;
use super::model::WeChat;
use super::reader::Table;
use super::unit::TIMEOUT;

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<WeChat> {
    let api_base = table.or("api_base", r#""https://api.weixin.qq.com""#, &ORIGIN);
    let allow_plain_http = table.or("allow_plain_http", "false", &SWITCH);
    let connect_timeout = table.or("connect_timeout", r#""2s""#, &TIMEOUT);
    let timeout = table.or("timeout", r#""5s""#, &TIMEOUT);
    let api_base = api_base?;
    if is_plain_and_remote(&api_base) && allow_plain_http == Some(false) {
        table.refuse(
            "api_base",
            "must be https, since the AppSecret is sent there; allow_plain_http = true permits http"
                .to_owned(),
        );
    }
    Some(WeChat {
        api_base,
        connect_timeout: connect_timeout?,
        timeout: timeout?,
    })
}
