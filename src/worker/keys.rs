//! The application's keys as keyed digests: what the probe in the release tells stays in this process.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{order::Answer, refusal::Refusal, tell};

/// Previous keys that are looked at.
const MOST: usize = 50;

/// Carries out [`super::order::Order::Keys`].
pub async fn run(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    salt: &str,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    match tell::run(command, release, environment, timeout).await? {
        Answer::Told { config } => answer(&config, salt),
        other => Ok(other),
    }
}

fn answer(told: &BTreeMap<String, String>, salt: &str) -> Result<Answer, Refusal> {
    let current = told.get("key").map(|key| digest(salt, key)).transpose()?;
    let previous = told.iter().filter(|(name, _)| name.starts_with("previous.")).take(MOST);
    let previous = previous.map(|(_, key)| digest(salt, key)).collect::<Result<_, _>>()?;
    Ok(Answer::Keys { current, previous })
}

/// Of no use without the salt, which is root's.
fn digest(salt: &str, key: &str) -> Result<String, Refusal> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt.as_bytes())
        .map_err(|error| Refusal::new(format!("the key has no digest: {error}")))?;
    mac.update(key.trim().as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_by_its_digest_alone() {
        // RFC 4231, test case 2.
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(digest("Jefe", "what do ya want for nothing?").unwrap(), known);
        let told = [("key", "a"), ("previous.0", "b"), ("other", "c")].map(|(n, k)| (n.to_owned(), k.to_owned()));
        let Answer::Keys { current, previous } = answer(&told.into(), "s").unwrap() else { panic!("keys") };
        assert_eq!((current.unwrap().len(), previous.len()), (64, 1));
        assert_ne!(digest("s", "a").unwrap(), digest("t", "a").unwrap());
    }
}
