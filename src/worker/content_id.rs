//! Which content a file has: a digest, by whom it was taken.

/// Which content a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentId {
    /// Nobody has looked.
    Unread,
    /// SHA-256 of the content.
    Sha256([u8; 32]),
    /// git's object, by its SHA-1.
    Git1([u8; 20]),
    /// git's object, by its SHA-256.
    Git256([u8; 32]),
}

impl ContentId {
    /// A blob's, as git prints it.
    pub fn git(id: &str) -> Option<Self> {
        match id.len() {
            40 => Some(Self::Git1(bytes(id)?)),
            64 => Some(Self::Git256(bytes(id)?)),
            _ => None,
        }
    }

    /// git's name of the object, if it is one.
    pub fn object(&self) -> Option<String> {
        match self {
            Self::Git1(id) => Some(hex::encode(id)),
            Self::Git256(id) => Some(hex::encode(id)),
            Self::Unread | Self::Sha256(_) => None,
        }
    }

    /// As it was displayed.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("sha256", digits) => Some(Self::Sha256(bytes(digits)?)),
            ("git", digits) => Self::git(digits),
            _ => None,
        }
    }
}

impl std::fmt::Display for ContentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unread => f.write_str("unread"),
            Self::Sha256(digest) => write!(f, "sha256:{}", hex::encode(digest)),
            Self::Git1(id) => write!(f, "git:{}", hex::encode(id)),
            Self::Git256(id) => write!(f, "git:{}", hex::encode(id)),
        }
    }
}

/// Hexadecimal digits, just so many.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut out = [0; N];
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(out)
}
