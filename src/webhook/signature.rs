//! Whether a body was signed with one of two secrets. Every comparison is of digests, in constant time, and the work is
//! the same whatever is wrong. Pure but for the time, which is given.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far the time of a delivery may be from ours, where it is signed too, in seconds.
const TOLERANCE: u64 = 300;
/// What stands before a secret of Standard Webhooks.
const STANDARD_KEY: &str = "whsec_";
/// Signatures in one header that are looked at.
const SIGNATURES: usize = 4;

/// What came with a body to prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// HMAC-SHA256 over the body.
    Hmac([u8; 32]),
    /// The secret itself, as GitLab's token is.
    Token(String),
    /// Standard Webhooks: HMAC-SHA256 over id, time and body.
    Standard {
        /// The id that is signed.
        id: String,
        /// The time that is signed, seconds since 1970.
        timestamp: String,
        /// Any of these.
        signatures: Vec<[u8; 32]>,
    },
}

impl Proof {
    /// From 64 lower-case hexadecimal digits.
    pub fn hmac(hex: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits: Vec<u8> = hex.bytes().map(digit).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (hex.len() == 64).then_some(())?;
        Some(Proof::Hmac(bytes.try_into().ok()?))
    }

    /// From the three headers of Standard Webhooks; signatures of other versions are left out.
    pub fn standard(id: &str, timestamp: &str, signatures: &str) -> Option<Self> {
        let one = |text: &str| STANDARD.decode(text.strip_prefix("v1,")?).ok()?.try_into().ok();
        let signatures: Vec<[u8; 32]> = signatures.split(' ').filter_map(one).take(SIGNATURES).collect();
        // The parts are joined by dots: one that has a dot could be read in two ways.
        let plain = !id.contains('.') && !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
        let (id, timestamp) = (id.to_owned(), timestamp.to_owned());
        (plain && !signatures.is_empty()).then_some(Proof::Standard { id, timestamp, signatures })
    }

    /// Something to compare when nothing was given.
    pub fn none() -> Self {
        Proof::Hmac([0; 32])
    }

    /// Whether the body is what is proved. A token says who sends, not what.
    pub fn covers_the_body(&self) -> bool {
        !matches!(self, Proof::Token(_))
    }
}

/// Whether one of the secrets was used; both are tried, always. `now` is in seconds since 1970.
pub fn is_good(secrets: &[Vec<u8>; 2], proof: &Proof, body: &[u8], now: u64) -> bool {
    let [first, second] = secrets;
    // Not `||`: the second is tried whatever the first says.
    by(first, proof, body, now) | by(second, proof, body, now)
}

fn by(secret: &[u8], proof: &Proof, body: &[u8], now: u64) -> bool {
    match proof {
        Proof::Hmac(given) => digest(secret, &[body]).is_some_and(|mac| mac.verify_slice(given).is_ok()),
        Proof::Token(given) => {
            // Digests are compared, so that neither length nor content of the secret decides how long it takes.
            let wanted = digest(secret, &[secret]).map(|mac| mac.finalize().into_bytes());
            let given = digest(secret, &[given.as_bytes()]);
            wanted.zip(given).is_some_and(|(wanted, given)| given.verify_slice(&wanted).is_ok())
        }
        Proof::Standard { id, timestamp, signatures } => {
            let key = standard_key(secret);
            let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
            let timely = timestamp.parse::<u64>().is_ok_and(|at| at.abs_diff(now) <= TOLERANCE);
            let Some(mac) = digest(&key, &parts) else { return false };
            signatures.iter().fold(false, |good, given| good | mac.clone().verify_slice(given).is_ok()) & timely
        }
    }
}

fn digest(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

/// `whsec_` and base64 is a key in that form; any other is itself.
fn standard_key(secret: &[u8]) -> Vec<u8> {
    let decoded = secret.strip_prefix(STANDARD_KEY.as_bytes()).and_then(|rest| STANDARD.decode(rest).ok());
    decoded.unwrap_or_else(|| secret.to_vec())
}

/// The digits of an HMAC-SHA256, as a forge sends them; for tests.
pub fn hex_of(secret: &[u8], body: &[u8]) -> String {
    let bytes = digest(secret, &[body]).map(|mac| mac.finalize().into_bytes());
    bytes.map(hex::encode).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(first: &str, second: &str) -> [Vec<u8>; 2] {
        [first.into(), second.into()]
    }

    fn hmac(secret: &str, body: &[u8]) -> Proof {
        Proof::hmac(&hex_of(secret.as_bytes(), body)).unwrap()
    }

    /// The example of GitHub's manual, "Validating webhook deliveries".
    #[test]
    fn github_s_own_example_is_good() {
        let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secrets = pair("It's a Secret to Everybody", "x");
        assert!(is_good(&secrets, &Proof::hmac(digits).unwrap(), b"Hello, World!", 0));
        assert!(!is_good(&secrets, &Proof::hmac(digits).unwrap(), b"Hello, World?", 0));
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_example_of_standard_webhooks_is_good() {
        let secrets = pair("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "x");
        let body = br#"{"test": 2432232314}"#;
        let signed = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let proof = Proof::standard(id, "1614265330", &format!("v1a,AAAA {signed}")).unwrap();
        assert!(is_good(&secrets, &proof, body, 1_614_265_330 + 300));
        assert!(!is_good(&secrets, &proof, body, 1_614_265_330 + 301), "too old");
        assert!(!is_good(&secrets, &proof, br#"{"test": 2432232315}"#, 1_614_265_330));
        let other = Proof::standard("msg_other", "1614265330", signed).unwrap();
        assert!(!is_good(&secrets, &other, body, 1_614_265_330));
        assert!(Proof::standard("a.b", "1614265330", signed).is_none() && Proof::standard("a", "-1", signed).is_none());
        assert!(Proof::standard("a", "1", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=").is_none());
    }

    /// WH-01 and WH-12.
    #[test]
    fn only_who_has_one_of_the_two_secrets_signs() {
        let secrets = pair("the first secret", "the second secret");
        let body = b"{\"ref\":\"refs/heads/main\"}";
        assert!(is_good(&secrets, &hmac("the first secret", body), body, 0));
        assert!(is_good(&secrets, &hmac("the second secret", body), body, 0));
        for wrong in [hmac("another secret", body), hmac("", body), hmac("the first secret", b""), Proof::none()] {
            assert!(!is_good(&secrets, &wrong, body, 0), "{wrong:?}");
        }
        for (token, good) in [("the second secret", true), ("the second secre", false), ("", false), ("x", false)] {
            assert_eq!(is_good(&secrets, &Proof::Token(token.into()), body, 0), good, "{token}");
        }
        for bad in ["", "00", "zz", &"A".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
            assert_eq!(Proof::hmac(bad), None, "{bad}");
        }
    }
}
