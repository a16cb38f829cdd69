//! Who may do what with files, and who may do nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A user without rights on Debian and most others.
pub const NOBODYS_UID: u32 = 65534;

/// Sets who may do what with a file or a folder.
#[track_caller]
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of ours");
}

/// Reads who may read, write and run a file or a folder.
#[track_caller]
pub fn read_mode(path: &Path) -> u32 {
    let found = fs::metadata(path).expect("a file");
    found.permissions().mode() & 0o777
}
