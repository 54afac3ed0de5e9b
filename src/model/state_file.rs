//! The format of an app's state and of its holds: version, checksum, and the value as the text that the checksum is of.
//! Pure.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::AppState;

/// The version of the format that is written here.
pub const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    /// SHA-256 of `state`'s text, hexadecimal.
    sha256: String,
    /// The state as JSON text, so that the checksum is of exact bytes.
    state: String,
}

fn checksum(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// A value as its file holds it. An error is one that JSON cannot hold.
pub(super) fn encode(state: &impl Serialize) -> Result<Vec<u8>, String> {
    let state = serde_json::to_string(state).map_err(|e| e.to_string())?;
    let envelope = Envelope { version: VERSION, sha256: checksum(&state), state };
    serde_json::to_vec(&envelope).map_err(|e| e.to_string())
}

/// Reads a file's content. Another version and a damaged one are refused, in a clause with the remedy.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = |detail: &str| {
        format!("the record is damaged ({detail}); it was left as it is: move it away, and deployd begins a new one")
    };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
    if version != VERSION {
        return Err(format!(
            "the record is of version {version}, and this deployd knows {VERSION}: install the newer package"
        ));
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
    if checksum(&envelope.state) != envelope.sha256 {
        return Err(damaged("its checksum is wrong"));
    }
    serde_json::from_str(&envelope.state).map_err(|e| damaged(&e.to_string()))
}

impl AppState {
    /// The state as its file holds it. An error is a value that JSON cannot hold.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        encode(self)
    }

    /// Reads a state file's content. Another version and a damaged one are refused, in a clause with the remedy.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_cut_or_changed_anywhere_is_refused() {
        let state = AppState { seq: 7, ..AppState::default() };
        let bytes = encode(&state).unwrap();
        assert_eq!(AppState::decode(&bytes).unwrap(), state);
        for cut in 0..bytes.len() {
            assert!(AppState::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            AppState::decode(text.replace("\\\"seq\\\":7", "\\\"seq\\\":8").as_bytes())
                .unwrap_err()
                .contains("checksum")
        );
        assert!(
            AppState::decode(text.replace("\"version\":1", "\"version\":2").as_bytes())
                .unwrap_err()
                .contains("newer package")
        );
    }
}
