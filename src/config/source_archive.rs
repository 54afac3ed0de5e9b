//! `[source]` with an archive: where it is, what proves it, how it is unpacked. Pure.

use super::{
    Source, Unpack, check,
    context::{Context, quoted, quoted_list},
    errors::Problem,
    settings::LEFT_OUT,
    source,
    written::{At, Reader},
};
use crate::model::{pattern::TAG, printable};

/// What stands for the reference.
const REFERENCE: &str = "{ref}";

/// The source; nothing when a problem was noted.
pub(super) fn archive(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<Source> {
    let at = reader.text("archive", "/srv/builds/shop.tar.zst", &mut cx.problems)?;
    let unpack = unpack(cx, reader);
    let reference = reference(cx, reader, &at);
    let sha256 = sha256(cx, reader);
    let (signed_by, signature) = (signed_by(cx, reader), signature(cx, reader));
    cx.take(place(&at.value), &at.place)?;
    let proved = reader.key_place("sha256").is_some() || reader.key_place("signed_by").is_some();
    if !at.value.starts_with('/') && !proved {
        let problem = Problem::new(
            "an archive from a server needs its sha256 or a signature: whoever has the server has the site else",
        );
        let help = "write sha256 = \"...\", which `sha256sum FILE` prints, or signed_by = [\"...\"] with a public key";
        cx.problems.push(problem.at(&at.place).help(help));
    }
    Some(Source::Archive { at: at.value, reference, sha256, signed_by, signature, unpack })
}

/// Where an archive or its signature is.
fn place(text: &str) -> Result<(), Problem> {
    if text.starts_with('/') { file(text) } else { url(text) }
}

/// The keys, each in one line.
fn signed_by(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let Some(keys) = reader.texts("signed_by", "[\"RWQ...\"]", &mut cx.problems) else { return Vec::new() };
    if keys.is_empty()
        && let Some(at) = reader.key_place("signed_by")
    {
        cx.problems.push(Problem::new("signed_by names no key").at(at).help("write one, or remove it"));
    }
    let help = "write minisign's public key (RW...), or ssh's as its .pub file has it (ssh-ed25519 AAAA...)";
    let checked =
        |at: &At<String>| public_key(&at.value).ok_or_else(|| Problem::new("this is no public key").help(help));
    keys.iter().filter_map(|at| cx.take(checked(at), &at.place)).collect()
}

fn public_key(text: &str) -> Option<String> {
    let base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    if text.starts_with("RW") && text.len() == 56 && base64(text) {
        return Some(text.to_owned());
    }
    let mut words = text.split(' ');
    let (kind, key) = (words.next()?, words.next()?);
    let known = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
    let keyed = ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"];
    let good = (known.contains(&kind) || keyed.contains(&kind)) && key.len() >= 60 && key.len() <= 4096 && base64(key);
    // Without the comment, which nobody needs.
    good.then(|| format!("{kind} {key}"))
}

fn signature(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = reader.text("signature", "/srv/builds/shop.tar.zst.minisig", &mut cx.problems)?;
    if reader.key_place("signed_by").is_none() {
        let problem = Problem::new("a signature proves nothing without a key");
        cx.problems.push(problem.at(&at.place).help("write signed_by = [\"...\"] with the public key"));
    }
    cx.take(place(&at.value), &at.place).map(|()| at.value)
}

/// How an archive is unpacked.
pub(super) fn unpack(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Unpack {
    let strip = reader.flag("strip", &mut cx.problems).map(|at| at.value);
    if strip.is_none() {
        cx.infer("source.strip", "true", "a single directory at the top, as forges make it, is left out of all names");
    }
    Unpack { strip: strip.unwrap_or(true), exclude: exclude(cx, reader) }
}

/// What is not taken: the defaults, unless they are turned off, and what is written.
pub(super) fn exclude(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let all = reader.flag("include_all", &mut cx.problems).is_some_and(|at| at.value);
    let mut out: Vec<String> = if all { Vec::new() } else { LEFT_OUT.map(str::to_owned).into() };
    if !all {
        cx.infer("source.exclude", quoted_list(&out), "the default; include_all = true turns it off");
    }
    for path in cx.relatives(reader, "exclude").unwrap_or_default() {
        if !out.contains(&path) {
            out.push(path);
        }
    }
    out
}

fn reference(cx: &mut Context<'_>, reader: &mut Reader<'_>, archive: &At<String>) -> Option<String> {
    let has_place = archive.value.contains(REFERENCE);
    match reader.text("ref", "v1.2.3", &mut cx.problems) {
        Some(at) if !has_place => {
            let problem = Problem::new(format!("ref has no place in {}", quoted(&archive.value)));
            let help = "write {ref} where it belongs: archive = \"/srv/builds/shop-{ref}.tar.zst\"";
            cx.problems.push(problem.at(&at.place).help(help));
            None
        }
        Some(at) if at.value.starts_with(TAG) => {
            let problem = Problem::new("an archive is not looked for: which tag is the newest, nobody tells");
            cx.problems.push(problem.at(&at.place).help("write one: ref = \"v1.2.3\", or deploy with --ref v1.2.3"));
            None
        }
        Some(at) => {
            let checked =
                source::check_reference(&at.value).map_err(|why| Problem::new(why).help("write ref = \"v1.2.3\""));
            cx.take(checked, &at.place).map(|()| at.value)
        }
        None => {
            if has_place && reader.node("ref").is_none() {
                let problem = Problem::new("the archive's name has {ref} in it, and there is no ref");
                cx.problems.push(problem.at(&archive.place).help("write ref = \"v1.2.3\", or a name without {ref}"));
            }
            None
        }
    }
}

fn sha256(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = reader.text("sha256", "64 hexadecimal digits", &mut cx.problems)?;
    let text = at.value.to_ascii_lowercase();
    let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let help = "write the 64 hexadecimal digits that `sha256sum FILE` prints";
    cx.take(good.then_some(text).ok_or_else(|| Problem::new("this is no SHA-256").help(help)), &at.place)
}

/// An archive of this host.
fn file(text: &str) -> Result<(), Problem> {
    let path = check::absolute(&text.replace(REFERENCE, "ref"))?;
    if ["/tmp", "/var/tmp"].iter().any(|private| path.starts_with(private)) {
        return Err(Problem::new("the app's worker has a /tmp of its own and does not see this one")
            .help("keep archives in another directory: \"/srv/builds/shop.tar.zst\""));
    }
    Ok(())
}

/// An archive of a server.
fn url(text: &str) -> Result<(), Problem> {
    // Whatever else is wrong with it: the line is not shown where a password may stand in it.
    plain_url(text).map_err(|problem| problem.secret_if(check::may_have_password(text)))
}

fn plain_url(text: &str) -> Result<(), Problem> {
    let bad = |why: &str| {
        Problem::new(format!("the archive's address {why}")).help("write https://HOST/PATH, or an absolute path")
    };
    if text.len() > 1024 || printable(text) != text || text.contains(char::is_whitespace) {
        return Err(bad("is too long, or has spaces or control characters"));
    }
    let rest = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", _)) => {
            return Err(bad("is http://: anyone on the way could put code of theirs into the release"));
        }
        _ => return Err(bad("is neither https:// nor an absolute path")),
    };
    let (authority, path) = rest.split_once('/').ok_or_else(|| bad("has no path after its host"))?;
    if authority.contains('@') {
        return Err(bad("has credentials in it, which would end in journals").secret());
    }
    let (host, _) = check::split_port(authority).ok_or_else(|| bad("has a port that is not from 1 to 65535"))?;
    if !check::host_name(host) || path.is_empty() {
        return Err(bad("has no valid host, or no path"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@~%,=?&:()!*;{}".contains(c);
    if !path.replace(REFERENCE, "").chars().all(plain) || path.replace(REFERENCE, "").contains(['{', '}']) {
        return Err(bad("has a character that is not allowed there, or another place than {ref}"));
    }
    Ok(())
}
