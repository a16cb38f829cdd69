//! What a person is told when a login did not work, and what they can do.

use std::fmt::Write as _;

use url::form_urlencoded;

use super::return_to::ReturnTo;
use crate::page::{Language, escape, html};
use crate::request::Denial;

/// A text in both languages.
type Both = (&'static str, &'static str);

/// What is told, and what the button says that begins again; without one, that would not help.
struct Words {
    title: Both,
    what_to_do: Both,
    again: Option<Both>,
}

const AGAIN: Option<Both> = Some(("重新登录", "Log in again"));

/// Returns the page for a refusal; `again` is the app to log in to, and where to end.
pub fn explain(
    denial: &Denial,
    language: Language,
    request_id: &str,
    auth_path: &str,
    again: Option<(&str, Option<&ReturnTo>)>,
) -> String {
    let Words {
        title,
        what_to_do,
        again: button,
    } = words(denial);
    let say = |both: Both| language.choose(both.0, both.1);
    let mut inner = format!("<p>{}</p>\n", escape(say(what_to_do)));
    if let (Some(button), Some((app, return_to))) = (button, again) {
        let return_to = return_to.map_or("/", ReturnTo::as_str);
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("return_to", return_to)
            .finish();
        let href = escape(&format!("{auth_path}/web/{app}?{query}"));
        let _ = write!(
            inner,
            "<div class=\"do\">\n<a id=\"again\" class=\"button\" href=\"{href}\">{}</a>\n</div>\n",
            escape(say(button))
        );
    }
    let _ = writeln!(
        inner,
        "<small>{}<br>{}</small>",
        denial.code(),
        escape(request_id)
    );
    html(language, say(title), &inner)
}

fn words(denial: &Denial) -> Words {
    let words = |title, what_to_do, again| Words {
        title,
        what_to_do,
        again,
    };
    match denial {
        Denial::LoginDenied => words(
            ("你没有同意登录", "You did not agree to log in"),
            (
                "没有你的同意就无法登录。如果想继续，请重新登录，并选择“允许”。",
                "Without your consent nobody can log you in. To go on, log in again and choose “Allow”.",
            ),
            AGAIN,
        ),
        Denial::SnapshotUser => words(
            ("请使用完整服务", "Please open the full page"),
            (
                "微信现在显示的是这个页面的快照，在快照里无法登录。请点击屏幕下方的“使用完整服务”，然后重新登录。",
                "WeChat is showing a snapshot of this page, in which nobody can log in. Tap “Use full service” at the bottom of the screen, then log in again.",
            ),
            AGAIN,
        ),
        Denial::StateInvalid(_)
        | Denial::CodeInvalid(_)
        | Denial::CodeNotSimulated(_)
        | Denial::CodeUsed(_)
        | Denial::CodeMissing => words(
            ("这次登录已经失效", "This login is over"),
            (
                "它可能已经过期、已经用过，或者是在另一个浏览器里开始的。请在这里重新登录。",
                "It may have expired, been used before, or been started in another browser. Please log in again here.",
            ),
            AGAIN,
        ),
        Denial::OriginNotAllowed => words(
            ("要登录吗？", "Do you want to log in?"),
            (
                "是另一个网站把你带到这里来登录的。如果这是你想要的，请继续。",
                "Another site sent you here to log in. If that is what you want, go on.",
            ),
            Some(("继续登录", "Go on and log in")),
        ),
        Denial::TicketInvalid(_) => words(
            ("链接已经失效", "This link no longer works"),
            (
                "这个链接只能用一次，而且一分钟内有效。请回到小程序，重新打开这个页面。",
                "It works once, and for a minute only. Go back to the mini-program and open this page again.",
            ),
            None,
        ),
        Denial::OtherBrowser => words(
            ("请换一个浏览器打开", "Please open this page elsewhere"),
            (
                "在这个浏览器里无法登录。如果你在微信里，请用手机或电脑的浏览器打开；如果不在，请把链接发到微信里打开。",
                "Nobody can log in in this browser. If you are in WeChat, open the page in the browser of your phone or computer; if not, send yourself the link and open it in WeChat.",
            ),
            None,
        ),
        Denial::UserBlocked(_) => words(
            ("这个微信账号不能登录", "This WeChat account cannot log in"),
            (
                "微信出于安全原因限制了这个账号。请在微信里查看账号状态。",
                "WeChat has restricted the account for reasons of safety. Check its state in WeChat.",
            ),
            None,
        ),
        Denial::WechatBusy(..)
        | Denial::WechatUnreachable(_)
        | Denial::NotWechat(_)
        | Denial::WechatTimeout
        | Denial::StoreUnavailable
        | Denial::LoginNotStored
        | Denial::TooManyRequests(_)
        | Denial::TooManyConnections
        | Denial::ProxyBusy
        | Denial::RequestTimeout
        | Denial::ClientLeft => words(
            ("暂时无法登录", "Login is not possible at the moment"),
            (
                "请稍等片刻，然后重新登录。",
                "Please wait a moment, then log in again.",
            ),
            AGAIN,
        ),
        Denial::ReturnInvalid
        | Denial::HostNotOurs
        | Denial::AppUnknown
        | Denial::AppAmbiguous
        | Denial::AppNotAllowed
        | Denial::BadRequest(_)
        | Denial::PathAmbiguous
        | Denial::RouteUnknown
        | Denial::MethodNotAllowed(_)
        | Denial::BodyTooLarge
        | Denial::HeadersTooLarge => words(
            ("链接不正确", "This link is not right"),
            (
                "这个登录链接不完整，或者指向不允许的地址。请回到原来的页面，重新打开。",
                "The link to log in is incomplete, or leads where it must not. Go back to the page you came from and open it again.",
            ),
            None,
        ),
        Denial::TokenAmbiguous
        | Denial::TokenMissing
        | Denial::TokenSchemeMissing
        | Denial::TokenSchemeRepeated
        | Denial::TokenInvalid(_)
        | Denial::TokenExpired
        | Denial::SessionEnded
        | Denial::RefreshInvalid
        | Denial::RefreshReused
        | Denial::SignatureInvalid(_) => words(
            ("请重新登录", "Please log in again"),
            ("登录状态已经结束。", "You are not logged in any more."),
            AGAIN,
        ),
        Denial::WechatMisconfigured(_)
        | Denial::WechatError(_)
        | Denial::UpstreamUnreachable
        | Denial::UpstreamError
        | Denial::UpstreamTimeout
        | Denial::Internal => words(
            ("登录服务出了问题", "The login does not work"),
            (
                "问题不在你这边。请稍后再试；如果一直这样，请把下面的编号告诉网站的管理员。",
                "It is not your doing. Please try again later; if that does not help, tell the site's operator the number below.",
            ),
            AGAIN,
        ),
    }
}
