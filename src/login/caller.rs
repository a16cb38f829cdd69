//! Who asks for a login.

use crate::request::RequestId;

/// What a login needs to know of the request that asks for it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its id.
    pub id: RequestId,
    /// Whether its address has been turned away so often that what it is told shall move nobody else's time.
    pub crowded: bool,
}
