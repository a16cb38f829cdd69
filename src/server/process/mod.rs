//! The process: binds, serves, hands its sockets over, and ends when the last exchange has.

mod bind;
mod hand_over;
mod listen;
mod private;
mod run;
mod socket_file;
pub mod supervisor;

pub use self::bind::{BindError, can_bind};
pub use self::hand_over::{HandOverError, Predecessor, Successor, UpgradeSocket};
pub use self::listen::Listening;
pub use self::private::{PrivateError, PrivateSocket};
pub use self::run::{SETTLE_TIMEOUT, Serving};
