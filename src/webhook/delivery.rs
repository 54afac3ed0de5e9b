//! Which forge sent a request, what it calls the event and the delivery, and what proves it: all from the headers, which
//! nobody has vouched for yet.

use hyper::header::{HeaderMap, HeaderName};

use super::signature::Proof;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forge {
    GitHub,
    GitLab,
    Gitea,
    Forgejo,
}

impl Forge {
    /// The name, as the journal has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Forge::GitHub => "github",
            Forge::GitLab => "gitlab",
            Forge::Gitea => "gitea",
            Forge::Forgejo => "forgejo",
        }
    }
}

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Who sends.
    pub forge: Forge,
    /// The event, in the forge's own word.
    pub event: String,
    /// The forge's id of this delivery; empty: it has none.
    pub id: String,
    /// What proves it.
    pub proof: Proof,
}

/// The forges, each with the headers of its event, its delivery and its signature. Gitea sends GitHub's too, and Forgejo
/// those of both: their own come first.
const FORGES: [(Forge, HeaderName, HeaderName, HeaderName); 3] = [
    (Forge::Forgejo, name("x-forgejo-event"), name("x-forgejo-delivery"), name("x-forgejo-signature")),
    (Forge::Gitea, name("x-gitea-event"), name("x-gitea-delivery"), name("x-gitea-signature")),
    (Forge::GitHub, name("x-github-event"), name("x-github-delivery"), name("x-hub-signature-256")),
];
/// GitLab's event.
const GITLAB: HeaderName = name("x-gitlab-event");

const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

/// Reads the headers; the error says what is wrong with them.
pub fn read(headers: &HeaderMap) -> Result<Delivery, &'static str> {
    for (forge, event, delivery, signature) in &FORGES {
        let Some(event) = one(headers, event)? else { continue };
        let id = one(headers, delivery)?.unwrap_or_default().to_owned();
        let given = one(headers, signature)?.ok_or("it has no signature")?;
        let given = if *forge == Forge::GitHub { given.strip_prefix("sha256=").unwrap_or_default() } else { given };
        let proof = Proof::hmac(given).ok_or("its signature is not 64 lower-case hexadecimal digits")?;
        return Ok(Delivery { forge: *forge, event: event.to_owned(), id, proof });
    }
    let event = one(headers, &GITLAB)?.ok_or("no forge sent it")?.to_owned();
    if let Some(signatures) = one(headers, &name("webhook-signature"))? {
        let id = one(headers, &name("webhook-id"))?.ok_or("it has no webhook-id")?.to_owned();
        let timestamp = one(headers, &name("webhook-timestamp"))?.ok_or("it has no webhook-timestamp")?;
        let proof = Proof::standard(&id, timestamp, signatures).ok_or("its signature is none of version 1")?;
        return Ok(Delivery { forge: Forge::GitLab, event, id, proof });
    }
    let token = one(headers, &name("x-gitlab-token"))?.ok_or("it has no signature")?.to_owned();
    let id = one(headers, &name("x-gitlab-event-uuid"))?.unwrap_or_default().to_owned();
    Ok(Delivery { forge: Forge::GitLab, event, id, proof: Proof::Token(token) })
}

/// A header that is there once or not at all: of two, one could be the checked one and the other the meant one.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err("a header is there twice");
    }
    let text = first.map(|value| value.to_str().map_err(|_| "a header is not plain text")).transpose()?;
    if text.is_some_and(|text| text.len() > 512) {
        return Err("a header is longer than 512 bytes");
    }
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn each_forge_is_known_by_its_own_headers() {
        let hub = format!("sha256={HEX}");
        let all = [
            ("x-github-event", "push"),
            ("x-github-delivery", "1"),
            ("x-hub-signature-256", &hub),
            ("x-gitea-event", "push"),
            ("x-gitea-delivery", "2"),
            ("x-gitea-signature", HEX),
            ("x-forgejo-event", "push"),
            ("x-forgejo-delivery", "3"),
            ("x-forgejo-signature", HEX),
        ];
        for (count, forge, id) in [(3, Forge::GitHub, "1"), (6, Forge::Gitea, "2"), (9, Forge::Forgejo, "3")] {
            let read = read(&headers(&all[..count])).unwrap();
            assert_eq!((read.forge, read.id.as_str(), read.event.as_str()), (forge, id, "push"));
        }
        let lab = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "t"), ("x-gitlab-event-uuid", "4")];
        let read = read(&headers(&lab)).unwrap();
        assert_eq!((read.forge, read.id.as_str(), read.proof), (Forge::GitLab, "4", Proof::Token("t".into())));
    }

    /// WH-01: what is no signature is none, before anything is compared.
    #[test]
    fn a_signature_that_is_wrongly_written_is_none() {
        let upper = format!("sha256={}", HEX.to_uppercase());
        let short = format!("sha256={}", &HEX[..62]);
        for bad in ["", HEX, "sha256=", &upper, &short, "sha1=0123456789abcdef0123456789abcdef01234567"] {
            assert!(read(&headers(&[("x-github-event", "push"), ("x-hub-signature-256", bad)])).is_err(), "{bad}");
        }
        let good = format!("sha256={HEX}");
        let twice = [("x-github-event", "push"), ("x-hub-signature-256", &good), ("x-hub-signature-256", &good)];
        assert!(read(&headers(&twice[..2])).is_ok() && read(&headers(&twice)).is_err());
        let sha1 = [("x-github-event", "push"), ("x-hub-signature", "sha1=0123456789abcdef0123456789abcdef01234567")];
        assert!(read(&headers(&sha1)).is_err());
        // GitHub's own is not good enough for who says that it is Gitea.
        let borrowed = [("x-gitea-event", "push"), ("x-hub-signature-256", &good)];
        assert!(read(&headers(&borrowed)).is_err());
    }
}
