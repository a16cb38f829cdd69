//! How a code is taken and given back in every store.

use std::time::Duration;

use super::{APPID, SECOND, Subject};
use crate::session::{Claim, Holder};

pub(in crate::session) async fn a_code_that_was_given_back_can_be_taken_again(
    s: Subject<impl AsyncFn(Duration)>,
) {
    let code = s.store.mark(APPID, "0a1b2c");
    for _ in 0..2 {
        let holder = Holder::random().unwrap();
        // Twice, as somebody asks who was not answered.
        for _ in 0..2 {
            let claim = s.store.claim(code, holder, SECOND * 10).await.unwrap();
            assert!(matches!(claim, Claim::Yours), "{claim:?}");
        }
        s.store.give_back(code, holder).await.unwrap();
    }
}
