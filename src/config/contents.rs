//! The contents of the small files that a configuration points at.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a file with a secret in the same way, unless every user may write to it; the error is a problem's message.
///
/// Who owns it and who may read it is left to the operator: Docker and Kubernetes give a container the secrets of the host's
/// users, readable by everybody in it.
pub(super) fn secret_contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |reason| format!("cannot be read: {reason}");
    let file = File::open(path).map_err(|error| unreadable(reason(&error)))?;
    let found = file
        .metadata()
        .map_err(|error| unreadable(reason(&error)))?;
    if found.is_file() && found.mode() & 0o002 != 0 {
        return Err("must name a file that not every user may write to".to_owned());
    }
    read(Ok(file)).map_err(unreadable)
}

/// Reads a file of up to a mebibyte, wiped when dropped; the error completes "cannot be read: …".
pub(super) fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    read(File::open(path))
}

fn read(opened: io::Result<File>) -> Result<Zeroizing<Vec<u8>>, String> {
    const LARGEST: u64 = 1 << 20;
    let mut bytes = Zeroizing::new(Vec::new());
    opened
        // One byte more, to tell a file that is too large; a device would never end.
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| reason(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err("larger than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// Puts an error in words; the system's own end in an error number and may name the path.
fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        "no such file".to_owned()
    } else {
        error.kind().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_told_apart_by_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let missing = contents(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing, "no such file");
        assert_eq!(contents(folder.path()).unwrap_err(), "is a directory");
    }

    #[test]
    fn an_endless_file_ends() {
        assert_eq!(
            contents(Path::new("/dev/zero")).unwrap_err(),
            "larger than 1 MiB"
        );
    }
}
