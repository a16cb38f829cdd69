//! Signing keys as files: `KID.ALGORITHM.pem` (or `.secret`), whose ids say which of them signs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::{rsa, signature};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::Pem;
use zeroize::Zeroizing;

use super::kid::{Signs, kid, made_ms, signer, signs_from_ms};
use super::{KeyRing, SigningKey};
use crate::clock::Clock;
use crate::config::Algorithm;
use crate::owner::{Exposed, only_ours};
use crate::secret::Secret;

const RETIRED: &str = "retired";
/// What nodes lock while they look whether the first key is theirs to make.
const LOCK: &str = ".lock";

/// Why the keys could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The folder or a file in it could not be used.
    #[error("{}: {cause}", path.display())]
    File {
        /// What was being used.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A file that other users can read is no secret.
    #[error("{}: must not be readable by everybody (its mode is {mode:o})", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user may replace the keys.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// A file holds no key of its algorithm, or a weak one.
    #[error("{}: is not a {} key, which is {}", path.display(), algorithm.name(), asked_of(*algorithm))]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What its name says it is.
        algorithm: Algorithm,
    },
    /// Two files have the same id, of which a token names one key.
    #[error("{}: has the id of {}; each key must have an id of its own", second.display(), first.display())]
    Twice {
        /// One of the files.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The key generator failed.
    #[error("no {0} key could be made")]
    Generator(&'static str),
    /// There is no key at all.
    #[error("{} holds no key", .0.display())]
    None(PathBuf),
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// The last key cannot be taken away.
    #[error("{0} is the only key; make a new one first (menshen keys new)")]
    Last(String),
}

/// One key file, not yet opened.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The key's id; ids sort by age.
    pub kid: String,
    /// What the key signs with.
    pub algorithm: Algorithm,
    path: PathBuf,
}

/// Reads every key in `dir`; makes the folder and a first key when there is none.
pub fn load_or_make(
    dir: &Path,
    algorithm: Algorithm,
    clock: &Clock,
) -> Result<KeyRing, KeyFileError> {
    if !dir.exists() || list(dir)?.is_empty() {
        make_first(dir, algorithm, clock)?;
    }
    load(dir)
}

/// Makes the first key, unless another node that starts over the same folder is faster.
fn make_first(dir: &Path, algorithm: Algorithm, clock: &Clock) -> Result<(), KeyFileError> {
    make_folder(dir)?;
    let path = dir.join(LOCK);
    // The system takes the lock from a process that ends, so it needs no age. The file stays: who removes it could
    // remove one that another node has just locked.
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|cause| at(&path, cause))?;
    lock.lock().map_err(|cause| at(&path, cause))?;
    if list(dir)?.is_empty() {
        make(dir, algorithm, Signs::Later, clock)?;
    }
    Ok(())
}

/// Reads the keys of a folder, of which there must be one.
pub fn load(dir: &Path) -> Result<KeyRing, KeyFileError> {
    let files = list_distinct(dir)?;
    let (oldest, newer) = files
        .split_first()
        .ok_or_else(|| KeyFileError::None(dir.to_owned()))?;
    let newer = newer.iter().map(read).collect::<Result<_, _>>()?;
    Ok(KeyRing::new(read(oldest)?, newer))
}

/// Reads every key in `dir` without keeping any; a folder that the first start will make is fine.
pub fn verify_files(dir: &Path) -> Result<(), KeyFileError> {
    if dir.exists() {
        list_distinct(dir)?
            .iter()
            .try_for_each(|file| read(file).map(drop))?;
    }
    Ok(())
}

/// Lists the keys in use, the oldest first.
pub fn list(dir: &Path) -> Result<Vec<KeyFile>, KeyFileError> {
    let mut found = Vec::new();
    only_ours(dir, &fs::metadata(dir).map_err(|cause| at(dir, cause))?)?;
    for entry in fs::read_dir(dir).map_err(|cause| at(dir, cause))? {
        let path = entry.map_err(|cause| at(dir, cause))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let mut parts = name.split('.');
        if let (Some(kid), Some(algorithm), Some("pem" | "secret"), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
            && let Some(algorithm) = Algorithm::from_name(algorithm)
        {
            found.push(KeyFile {
                kid: kid.to_owned(),
                algorithm,
                path: path.clone(),
            });
        }
    }
    found.sort_by(|a, b| (&a.kid, &a.path).cmp(&(&b.kid, &b.path)));
    Ok(found)
}

/// Lists the keys in use as [`list`] does, each of which must have an id of its own (RFC 7517, section 4.5).
fn list_distinct(dir: &Path) -> Result<Vec<KeyFile>, KeyFileError> {
    let files = list(dir)?;
    let mut pairs = files.iter().zip(files.iter().skip(1));
    match pairs.find(|(first, second)| first.kid == second.kid) {
        Some((first, second)) => Err(KeyFileError::Twice {
            first: first.path.clone(),
            second: second.path.clone(),
        }),
        None => Ok(files),
    }
}

/// Finds the key that signs at `now_ms`, among those that [`list`] returned.
pub fn signing(files: &[KeyFile], now_ms: u64) -> Option<&KeyFile> {
    let (oldest, newer) = files.split_first()?;
    Some(signer(oldest, newer, KeyFile::signs_from_ms, now_ms))
}

/// Makes a new key, readable by its owner only, and returns its id.
pub fn make(
    dir: &Path,
    algorithm: Algorithm,
    signs: Signs,
    clock: &Clock,
) -> Result<String, KeyFileError> {
    make_folder(dir)?;
    // An id that sorts by time needs no index of which key is the newest.
    let newest = list(dir)?.pop().and_then(|file| made_ms(&file.kid));
    let now_ms = clock
        .unix_ms()
        .max(newest.map_or(0, |ms| ms.saturating_add(1)));
    let mut random = [0_u8; 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyFileError::Generator(algorithm.name()))?;
    let kid = kid(now_ms, u32::from_be_bytes(random), signs);
    let extension = if algorithm == Algorithm::Hs256 {
        "secret"
    } else {
        "pem"
    };
    let path = dir.join(format!("{kid}.{}.{extension}", algorithm.name()));
    let text = generate(algorithm).ok_or(KeyFileError::Generator(algorithm.name()))?;
    // Under another name until it is whole: a node may be reading the folder.
    let unfinished = dir.join(format!(".{kid}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(|cause| at(&unfinished, cause))?;
    file.write_all(text.expose().as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, &path))
        .map_err(|cause| at(&path, cause))?;
    Ok(kid)
}

/// Takes a key out of use; its file moves to `retired/`, and its tokens stop verifying.
pub fn retire(dir: &Path, kid: &str) -> Result<(), KeyFileError> {
    let keys = list_distinct(dir)?;
    let file = keys
        .iter()
        .find(|file| file.kid == kid)
        .ok_or_else(|| KeyFileError::Unknown(kid.to_owned()))?;
    if keys.len() == 1 {
        return Err(KeyFileError::Last(kid.to_owned()));
    }
    let retired = dir.join(RETIRED);
    make_folder(&retired)?;
    let name = file.path.file_name().unwrap_or_default();
    fs::rename(&file.path, retired.join(name)).map_err(|cause| at(&file.path, cause))
}

fn make_folder(dir: &Path) -> Result<(), KeyFileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|cause| at(dir, cause))
}

impl KeyFile {
    /// Returns where the key is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns from when the key signs, in milliseconds since the Unix epoch.
    pub fn signs_from_ms(&self) -> u64 {
        signs_from_ms(&self.kid)
    }
}

fn read(file: &KeyFile) -> Result<SigningKey, KeyFileError> {
    let path = &file.path;
    // Whoever opens a named pipe waits for somebody who writes.
    if !fs::metadata(path)
        .map_err(|cause| at(path, cause))?
        .is_file()
    {
        return Err(at(path, io::Error::other("is not a file")));
    }
    let mut open = File::open(path).map_err(|cause| at(path, cause))?;
    let found = open.metadata().map_err(|cause| at(path, cause))?;
    only_ours(path, &found)?;
    let mode = found.permissions().mode() & 0o777;
    // Its group may: Kubernetes gives the files of a Secret to a group of the pod's, and to no user of it.
    if mode & 0o004 != 0 {
        return Err(KeyFileError::Readable {
            path: path.clone(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    open.read_to_string(&mut text)
        .map_err(|cause| at(path, cause))?;
    let text = Secret::new(text.as_str());
    let key = SigningKey::parse(file.kid.clone(), file.algorithm, &text);
    key.ok_or_else(|| KeyFileError::NotAKey {
        path: path.clone(),
        algorithm: file.algorithm,
    })
}

/// Returns what a key must be.
fn asked_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "a key of the curve P-256, as PKCS#8 in PEM",
        Algorithm::EdDsa => "a key of the curve Ed25519, as PKCS#8 in PEM",
        Algorithm::Rs256 => "an RSA key of 2048 bits or more, as PEM",
        Algorithm::Hs256 => "32 random bytes or more, in base64",
    }
}

fn generate(algorithm: Algorithm) -> Option<Secret> {
    let der = match algorithm {
        Algorithm::Es256 => {
            let key =
                signature::EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
                    .ok()?;
            key.to_pkcs8v1().ok()?.as_ref().to_vec()
        }
        Algorithm::EdDsa => {
            let key = signature::Ed25519KeyPair::generate().ok()?;
            key.to_pkcs8v1().ok()?.as_ref().to_vec()
        }
        Algorithm::Rs256 => {
            let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).ok()?;
            key.as_der().ok()?.as_ref().to_vec()
        }
        Algorithm::Hs256 => {
            let mut key = [0_u8; 32];
            aws_lc_rs::rand::fill(&mut key).ok()?;
            return Some(Secret::new(STANDARD.encode(key)));
        }
    };
    Some(Secret::new(pem::encode(&Pem::new("PRIVATE KEY", der))))
}

fn at(path: &Path, cause: io::Error) -> KeyFileError {
    KeyFileError::File {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::super::VERIFIES_FIRST;
    use super::*;

    #[test]
    fn the_first_start_makes_a_key_that_only_its_owner_can_read() {
        for algorithm in Algorithm::ALL {
            let dir = tempfile::tempdir().unwrap();
            let keys = dir.path().join("keys");
            let ring = load_or_make(&keys, algorithm, &Clock::system()).unwrap();
            let files = list(&keys).unwrap();
            assert_eq!(files.len(), 1);
            assert_eq!(files[0].kid, ring.signing(0).kid());
            let mode = fs::metadata(&files[0].path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let again = load_or_make(&keys, algorithm, &Clock::system()).unwrap();
            assert_eq!(again.signing(0).kid(), ring.signing(0).kid());
        }
    }

    #[test]
    fn nodes_that_start_together_over_an_empty_folder_have_the_same_one_key() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let keys = dir.path().join("keys");
            let begin = Barrier::new(8);
            let start = || {
                begin.wait();
                let ring = load_or_make(&keys, Algorithm::Es256, &Clock::system()).unwrap();
                ring.iter().map(|key| key.kid().to_owned()).collect()
            };
            let rings: Vec<Vec<String>> = thread::scope(|scope| {
                let nodes: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
                nodes.into_iter().map(|node| node.join().unwrap()).collect()
            });
            assert_eq!(rings[0].len(), 1);
            assert!(rings.iter().all(|ring| *ring == rings[0]), "{rings:?}");
        }
    }

    #[test]
    fn the_newest_key_signs_in_its_time_and_a_retired_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let first = make(dir.path(), Algorithm::Es256, Signs::Later, &clock).unwrap();
        let second = make(dir.path(), Algorithm::EdDsa, Signs::Later, &clock).unwrap();
        let ring = load_or_make(dir.path(), Algorithm::Es256, &clock).unwrap();
        assert_eq!(ring.signing(clock.unix_ms()).kid(), first);
        clock.advance(VERIFIES_FIRST);
        assert_eq!(ring.signing(clock.unix_ms()).kid(), second);
        assert!(ring.find(&first).is_some());
        retire(dir.path(), &first).unwrap();
        let ring = load_or_make(dir.path(), Algorithm::Es256, &clock).unwrap();
        assert!(ring.find(&first).is_none());
        assert!(matches!(
            retire(dir.path(), &second),
            Err(KeyFileError::Last(_))
        ));
        assert!(matches!(
            retire(dir.path(), &first),
            Err(KeyFileError::Unknown(_))
        ));
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), Algorithm::Es256, Signs::Later, &Clock::system()).unwrap();
        let path = list(dir.path()).unwrap()[0].path.clone();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            load_or_make(dir.path(), Algorithm::Es256, &Clock::system()),
            Err(KeyFileError::Readable { mode: 0o644, .. })
        ));
    }

    #[test]
    fn a_damaged_key_file_is_named_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), Algorithm::Es256, Signs::Later, &Clock::system()).unwrap();
        let path = list(dir.path()).unwrap()[0].path.clone();
        fs::write(&path, "s3cret-rubbish").unwrap();
        let told = load_or_make(dir.path(), Algorithm::Es256, &Clock::system())
            .unwrap_err()
            .to_string();
        assert!(told.contains("is not a ES256 key"), "{told}");
        assert!(!told.contains("rubbish"));
    }
}
