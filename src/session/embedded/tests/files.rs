//! Tests of the embedded store's files: whose they are, and what is refused when they are opened.

use redb::TableDefinition;

use super::*;

#[test]
fn the_files_are_for_their_owner_alone() {
    let place = Place::new();
    let folder = place.folder.path().join("made/here");
    let _store = Sessions::embedded(&folder, None, RULES, Clock::system()).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(FILE)), 0o600);
    assert_eq!(mode(&folder.join(SEAL_KEY_FILE)), 0o600);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_store_that_is_open_cannot_be_opened_again() {
    let place = Place::new();
    let _store = place.open().unwrap();
    assert!(matches!(refusal(place.open()), OpenError::InUse(_)));
}

#[test]
fn a_configured_seal_key_makes_no_file() {
    let place = Place::new();
    drop(place.open_with(sealing(1)).unwrap());
    assert!(!place.folder.path().join(SEAL_KEY_FILE).exists());
    drop(place.open_with(sealing(1)).unwrap());
}

#[test]
fn a_different_seal_key_is_refused() {
    let place = Place::new();
    drop(place.open_with(sealing(1)).unwrap());
    let error = refusal(place.open_with(sealing(2)));
    assert!(matches!(error, OpenError::SealKeyDiffers(_)), "{error}");
}

#[test]
fn a_file_of_another_layout_is_refused_and_left_as_it_is() {
    for layout in [None, Some(&b"0"[..]), Some(b"1"), Some(b"3")] {
        let place = Place::new();
        drop(place.open().unwrap());
        let database = redb::Database::open(place.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.remove(LAYOUT).unwrap();
        if let Some(layout) = layout {
            meta.insert(LAYOUT, layout).unwrap();
        }
        drop(meta);
        // Such as this table was in another layout.
        transaction.delete_table(SESSIONS).unwrap();
        let other = TableDefinition::<u64, &[u8]>::new("sessions");
        transaction.open_table(other).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::LayoutDiffers(_)), "{error}");
        assert!(error.to_string().contains(place.file().to_str().unwrap()));
        let copy = place.folder.path().join("copy");
        let error = Sessions::copy_embedded(place.folder.path(), &copy).unwrap_err();
        assert!(matches!(error, OpenError::LayoutDiffers(_)), "{error}");
        let kept = redb::Database::open(place.file()).unwrap();
        let meta = kept.begin_read().unwrap().open_table(META).unwrap();
        let found = meta.get(LAYOUT).unwrap();
        assert_eq!(found.as_ref().map(redb::AccessGuard::value), layout);
    }
}

#[test]
fn a_lost_seal_key_is_not_replaced() {
    let place = Place::new();
    drop(place.open().unwrap());
    fs::remove_file(place.folder.path().join(SEAL_KEY_FILE)).unwrap();
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::SealKeyMissing(_)), "{error}");
}

#[test]
fn a_seal_key_that_is_none_is_refused_without_being_shown() {
    let error = refusal(Place::new().open_with(Some(Secret::new("hunter2"))));
    assert!(matches!(error, OpenError::ConfiguredSealKeyMalformed));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn a_file_that_is_no_store_is_called_damaged() {
    for content in [&b""[..], b"text", &[0; 8192], &[0xA5; 1 << 20]] {
        let place = Place::new();
        drop(place.open().unwrap());
        fs::write(place.file(), content).unwrap();
        let error = refusal(place.open());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_with_overwritten_parts_is_called_damaged() {
    let place = Place::new();
    let store = place.open().unwrap();
    for n in 0..50 {
        let who = identity(&format!("user-{n}"));
        store.open_session(who, &session_key("k")).await.unwrap();
    }
    store.close().await;
    let whole = fs::read(place.file()).unwrap();
    let mut broken = whole.clone();
    // In every copy of the page: which one counts is not ours to know.
    for at in (0..whole.len() - 6).filter(|at| whole[*at..].starts_with(b"user-7")) {
        broken[at..at + 6].fill(0xff);
    }
    fs::write(place.file(), broken).unwrap();
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_truncated_store_is_called_damaged() {
    let place = Place::new();
    drop(place.open().unwrap());
    let whole = fs::read(place.file()).unwrap();
    fs::write(place.file(), &whole[..whole.len() / 2]).unwrap();
    let error = refusal(place.open());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_folder_that_is_a_file_is_named_in_the_error() {
    let place = Place::new();
    let path = place.folder.path().join("file");
    fs::write(&path, "").unwrap();
    let error = refusal(Sessions::embedded(&path, None, RULES, Clock::system()));
    assert!(error.to_string().contains(path.to_str().unwrap()));
    let causes = iter::successors(error::Error::source(&error), |error| error.source());
    assert_eq!(causes.count(), 1);
}
