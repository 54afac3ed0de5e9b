//! Where releases come from: git URLs and references, taken apart by ourselves, since git and ssh give some of them the
//! power to run commands (SSH options, transport helpers). Pure.

use super::{check, errors::Problem};
use crate::model::{pattern::TAG, printable};

/// How a git URL is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Https,
    Ssh,
    Path,
}

/// Checks a git URL that a person gave; the refusal quotes nothing of it.
pub fn check_git_url(text: &str) -> Result<(), String> {
    git_url(text).map(drop).map_err(|problem| problem.sentence())
}

/// Checks a git URL: https, ssh, scp-like (`git@host:path`) or an absolute path.
pub(super) fn git_url(text: &str) -> Result<Reach, Problem> {
    // Whatever else is wrong with it: the line is not shown where a password may stand in it.
    let checked = if names_password(text) { Err(credentials()) } else { git_place(text) };
    checked.map_err(|problem| problem.secret_if(names_password(text) || check::may_have_password(text)))
}

/// `scheme://user:password@host`, or `user:password@host:path`, which git takes for a path on the host `user`.
fn names_password(text: &str) -> bool {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let user = rest.split('/').next().and_then(|authority| authority.rsplit_once('@'));
            user.is_some_and(|(user, _)| !scheme.eq_ignore_ascii_case("ssh") || user.contains(':'))
        }
        None => text.split_once(':').is_some_and(|(place, path)| {
            !place.contains(['@', '/']) && path.split('/').next().is_some_and(|first| first.contains('@'))
        }),
    }
}

fn credentials() -> Problem {
    Problem::new("the git URL has credentials in it, which would end in journals and process lists").help(
        "write token_credential = \"/etc/deployd/secrets/shop-token\", or an ssh URL with no more than a user: `deployctl \
         key` makes a key",
    )
}

fn git_place(text: &str) -> Result<Reach, Problem> {
    let forms = "write https://host/path.git, ssh://user@host/path.git, user@host:path.git or an absolute path";
    let bad = |why: &str| Problem::new(format!("the git URL {why}")).help(forms);
    if text.is_empty() || text.len() > 1024 || printable(text) != text || text.contains(char::is_whitespace) {
        return Err(bad("is empty, too long, or has spaces or control characters"));
    }
    if text.starts_with('-') {
        return Err(bad("begins with `-`, which git would take for an option"));
    }
    if text.starts_with('/') {
        return check::absolute(text).map(|_| Reach::Path);
    }
    let helper =
        text.find("::").is_some_and(|at| text[..at].bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)));
    if helper {
        return Err(bad("names a transport helper (`ext::` and the like), which runs commands"));
    }
    match text.split_once("://") {
        Some((scheme, rest)) => with_scheme(&scheme.to_ascii_lowercase(), scheme, rest, &bad),
        None => scp_like(text, &bad),
    }
}

fn with_scheme(lower: &str, scheme: &str, rest: &str, bad: &dyn Fn(&str) -> Problem) -> Result<Reach, Problem> {
    let reach = match lower {
        _ if lower != scheme => return Err(bad("has capitals in its scheme")),
        "https" => Reach::Https,
        "ssh" => Reach::Ssh,
        "http" => {
            return Err(bad("is http://: anyone on the way could put code of theirs into the release")
                .help("write https:// instead"));
        }
        "git" => {
            return Err(bad("is git://, which proves neither who serves nor what is served")
                .help("write https:// or ssh:// instead"));
        }
        "file" => return Err(bad("is file://").help("write the absolute path alone: \"/srv/git/shop.git\"")),
        _ => return Err(bad("has a scheme that is not https or ssh")),
    };
    let (authority, path) = rest.split_once('/').ok_or_else(|| bad("has no path after its host"))?;
    let host = match (authority.rsplit_once('@'), reach) {
        (None, _) => authority,
        (Some((user, host)), Reach::Ssh) if ssh_user(user) => host,
        (Some(_), Reach::Ssh) => return Err(bad("has a user that is not a plain name")),
        (Some(_), _) => return Err(credentials()),
    };
    let (host, _) = check::split_port(host).ok_or_else(|| bad("has a port that is not a number from 1 to 65535"))?;
    if !check::host_name(host) {
        return Err(bad("has no valid host"));
    }
    remote_path(path, bad).map(|()| reach)
}

fn scp_like(text: &str, bad: &dyn Fn(&str) -> Problem) -> Result<Reach, Problem> {
    let (place, path) = text.split_once(':').ok_or_else(|| bad("is a relative path"))?;
    if place.contains('/') {
        return Err(bad("is a relative path"));
    }
    let (user, host) = place.rsplit_once('@').unwrap_or(("git", place));
    if !ssh_user(user) {
        return Err(bad("has a user that is not a plain name"));
    }
    if !check::host_name(host) || host.starts_with('[') {
        return Err(bad("has no valid host"));
    }
    remote_path(path, bad).map(|()| Reach::Ssh)
}

fn ssh_user(user: &str) -> bool {
    let first = user.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && user.len() <= 64 && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn remote_path(path: &str, bad: &dyn Fn(&str) -> Problem) -> Result<(), Problem> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@~%,=".contains(c);
    if path.trim_matches('/').is_empty() {
        return Err(bad("has no path after its host"));
    }
    if path.starts_with('-') || path.split('/').any(|part| part == "..") || !path.chars().all(plain) {
        return Err(bad(
            "has a path with `..`, a leading `-` or characters other than letters, digits and `/._-+@~%,=`",
        ));
    }
    Ok(())
}

/// Checks a git reference as a person gave it: branch, tag or commit, or `tag:` and a pattern of tags; never an option,
/// range or reflog expression.
///
/// The rules are those of git-check-ref-format(1), and stricter: no leading `-` or `+`, at most 255 bytes.
pub fn check_reference(text: &str) -> Result<(), String> {
    match text.strip_prefix(TAG) {
        // A star is a part of some name.
        Some(pattern) => check_name(&pattern.replace('*', "x")),
        None => check_name(text),
    }
}

fn check_name(text: &str) -> Result<(), String> {
    let shown: String = printable(text).chars().take(80).collect();
    let bad = |why: &str| Err(format!("the reference \"{shown}\" {why}; give a branch, a tag or a full commit id"));
    if text.is_empty() || text.len() > 255 {
        return bad("is empty or longer than 255 bytes");
    }
    if text.starts_with('-') {
        return bad("begins with `-`, which git would take for an option");
    }
    if text.starts_with('+') {
        return bad("begins with `+`");
    }
    if printable(text) != text
        || text.contains([' ', '~', '^', ':', '?', '*', '[', '\\'])
        || text.contains(char::is_whitespace)
    {
        return bad("has a space, a control character or one of `~^:?*[\\`");
    }
    if text.contains("..") || text.contains("@{") || text == "@" {
        return bad("is a range or a reflog expression");
    }
    let part =
        |p: &str| p.is_empty() || p.starts_with('.') || p.starts_with('-') || p.ends_with(".lock") || p.ends_with('.');
    if text.split('/').any(part) {
        return bad("is not a reference that git allows");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_that_git_and_ssh_take_as_places() {
        for (good, reach) in [
            ("https://git.example.org/acme/shop.git", Reach::Https),
            ("https://git.example.org:8443/shop", Reach::Https),
            ("ssh://git@git.example.org:2222/acme/shop.git", Reach::Ssh),
            ("ssh://[::1]/srv/git/shop.git", Reach::Ssh),
            ("git@git.example.org:acme/shop.git", Reach::Ssh),
            ("deploy@localhost:/srv/git/shop.git", Reach::Ssh),
            ("host:shop.git", Reach::Ssh),
            ("/srv/git/shop.git", Reach::Path),
        ] {
            assert_eq!(git_url(good).unwrap(), reach, "{good}");
        }
    }

    #[test]
    fn urls_that_run_commands_or_leak() {
        for bad in [
            "",
            "-u./x",
            "--upload-pack=x",
            "ext::sh -c x",
            "ext::sh",
            "EXT::sh",
            "fd::17",
            "file:///srv/x",
            "FILE:///x",
            "http://h/x",
            "git://h/x",
            "ftp://h/x",
            "HTTPS://h/x",
            "ssh://-oProxyCommand=x/y",
            "ssh://-oProxyCommand=x@h/y",
            "ssh://h:99999/x",
            "ssh://h`id`/x",
            "ssh://u:p@h/x",
            "https://token@h/x",
            "https://u:p@h/x",
            "https://h",
            "https://h/",
            "-x@h:y",
            "u@-h:y",
            "h:-x",
            "h:../x",
            "../x",
            "./x",
            "x",
            "h ost:x",
            "h:x\ny",
            "https://h/a?b",
            "https://h/$(id)",
            "[::1]:x",
            "/srv/../etc",
        ] {
            assert!(git_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_shown() {
        for bad in [
            "https://u:s3cret@h/x",
            "https://s3cret@h/x",
            "HTTPS://u:s3cret@h/x",
            "http://u:s3cret@h/x",
            "ssh://u:s3cret@h/x",
            "SSH://u:s3cret@h/x",
            "ssh://u:s3cret@h:99999/x",
            "git://u:s3cret@h/x",
            "u:s3cret@h:x",
            "u:s3cret@h/x.git",
        ] {
            let problem = git_url(bad).unwrap_err();
            let said = check_git_url(bad).unwrap_err();
            assert!(said.contains("credentials in it") && said.contains("token_credential"), "{bad}: {said}");
            assert!(problem.is_secret() && !said.contains("s3cret"), "{bad}: {said}");
        }
        // One with a slash in it ends what names the host.
        for bad in ["ssh://u:s3/cret@h/x", "https://u:s3/cret@h/x", "u:s3/cret@h:x"] {
            let problem = git_url(bad).unwrap_err();
            assert!(problem.is_secret() && !problem.sentence().contains("cret@"), "{bad}");
        }
        assert!(!git_url("git@h").unwrap_err().is_secret(), "nothing to hide");
        assert!(git_url("git@h:acme/shop@2.git").is_ok() && git_url("h:acme/shop@2.git").is_ok());
    }

    #[test]
    fn references() {
        for good in [
            "main",
            "HEAD",
            "feature/x-1",
            "v1.2.3",
            "0123456789abcdef0123456789abcdef01234567",
            "refs/heads/main",
            "a@b",
            "tag:v*",
            "tag:app/**",
        ] {
            assert!(check_reference(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "--exec=",
            "@{-1}",
            "main@{1}",
            "refs/../x",
            "a..b",
            "a:b",
            "a^",
            "a~1",
            "a b",
            "a\nb",
            "a\u{202e}b",
            "x.lock",
            "a.lock/b",
            ".a",
            "a/.b",
            "/a",
            "a/",
            "a//b",
            "a.",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "@",
            "+main",
            "a\u{7f}",
            "a/-b",
            "tag:",
            "tag:-v*",
            "tag:tag:v*",
            "tag:v?",
        ] {
            assert!(check_reference(bad).is_err(), "{bad:?}");
        }
        assert!(check_reference(&"a".repeat(256)).is_err());
        assert!(check_reference("--upload-pack=x").unwrap_err().contains("option"));
    }

    proptest! {
        #[test]
        fn whatever_passes_is_no_option_and_no_expression(text in "[a-z0-9@{}~^:./ \\-\\\\*?\\[]{0,20}") {
            if check_reference(&text).is_ok() {
                let expression = text.contains("..") || text.contains("@{");
                prop_assert!(!text.starts_with('-') && !expression);
                prop_assert!(!text.contains(['^', '~', ' ', '\\', '?', '[']));
                prop_assert!(text.starts_with("tag:") || !text.contains([':', '*']));
            }
        }

        #[test]
        fn a_url_that_passes_has_no_options(text in "(https://|ssh://|)[a-z@:/\\-.]{0,24}") {
            if git_url(&text).is_ok() {
                // What ssh is given: user and host, which end at the first `/` of a URL and the first `:` of
                // `user@host:path`. A path may hold anything that is no option.
                let (rest, end) = text.split_once("://").map_or((text.as_str(), ['/', ':']), |(_, rest)| (rest, ['/'; 2]));
                let authority = rest.split(end).next().unwrap_or_default();
                prop_assert!(!text.starts_with('-') && !authority.starts_with('-') && !authority.contains("@-"));
            }
        }
    }
}
