//! Which urls and references are let near git at all. Pure.
//!
//! The configuration was checked like this before; a worker checks again, because git's own parsing of such words has
//! been the way in more than once (CVE-2017-1000117, CVE-2018-17456, CVE-2023-51385).

use std::path::Path;

use super::refusal::Refusal;
use crate::model::pattern::TAG;

/// How git reaches a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `https://host/path`.
    Https,
    /// `ssh://user@host/path` or `user@host:path`.
    Ssh,
    /// An absolute path of this host.
    Local,
}

impl Transport {
    /// For `GIT_ALLOW_PROTOCOL`: the only one that git may use.
    pub fn protocol(self) -> &'static str {
        match self {
            Transport::Https => "https",
            Transport::Ssh => "ssh",
            Transport::Local => "file",
        }
    }
}

/// Judges a url.
pub fn transport(url: &str) -> Result<Transport, Refusal> {
    let refuse = |why: &str| {
        // Not the url itself: it may carry a password.
        Err(Refusal::with(
            format!("the git url {why}"),
            "write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or an absolute path",
        ))
    };
    if url.is_empty() || url.len() > 2048 || url.chars().any(|c| c.is_control() || c == ' ' || c == '\\') {
        return refuse("is empty, too long or has a space, backslash or control character");
    }
    if url.starts_with('/') {
        let normal = Path::new(url).components().all(|part| !matches!(part, std::path::Component::ParentDir));
        return if normal { Ok(Transport::Local) } else { refuse("is a path with \"..\"") };
    }
    if let Some(rest) = url.strip_prefix("https://") {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return refuse("carries a user or a password; write token_credential, or use a deploy key over ssh");
        }
        return if host_and_port(authority) && !path.is_empty() {
            Ok(Transport::Https)
        } else {
            refuse("is not https://HOST/PATH")
        };
    }
    if let Some(rest) = url.strip_prefix("ssh://") {
        let Some((authority, path)) = rest.split_once('/') else { return refuse("has no path") };
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        return if user.is_none_or(word) && host_and_port(host) && !path.is_empty() {
            Ok(Transport::Ssh)
        } else {
            refuse("is not ssh://USER@HOST/PATH")
        };
    }
    match url.split_once(':') {
        Some((left, path)) if !path.is_empty() && !path.starts_with([':', '-']) && !path.starts_with("//") => {
            match left.split_once('@') {
                Some((user, host)) if word(user) && word(host) => Ok(Transport::Ssh),
                _ => refuse("is of no kind that is allowed"),
            }
        }
        _ => refuse("is of no kind that is allowed"),
    }
}

/// The host of an ssh url, for a remedy.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split([':', '/']).next().unwrap_or(rest)
}

fn word(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= 255 && !text.starts_with(['-', '.']) && text.chars().all(fine)
}

fn host_and_port(text: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0) && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(inner) = text.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port));
    }
    text.split_once(':').map_or_else(|| word(text), |(host, number)| word(host) && port(number))
}

/// Judges a reference: what git-check-ref-format allows, and nothing that could be read as an option or an expression; or
/// `tag:` and a pattern of tags.
pub fn reference(reference: &str) -> Result<(), Refusal> {
    match reference.strip_prefix(TAG) {
        Some(pattern) => name(&pattern.replace('*', "x")),
        None => name(reference),
    }
}

fn name(reference: &str) -> Result<(), Refusal> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let wrong = reference.is_empty()
        || reference.len() > 255
        || reference == "@"
        || reference.contains("..")
        || reference.contains("@{")
        || reference.chars().any(bad)
        || reference.ends_with('.')
        || reference.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-']) || part.ends_with(".lock"));
    if wrong {
        let reason = format!("\"{reference}\" is not a branch, tag or commit");
        return Err(Refusal::with(
            reason,
            "name a branch, a tag or a commit id, as `git branch` and `git tag` show them",
        ));
    }
    Ok(())
}

/// Whether it is all of a commit's id.
pub fn full_id(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && hex(reference)
}

/// Whether it can be the beginning of a commit's id, of at least 4 digits as git wants it.
pub fn short_id(reference: &str) -> bool {
    (4..=64).contains(&reference.len()) && hex(reference)
}

fn hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_have_been_a_way_in_are_refused() {
        for bad in [
            "",
            "ext::sh -c touch% /tmp/x",
            "EXT::x",
            "fd::17",
            "file:///srv/x",
            "ssh://-oProxyCommand=x/y",
            "ssh://a@-oProxyCommand=x/y",
            "-u./x",
            "--upload-pack=x",
            "git@ho`st:x",
            "git@ho st:x",
            "git@host:x\ny",
            "git://host/x",
            "http://host/x",
            "https://user:secret@host/x",
            "https://token@host/x",
            "ssh://git@host",
            "git@-host:x",
            "-git@host:x",
            "git@host:-x",
            "git@host://x",
            "/srv/../etc",
            "srv/x",
            "host:x",
            "https:///x",
            "https://host:0/x",
            "https://host:99999/x",
            "ssh://git@[::1/x",
        ] {
            assert!(transport(bad).is_err(), "{bad:?}");
        }
        assert!(!transport("https://user:secret@host/x").unwrap_err().reason().contains("secret"));
        for (good, kind) in [
            ("https://git.example.org/acme/shop.git", Transport::Https),
            ("https://git.example.org:8443/shop", Transport::Https),
            ("ssh://git@git.example.org:2222/acme/shop.git", Transport::Ssh),
            ("ssh://git@[::1]:2222/shop", Transport::Ssh),
            ("git@git.example.org:acme/shop.git", Transport::Ssh),
            ("/srv/git/shop.git", Transport::Local),
        ] {
            assert_eq!(transport(good).unwrap(), kind, "{good}");
        }
        assert_eq!(host("ssh://git@git.example.org:2222/acme"), "git.example.org");
        assert_eq!(host("git@git.example.org:acme"), "git.example.org");
    }

    #[test]
    fn references_that_are_expressions_are_refused() {
        for bad in [
            "",
            "-x",
            "--exec=x",
            "@{-1}",
            "refs/../x",
            "a..b",
            "a\nb",
            "a b",
            "a^",
            "a~1",
            "a:b",
            "@",
            "a/",
            "/a",
            "a//b",
            "a.lock",
            "a/.b",
            "a.",
            "x/-y",
            "a\\b",
            "main@{1}",
        ] {
            assert!(reference(bad).is_err(), "{bad:?}");
        }
        for good in ["main", "feature/a-b", "v1.2.3", "é", "0123abc"] {
            assert!(reference(good).is_ok(), "{good:?}");
        }
    }
}
