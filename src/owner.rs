//! Whether another user of the machine can replace what is in a file or a folder.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// In a folder with this bit only the owner of a file may remove or rename it.
const STICKY: u32 = 0o1000;

/// Why a file or a folder is not safe from other users.
#[derive(Debug, thiserror::Error)]
pub enum Exposed {
    /// Another user may write to it.
    #[error("{}: must not be writable by other users (its mode is {mode:o}, its group {group})", path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its group.
        group: u32,
    },
    /// Its owner is neither this user nor root.
    #[error("{}: must belong to root or to the user that runs Menshen ({us}), not to user {owner}", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this program.
        us: u32,
    },
}

/// Refuses a file or a folder that belongs to another user, or that another user may write to, as ssh does with its keys.
pub fn only_ours(path: &Path, found: &Metadata) -> Result<(), Exposed> {
    let us = rustix::process::geteuid().as_raw();
    let (owner, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    let path = || path.to_owned();
    if !is_trusted(owner, us) {
        let path = path();
        return Err(Exposed::Foreign { path, owner, us });
    }
    if is_writable_by_others(group, mode, us) && !is_mounted_secret(found, &path()) {
        let path = path();
        return Err(Exposed::Writable { path, mode, group });
    }
    Ok(())
}

/// Refuses a folder where another user can remove or rename what this user puts there; a sticky one, such as `/tmp`, is fine.
pub fn keeps_ours(folder: &Path, found: &Metadata) -> Result<(), Exposed> {
    match only_ours(folder, found) {
        Err(Exposed::Writable { .. }) if found.mode() & STICKY != 0 => Ok(()),
        judged => judged,
    }
}

fn is_trusted(owner: u32, us: u32) -> bool {
    owner == us || owner == 0
}

fn is_writable_by_others(group: u32, mode: u32, us: u32) -> bool {
    // The group with the user's own number is the user's alone; Kubernetes lets such an fsGroup write to a volume.
    mode & 0o002 != 0 || (mode & 0o020 != 0 && group != us)
}

/// Returns whether it is a folder as Kubernetes mounts a Secret: everybody's to write to, but sticky and mounted read-only.
fn is_mounted_secret(found: &Metadata, path: &Path) -> bool {
    let read_only = |path| statvfs(path).map(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    found.is_dir() && found.mode() & STICKY != 0 && read_only(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_everybody_may_write_to_is_refused_and_what_they_may_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "").unwrap();
        for path in [&*file, folder.path()] {
            let judged = |mode| {
                fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
                only_ours(path, &fs::metadata(path).unwrap())
            };
            for mode in [0o600, 0o700, 0o644, 0o755] {
                assert!(judged(mode).is_ok(), "{mode:o}");
            }
            for mode in [0o702, 0o777, 0o1777] {
                let said = judged(mode).unwrap_err().to_string();
                assert!(said.contains(&format!("its mode is {mode:o}")), "{said}");
            }
        }
    }

    #[test]
    fn what_is_in_a_sticky_folder_stays_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, kept) in [(0o777, false), (0o1777, true), (0o755, true)] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            let judged = keeps_ours(folder.path(), &fs::metadata(folder.path()).unwrap());
            assert_eq!(judged.is_ok(), kept, "{mode:o}");
        }
    }

    #[test]
    fn a_group_may_write_only_where_it_is_the_users_own() {
        assert!(is_writable_by_others(100, 0o2770, 65532));
        assert!(is_writable_by_others(0, 0o770, 65532));
        assert!(!is_writable_by_others(65532, 0o2775, 65532));
        assert!(is_writable_by_others(65532, 0o2777, 65532));
        assert!(!is_writable_by_others(100, 0o755, 65532));
    }

    #[test]
    fn the_owner_is_root_or_the_user() {
        assert!(is_trusted(0, 1000) && is_trusted(1000, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }
}
