//! The codes that become sessions: which node redeems one, and the same session again for the same code.

use std::net::IpAddr;
use std::time::Duration;

use super::claim::{Held, Memo};
use super::seal::Sealer;
use super::sessions::session;
use super::store::Store as _;
use super::{
    Claim, CodeMark, CodeUse, Holder, Identity, Opened, RefreshToken, Sender, SenderMark, Sessions,
    StoreError,
};
use crate::secret::Secret;

impl Sessions {
    /// Returns the digest by which a code is known.
    pub fn mark(&self, appid: &str, code: &str) -> CodeMark {
        CodeMark::new(&self.shared.keys.codes, appid, code)
    }

    /// Returns by what the client that sends a code is known again.
    pub fn sender(
        &self,
        code: CodeMark,
        nonce: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Sender, StoreError> {
        Ok(Sender::new(
            &self.shared.keys.senders,
            code,
            nonce,
            address,
        )?)
    }

    /// Takes a code, so that no other node redeems it, or tells what became of it.
    ///
    /// A holder that was not answered may ask again. One that is not heard of for the time of `lease` is held for dead.
    pub async fn claim(
        &self,
        code: CodeMark,
        holder: Holder,
        lease: Duration,
    ) -> Result<Claim, StoreError> {
        Ok(match self.shared.store.claim(code, holder, lease).await? {
            Held::Yours => Claim::Yours,
            Held::Elsewhere => Claim::Elsewhere,
            Held::Lost => Claim::Lost,
            Held::Used => Claim::Spent(None),
            Held::Refused(errcode, left) => Claim::Refused(errcode, left),
            Held::NotStored(left) => Claim::NotStored(left),
            Held::Memo(memo, left) => {
                let opened = Memo::open(&self.shared.keys.memos, code, &memo);
                let (first, token) = opened.ok_or(StoreError::Damaged)?;
                match self.unused(&token).await? {
                    Some(opened) => Claim::Done(Box::new(opened), first, left),
                    None => {
                        let known = self.shared.keys.refresh.recognise(&token);
                        Claim::Spent(known.map(|known| known.sid()))
                    }
                }
            }
        })
    }

    /// Gives a code back that was taken and not spent.
    pub async fn give_back(&self, code: CodeMark, holder: Holder) -> Result<(), StoreError> {
        self.shared.store.give_back(code, holder).await
    }

    /// Gives a code back that WeChat refused, and has other nodes told so for a while that ask for it.
    pub async fn keep_refusal(
        &self,
        code: CodeMark,
        holder: Holder,
        errcode: i64,
        keep: Duration,
    ) -> Result<(), StoreError> {
        let store = &self.shared.store;
        store.keep_refusal(code, holder, errcode, keep).await
    }

    /// Has other nodes told that the session of a code that was taken could not be stored, as soon as the store can be told.
    pub fn keep_not_stored(&self, code: CodeMark, holder: Holder) {
        self.shared.store.keep_not_stored(code, holder);
    }

    /// Returns the session of a refresh token that nobody has used yet; `None` when it was used or the session has ended.
    ///
    /// To give a token out again that was replaced would end the session at its next use.
    pub async fn unused(&self, token: &RefreshToken) -> Result<Option<Opened>, StoreError> {
        let Some(known) = self.shared.keys.refresh.recognise(token) else {
            return Ok(None);
        };
        if self.revoked().contains(&known.sid()) {
            return Ok(None);
        }
        let found = self.shared.store.session(known.sid()).await?;
        let found = found.filter(|record| record.rotation.current == known.fingerprint());
        Ok(found.map(|record| Opened {
            session: session(known.sid(), record),
            refresh: token.clone(),
            profile: None,
        }))
    }

    /// Does what [`Self::open_session`] does for a claimed code, and keeps the session and the code's sender for a while, for replays.
    ///
    /// Without a session_key the user keeps the one that they have.
    pub async fn open_session_for(
        &self,
        code: CodeUse,
        identity: Identity,
        session_key: Option<&Secret>,
    ) -> Result<Opened, StoreError> {
        self.open(identity, session_key, Some(code)).await
    }
}

impl Memo {
    pub(super) fn seal(
        sealer: &Sealer,
        CodeUse {
            code,
            first,
            keep,
            spends,
        }: CodeUse,
        refresh: &RefreshToken,
    ) -> Result<Self, StoreError> {
        let first = first.to_bytes();
        let owner = [code.as_bytes().as_slice(), &first].concat();
        let sealed = sealer.seal(&owner, refresh.secret())?;
        Ok(Self {
            code,
            sealed: [first.as_slice(), &sealed].concat(),
            keep,
            spends,
        })
    }

    fn open(sealer: &Sealer, code: CodeMark, memo: &[u8]) -> Option<(SenderMark, RefreshToken)> {
        let (first, sealed) = memo.split_first_chunk()?;
        let owner = [code.as_bytes().as_slice(), first].concat();
        let token = sealer.open(&owner, sealed)?;
        let first = SenderMark::from_bytes(*first)?;
        Some((first, RefreshToken::from_client(token.expose())))
    }
}
