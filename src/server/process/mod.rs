//! The process: binds, serves, hands its sockets over, and ends when the last exchange has.

mod hand_over;
mod listen;
mod run;

pub use self::hand_over::{Doorway, HandOverError, Predecessor, Successor};
pub use self::listen::{BindError, Listening};
pub use self::run::{SETTLED, Serving};
