//! What reads the bytes of others: each target takes any bytes and may refuse them, but neither panic nor forget.

use std::{fs, path::PathBuf};

use deployd::{
    config,
    model::{AppState, Paths},
    webhook::{
        event::{self, Event, Kind},
        signature::Proof,
    },
    worker::{archive, order},
};
use sha2::{Digest, Sha256};

/// A directory of this process's own.
fn place(name: &str) -> PathBuf {
    use std::sync::OnceLock;
    static BASE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let base = BASE.get_or_init(|| tempfile::tempdir().expect("a directory of our own"));
    let place = base.path().join(name);
    fs::create_dir_all(&place).expect("it is ours");
    place
}

/// `/etc/deployd/apps/shop.toml`: settings, or an error that is told with its place.
pub fn config(data: &[u8]) {
    let root = place("config");
    let apps = root.join("etc/deployd/apps");
    fs::create_dir_all(&apps).expect("it is ours");
    fs::write(apps.join("shop.toml"), data).expect("it is ours");
    let facts = config::HostFacts {
        fpm: vec![("8.3".into(), "/usr/sbin/php-fpm8.3".into())],
        web_user: Some("www-data".into()),
        users: [("shop".into(), (1000, 1000)), ("www-data".into(), (33, 33))].into(),
    };
    match config::load(&Paths::below(&root), &"shop".parse().expect("a name"), &facts) {
        Ok(settings) => assert!(!config::show(&settings).is_empty()),
        Err(error) => assert!(!error.rendered.is_empty() && !error.summary.contains('\n')),
    }
}

/// A state file; and the same bytes as a state whose checksum is right.
pub fn record(data: &[u8]) {
    let _ = AppState::decode(data);
    let Ok(state) = std::str::from_utf8(data) else { return };
    let sha256: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = serde_json::json!({ "version": 1, "sha256": sha256, "state": state });
    if let Ok(state) = AppState::decode(file.to_string().as_bytes()) {
        let again = AppState::decode(&state.encode().expect("it was read")).expect("it was written");
        assert_eq!(again, state);
    }
}

/// An order or an answer; what was read is written and read as the same.
pub fn protocol(data: &[u8]) {
    if let Ok(order) = serde_json::from_slice::<order::Order>(data) {
        let text = serde_json::to_vec(&order).expect("it was read");
        assert_eq!(serde_json::from_slice::<order::Order>(&text).expect("it was written"), order);
    }
    if let Ok(answer) = serde_json::from_slice::<order::Answer>(data) {
        let text = serde_json::to_vec(&answer).expect("it was read");
        assert_eq!(serde_json::from_slice::<order::Answer>(&text).expect("it was written"), answer);
    }
}

/// An archive of any format, looked through as before a deployment.
pub fn archive(data: &[u8]) {
    let place = place("archive");
    let (file, cache) = (place.join("archive"), place.join("cache"));
    let _ = fs::remove_dir_all(&cache);
    fs::create_dir_all(&cache).expect("it is ours");
    fs::write(&file, data).expect("it is ours");
    let order = order::ArchiveOrder {
        at: file.to_string_lossy().into_owned(),
        name: "the archive".into(),
        reference: None,
        sha256: None,
        signed_by: Vec::new(),
        signature: None,
        strip: true,
        exclude: [".git", ".env", "storage"].map(str::to_owned).into(),
    };
    let _ = archive::resolve(&order, &cache, &["artisan".to_owned()]);
    let left = fs::read_dir(&place).expect("it is ours").count();
    assert_eq!(left, 2, "something was made beside the archive");
}

/// The body of a delivery, and its bytes as each kind of signature. What names a ref names one that git allows.
pub fn webhook(data: &[u8]) {
    for kind in [Kind::Push, Kind::Create, Kind::Release, Kind::Other] {
        if let Ok(Event::Moved(reference)) = event::read(kind, data) {
            assert!(reference.starts_with("refs/heads/") || reference.starts_with("refs/tags/"));
            config::check_reference(&reference).expect("deployd takes it");
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (Proof::hmac(text), Proof::standard("id", "1700000000", text), Proof::standard(text, text, "v1,AAAA"));
}
