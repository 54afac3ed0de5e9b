//! What single values must be like: paths, users, environment, commands. Pure; each refusal says what to write instead.

use std::path::PathBuf;

use super::{HostFacts, errors::Problem, suggest};
use crate::model::printable;

/// An absolute path of the host in normal form; a trailing slash is forgiven.
pub(super) fn absolute(text: &str) -> Result<PathBuf, Problem> {
    let trimmed = text.trim_end_matches('/');
    let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
    if !text.starts_with('/') {
        let title = format!("{text:?} is not an absolute path");
        return Err(
            Problem::new(title).help(format!("write it from the root: \"/srv/{}\"", text.trim_start_matches("./")))
        );
    }
    if trimmed[1..].split('/').any(|part| matches!(part, "" | "." | "..")) && trimmed != "/" {
        let title = format!("{text:?} is not in normal form");
        return Err(Problem::new(title).help("write the path without `.`, `..` and `//`"));
    }
    plain_path(trimmed)?;
    Ok(PathBuf::from(trimmed))
}

/// A path inside a release or `shared/`, in normal form, without a trailing slash.
pub(super) fn relative(text: &str) -> Result<String, Problem> {
    let trimmed = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    if text.starts_with('/') {
        let title = format!("{text:?} is absolute, but stands for a path inside a release");
        return Err(Problem::new(title).help(format!("write \"{}\"", text.trim_matches('/'))));
    }
    if trimmed.split('/').any(|part| part == "..") {
        return Err(Problem::new(format!("{text:?} leads out of the release")).help("write a path without `..`"));
    }
    if trimmed.is_empty() || trimmed.split('/').any(|part| matches!(part, "" | ".")) {
        return Err(
            Problem::new(format!("{text:?} is not a path inside a release")).help("write one like \"storage/app\"")
        );
    }
    if trimmed.split('/').any(|part| part == ".git") {
        return Err(Problem::new(format!("{text:?} is git's own")).help("a release has no .git; remove it"));
    }
    plain_path(trimmed)?;
    Ok(trimmed.to_owned())
}

/// Characters that units, php-fpm's configuration and nginx's all take as they are.
fn plain_path(text: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@~,=".contains(c);
    match text.chars().find(|c| !plain(*c)) {
        None if text.len() <= 255 => Ok(()),
        None => Err(Problem::new("the path is longer than 255 bytes").help("use a shorter one")),
        Some(c) => Err(Problem::new(format!("{c:?} cannot be part of this path")).help(
            "use letters, digits and `._-+@~,=`: units and servers give other characters a meaning of their own",
        )),
    }
}

/// The app's root: a directory of its own, not one that the system or everyone uses.
pub(super) fn root(text: &str) -> Result<PathBuf, Problem> {
    const WHOLE: [&str; 17] = [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/proc",
        "/run",
        "/sbin",
        "/sys",
        "/tmp",
        "/usr",
        "/var/cache/deployd",
        "/var/lib/deployd",
        "/var/tmp",
    ];
    const ITSELF: [&str; 16] = [
        "/",
        "/home",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/srv",
        "/usr/local",
        "/var",
        "/var/backups",
        "/var/cache",
        "/var/lib",
        "/var/log",
        "/var/mail",
        "/var/spool",
        "/var/www",
    ];
    let path = absolute(text)?;
    let own = path.starts_with("/usr/local") || !WHOLE.iter().any(|dir| path.starts_with(dir));
    if own && !ITSELF.iter().any(|dir| path.as_os_str() == *dir) {
        return Ok(path);
    }
    Err(Problem::new(format!("root = {text:?} is the system's"))
        .help("give the app a directory of its own, like \"/srv/shop\" or \"/var/www/shop\""))
}

/// A user that exists and is not root.
pub(super) fn user(name: &str, key: &str, host: &HostFacts) -> Result<(), Problem> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !first || !rest || name.len() > 31 {
        return Err(
            Problem::new(format!("{name:?} is not a user's name")).help("write a name like \"shop\", not a uid")
        );
    }
    let root = || {
        Problem::new(format!("{key} may not be root: the app's code would own the host")).help(format!(
            "make a user for it: `useradd --system --shell /usr/sbin/nologin shop`, and write {key} = \"shop\""
        ))
    };
    match host.users.get(name) {
        _ if name == "root" => Err(root()),
        Some((0, _)) => Err(root()),
        Some(_) => Ok(()),
        None => {
            let near = suggest::clause(name, host.users.keys().map(String::as_str));
            Err(Problem::new(format!("user {name:?} does not exist{near}"))
                .help(format!("create it with `useradd --system --shell /usr/sbin/nologin {name}`")))
        }
    }
}

/// The name and value of an environment variable. The problem never quotes the value.
pub(super) fn variable(name: &str, value: &str) -> Result<(), Problem> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    if !first || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
        return Err(
            Problem::new(format!("{name:?} is not a variable's name")).help("use A-Z, 0-9 and _, a letter first")
        );
    }
    if let Some(why) = denied(name) {
        return Err(Problem::new(format!("{name} may not be set: {why}")).help("remove it"));
    }
    if value.contains(['\0', '\n', '\r']) {
        return Err(Problem::new(format!("the value of {name} has a NUL or a line break")).help("write it in one line"));
    }
    if value.len() > 32 * 1024 {
        return Err(
            Problem::new(format!("the value of {name} is longer than 32 KiB")).help("put it in a file in shared/")
        );
    }
    Ok(())
}

/// Why a variable is not the configuration's to set. The list is that of what makes a program run other code.
fn denied(name: &str) -> Option<&'static str> {
    const CODE: &str = "it makes programs load or run other code";
    const PREFIXES: [&str; 6] = ["LD_", "PERL5", "PYTHON", "GIT_", "SSH_", "GLIBC_"];
    const NAMES: [&str; 7] = ["GCONV_PATH", "BASH_ENV", "ENV", "NODE_OPTIONS", "PHPRC", "PHP_INI_SCAN_DIR", "IFS"];
    const OURS: [&str; 7] = ["HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "NOTIFY_SOCKET", "COMPOSER_HOME"];
    if PREFIXES.iter().any(|p| name.starts_with(p)) || NAMES.contains(&name) {
        Some(CODE)
    } else if OURS.contains(&name) || name.starts_with("DEPLOYD_") || name.starts_with("FPM_") {
        Some("deployd sets it itself")
    } else {
        None
    }
}

/// A program and its arguments.
pub(super) fn command(run: &[String]) -> Result<(), Problem> {
    let Some(program) = run.first() else {
        return Err(Problem::new("run is empty")
            .help("write the program and its arguments: run = [\"php\", \"artisan\", \"...\"]"));
    };
    if program.is_empty() || program.starts_with('-') || program.contains(char::is_whitespace) {
        let title = format!("{program:?} is not a program");
        return Err(Problem::new(title).help("the first item is the program alone, each argument an item of its own"));
    }
    if run.iter().any(|item| item.contains(['\0', '\n', '\r'])) {
        return Err(
            Problem::new("an argument has a NUL or a line break").help("put a longer script into the repository")
        );
    }
    Ok(())
}

/// A URI path, as a probe asks for it.
pub(super) fn uri(text: &str) -> Result<(), Problem> {
    if text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Problem::new(format!("{text:?} is not the path of a page")).help("write one like \"/up\""))
}

/// A host's name or address, without port.
pub(super) fn host_name(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Some(v6) = inner {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// A URL of the host itself, for a health check.
pub(super) fn http_url(text: &str) -> Result<(), Problem> {
    let example = "write one like \"http://127.0.0.1/up\", and the site's name as host = \"shop.example.org\"";
    let bad = |why: &str| Problem::new(format!("{:?} {why}", printable(text))).help(example);
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("is not an http or https URL"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(bad("is not an http or https URL"));
    }
    if !rest.bytes().all(|b| b.is_ascii_graphic()) || text.len() > 2048 {
        return Err(bad("has characters that a URL cannot have"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Problem::new("the URL has credentials in it, which would end in journals").help(example).secret());
    }
    let (host, port) = split_port(authority).ok_or_else(|| bad("has a port that is not a number from 1 to 65535"))?;
    let _ = port;
    if host_name(host) { Ok(()) } else { Err(bad("has no valid host")) }
}

/// A webhook's address: https, or http to this host. The problem never quotes it: who knows it may post.
pub(super) fn hook_url(text: &str) -> Result<(), Problem> {
    let bad = |why: &str| {
        Problem::new(format!("the webhook's address {why}"))
            .help("write the whole https:// address, or better url_file = \"/etc/deployd/secrets/slack\"")
            .secret()
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("is no https URL"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, _) = split_port(authority).ok_or_else(|| bad("has a port that is no number"))?;
    if !rest.bytes().all(|b| b.is_ascii_graphic()) || text.len() > 2048 || authority.contains('@') || !host_name(host) {
        return Err(bad("is no https URL"));
    }
    let here = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    if scheme == "https" || (scheme == "http" && here) {
        Ok(())
    } else {
        Err(bad("is not https, and no other is private"))
    }
}

/// Something stands where a URL has a password: before an `@`, after a `:`.
pub(super) fn may_have_password(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(before, _)| before.replacen("://", "", 1).contains(':'))
}

/// `host`, `host:port` or `[v6]:port`.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_v6 = authority.rfind(']').map_or(0, |at| at + 1);
    match authority.get(after_v6..)?.rfind(':') {
        None => Some((authority, None)),
        Some(at) => {
            let (host, port) = authority.split_at(after_v6 + at);
            let port = port.get(1..)?;
            let number = port.parse::<u16>().ok().filter(|n| *n > 0 && !port.starts_with('+'))?;
            Some((host, Some(number)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_normal_or_refused() {
        assert_eq!(absolute("/srv/shop/").unwrap(), PathBuf::from("/srv/shop"));
        for bad in
            ["srv", "", "/srv/../etc", "/srv//x", "/srv/./x", "/srv/a b", "/srv/%i", "/srv/a\nb", "/srv/\"", "/a:b"]
        {
            assert!(absolute(bad).is_err(), "{bad}");
        }
        assert_eq!(relative("./storage/").unwrap(), "storage");
        for bad in ["", "/", ".", "..", "a/../b", "../x", "/abs", "a//b", ".git/config", "a b", "a\0", "./"] {
            assert!(relative(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_root_is_the_apps_own() {
        for good in ["/srv/shop", "/home/deploy/shop", "/var/www/shop", "/usr/local/shop", "/opt/x", "/data"] {
            assert!(root(good).is_ok(), "{good}");
        }
        for bad in
            ["/", "/etc", "/etc/shop", "/usr", "/usr/share/x", "/tmp/x", "/var/lib", "/run/x", "/home", "/dev/shm/x"]
        {
            assert!(root(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_exist_and_are_not_root() {
        let users = [("shop".to_owned(), (1000, 1000)), ("toor".to_owned(), (0, 0))].into();
        let host = HostFacts { users, ..HostFacts::default() };
        assert!(user("shop", "user", &host).is_ok());
        for bad in ["root", "toor", "nobody2", "-x", "a b", "1000", ""] {
            assert!(user(bad, "user", &host).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_that_run_code_are_refused() {
        for good in ["APP_ENV", "DB_PASSWORD", "_X", "PATH"] {
            assert!(variable(good, "a 'b' \"c\" $d").is_ok(), "{good}");
        }
        for bad in [
            "LD_PRELOAD",
            "GCONV_PATH",
            "BASH_ENV",
            "ENV",
            "PERL5LIB",
            "PYTHONPATH",
            "NODE_OPTIONS",
            "PHPRC",
            "IFS",
            "PHP_INI_SCAN_DIR",
            "GIT_SSH_COMMAND",
            "SSH_ASKPASS",
            "TMPDIR",
            "HOME",
            "DEPLOYD_APP",
            "lower",
            "A-B",
            "",
            "1A",
        ] {
            assert!(variable(bad, "x").is_err(), "{bad}");
        }
        for bad in ["a\nb", "a\0b", "a\rb"] {
            assert!(variable("A", bad).is_err());
        }
    }

    #[test]
    fn urls_name_a_host_and_no_credentials() {
        for good in ["http://127.0.0.1/up", "https://localhost:8443/x?y=1", "http://[::1]:80/", "http://h"] {
            assert!(http_url(good).is_ok(), "{good}");
        }
        for bad in [
            "ftp://h/",
            "127.0.0.1",
            "http://",
            "http://u:p@h/",
            "http://h:0/",
            "http://h:x/",
            "http://a b/",
            "http://h:+1/",
        ] {
            assert!(http_url(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_relative_path_that_passes_stays_inside(text in "[a-z./~ -]{0,24}") {
            if let Ok(path) = relative(&text) {
                prop_assert!(!path.starts_with('/') && !path.ends_with('/'));
                prop_assert!(path.split('/').all(|p| !p.is_empty() && p != "." && p != ".."));
            }
        }
    }
}
