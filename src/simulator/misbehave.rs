//! One exchange that goes wrong as planned.

use std::borrow::Cow;
use std::num::NonZeroI64;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{LOCATION, TRANSFER_ENCODING};

use super::answer::{Answer, Granted, Refused, Reply};
use super::fault::Fault;
use super::plan::Planned;
use super::wire::Cutter;
use super::{Simulator, exchange};

const HUGE_BYTES: usize = 1024 * 1024;

/// Answers, or does not, as planned.
pub(super) async fn reply(simulator: &Simulator, planned: Planned, request: Request) -> Response {
    let Planned { fault, spend, .. } = planned;
    let cutter = Cutter::of(&request);
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let path = request.uri().path().to_owned();
    let rid = simulator.rid();
    // Nothing is carried out before this is awaited.
    let usual = exchange::answer(simulator, request);
    let reply = match fault {
        Fault::Errcode { errcode, errmsg } => {
            carry_out_if(spend, usual).await;
            refused(errcode, errmsg).reply(&rid)
        }
        Fault::ErrcodeString { errcode, errmsg } => {
            carry_out_if(spend, usual).await;
            refused(errcode, errmsg).reply_with_text_errcode(&rid)
        }
        Fault::Status { status } => {
            carry_out_if(spend, usual).await;
            Reply::page(status)
        }
        Fault::Html {} => {
            carry_out_if(spend, usual).await;
            Reply::page(StatusCode::OK)
        }
        Fault::Redirect { location } => {
            carry_out_if(spend, usual).await;
            return (StatusCode::FOUND, [(LOCATION, location)]).into_response();
        }
        Fault::Hang {} => {
            carry_out_if(spend, usual).await;
            cutter.wait_for_the_end().await;
            return cutter.cut();
        }
        Fault::CloseBefore {} => return cutter.cut(),
        Fault::CloseAfter {} => {
            usual.await;
            return cutter.cut();
        }
        Fault::Delay { by } => {
            tokio::time::sleep(by).await;
            usual.await.reply(&rid)
        }
        Fault::Chunked412 {} if chunked => Reply::page(StatusCode::PRECONDITION_FAILED),
        Fault::Chunked412 {} => usual.await.reply(&rid),
        Fault::Truncate {} => usual.await.reply(&rid).with_body(half),
        Fault::ErrcodeZero {} => edited(usual.await, |granted| {
            granted.errcode = Some(0);
            granted.errmsg = Some("ok");
        })
        .reply(&rid),
        Fault::ContentType { content_type } => {
            let reply = Reply {
                content_type,
                ..usual.await.reply(&rid)
            };
            return reply.into_response();
        }
        Fault::EmptyOpenid {} => edited(usual.await, |granted| {
            granted.openid = Some(String::new());
        })
        .reply(&rid),
        Fault::MissingOpenid {} => edited(usual.await, |granted| granted.openid = None).reply(&rid),
        Fault::MissingSessionKey {} => {
            edited(usual.await, |granted| granted.session_key = None).reply(&rid)
        }
        Fault::RawControl {} => usual.await.reply(&rid).with_body(|body| {
            // Written by hand: a JSON writer would escape the control character.
            match body.strip_prefix(b"{") {
                Some(rest) => [b"{\"nickname\":\"door\x01god\",", rest].concat(),
                None => body,
            }
        }),
        Fault::Bom {} => {
            let reply = usual.await.reply(&rid);
            reply.with_body(|body| ["\u{feff}".as_bytes(), &body].concat())
        }
        Fault::Huge {} => {
            let reply = usual.await.reply(&rid);
            reply.with_body(|mut body| {
                body.resize(body.len() + HUGE_BYTES, b' ');
                body
            })
        }
    };
    reply.for_path(&path).into_response()
}

async fn carry_out_if(spend: bool, usual: impl Future<Output = Answer>) {
    if spend {
        usual.await;
    }
}

fn refused(errcode: NonZeroI64, errmsg: Option<String>) -> Refused {
    let usual = Refused::new(errcode.get());
    match errmsg {
        Some(errmsg) => Refused {
            errmsg: Cow::Owned(errmsg),
            ..usual
        },
        None => usual,
    }
}

fn edited(mut answer: Answer, edit: impl FnOnce(&mut Granted)) -> Answer {
    if let Answer::Granted(granted) = &mut answer {
        edit(granted);
    }
    answer
}

fn half(mut body: Vec<u8>) -> Vec<u8> {
    body.truncate(body.len() / 2);
    body
}
