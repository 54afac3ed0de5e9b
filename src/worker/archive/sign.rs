//! Whether one of the trusted keys has signed an archive: minisign by its library, ssh by ssh-keygen(1).

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use minisign_verify::{PublicKey, Signature};

use super::{
    super::{git, order::ArchiveOrder, refusal::Refusal},
    fetch,
    open::Archive,
};

/// The largest signature, in bytes.
const LARGEST: u64 = 16 * 1024;
/// How an ssh signature begins.
const SSH: &str = "-----BEGIN SSH SIGNATURE-----";
/// What an ssh signature must have been made for: `ssh-keygen -Y sign -n file`.
const NAMESPACE: &str = "file";

/// Refuses an archive that none of the order's keys has signed, if it has any.
pub fn verify(order: &ArchiveOrder, cache: &Path, archive: &Archive<'_>) -> Result<(), Refusal> {
    if order.signed_by.is_empty() {
        return Ok(());
    }
    let place = order.signature.clone().unwrap_or_else(|| {
        let minisign = order.signed_by.iter().any(|key| is_minisign(key));
        format!("{}.{}", order.at, if minisign { "minisig" } else { "sig" })
    });
    let text = read(&place, cache)?;
    let (ssh, minisign): (Vec<&String>, Vec<&String>) = order.signed_by.iter().partition(|key| !is_minisign(key));
    let verdict = if text.starts_with(SSH) {
        by_ssh(&ssh, &text, cache, archive)?
    } else {
        by_minisign(&minisign, &text, archive)?
    };
    verdict.map_err(|why| {
        Refusal::with(
            format!("{} is not signed as it must be: {place}: {why}", order.name),
            "sign it with a key of signed_by in [source], or find out who changed it",
        )
    })
}

/// Whether a key is minisign's: a line of base64 that begins with its algorithm, `Ed`.
fn is_minisign(key: &str) -> bool {
    key.starts_with("RW")
}

fn read(place: &str, cache: &Path) -> Result<String, Refusal> {
    let path = if place.starts_with("https://") {
        let to = cache.join("archive.sig");
        fetch::fetch_small(place, &to, LARGEST)?;
        to
    } else {
        PathBuf::from(place)
    };
    let mut text = String::new();
    let refuse = |error| {
        let remedy = "put the signature there, or name it as signature in [source]";
        Refusal::io("read the signature", place, error).or_remedy(remedy)
    };
    let file = super::open::file(&path).map_err(refuse)?;
    file.take(LARGEST).read_to_string(&mut text).map_err(refuse)?;
    Ok(text)
}

/// A verdict: signed, or why not.
type Verdict = Result<(), String>;

fn by_minisign(keys: &[&String], text: &str, archive: &Archive<'_>) -> Result<Verdict, Refusal> {
    let signature = match Signature::decode(text) {
        Ok(signature) => signature,
        Err(error) => return Ok(Err(format!("it is no signature: {error}"))),
    };
    let mut why = "no key of minisign is trusted".to_owned();
    for key in keys {
        let verified = match PublicKey::from_base64(key) {
            Ok(key) => match key.verify_stream(&signature) {
                Ok(mut verifier) => {
                    archive.read_through(|piece| verifier.update(piece))?;
                    verifier.finalize()
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match verified {
            Ok(()) => return Ok(Ok(())),
            Err(error) => why = error.to_string(),
        }
    }
    Ok(Err(why))
}

fn by_ssh(keys: &[&String], text: &str, cache: &Path, archive: &Archive<'_>) -> Result<Verdict, Refusal> {
    let signers: String = keys.iter().map(|key| format!("deployd namespaces=\"{NAMESPACE}\" {key}\n")).collect();
    let (allowed, signature) = (cache.join("archive.signers"), cache.join("archive.sshsig"));
    git::pin(&allowed, &signers)?;
    git::pin(&signature, text)?;
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "verify", "-n", NAMESPACE, "-I", "deployd", "-f"]).arg(&allowed).arg("-s").arg(&signature);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").current_dir("/");
    command.stdin(Stdio::from(archive.reopened()?)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Refusal::with("ssh-keygen is not there, which looks at ssh signatures", "install openssh-client")
        }
        _ => Refusal::new(format!("cannot run ssh-keygen: {error}")),
    })?;
    if ended.status.success() {
        return Ok(Ok(()));
    }
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(Err(said.lines().filter(|line| !line.is_empty()).take(2).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::archive::testing::{Place, entry, tar_of};

    /// For the bytes `test`, by a key whose public half is this: the example of the library's documentation.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
        wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";

    fn sshed(place: &Place, name: &str, namespace: &str) -> (String, String) {
        let run = |arguments: &[&str]| {
            let ended = Command::new("ssh-keygen").args(arguments).current_dir(place.dir.path()).output().unwrap();
            assert!(ended.status.success(), "{ended:?}");
        };
        run(&["-q", "-t", "ed25519", "-N", "", "-f", name]);
        run(&["-q", "-Y", "sign", "-n", namespace, "-f", name, "archive"]);
        let read = |path: &str| std::fs::read_to_string(place.dir.path().join(path)).unwrap();
        let signature = read("archive.sig");
        std::fs::remove_file(place.dir.path().join("archive.sig")).unwrap();
        (read(&format!("{name}.pub")).trim().to_owned(), signature)
    }

    fn refused(place: &Place, order: &ArchiveOrder, why: &str) {
        let refused = place.resolve(order, &[]).unwrap_err();
        assert!(refused.reason().contains(why), "{why}: {refused}");
    }

    #[test]
    fn only_what_a_trusted_ssh_key_signed_for_this_is_taken() {
        let place = Place::new(&tar_of(&[entry("x", b'0', "", b"1")]));
        let (key, signature) = sshed(&place, "key", NAMESPACE);
        let (other, of_other) = sshed(&place, "other", NAMESPACE);
        let (elsewhere, for_mail) = sshed(&place, "elsewhere", "email");
        let order = ArchiveOrder { signed_by: vec![key, elsewhere.clone()], ..place.order() };
        let beside = place.dir.path().join("archive.sig");
        refused(&place, &order, "cannot read the signature");
        for (text, why) in
            [(&of_other, "is not signed"), (&for_mail, "is not signed"), (&"x".to_owned(), "no signature")]
        {
            std::fs::write(&beside, text).unwrap();
            refused(&place, &order, why);
        }
        std::fs::write(&beside, &signature).unwrap();
        place.resolve(&order, &[]).unwrap();
        refused(&place, &ArchiveOrder { signed_by: vec![other], ..order.clone() }, "is not signed");
        refused(&place, &ArchiveOrder { signed_by: vec![KEY.into()], ..order.clone() }, "archive.minisig");
        std::fs::write(place.archive(), tar_of(&[entry("x", b'0', "", b"2")])).unwrap();
        refused(&place, &order, "is not signed");
    }

    #[test]
    fn only_what_a_trusted_minisign_key_signed_is_taken() {
        let place = Place::new(b"test");
        let order = ArchiveOrder { signed_by: vec![KEY.into()], ..place.order() };
        let beside = place.dir.path().join("archive.minisig");
        std::fs::write(&beside, SIGNATURE).unwrap();
        // It is no archive, but it is signed.
        refused(&place, &order, "is no archive");
        std::fs::write(place.archive(), b"Test").unwrap();
        refused(&place, &order, "is not signed");
        std::fs::write(place.archive(), b"test").unwrap();
        std::fs::write(&beside, SIGNATURE.replace("1633700835", "1633700836")).unwrap();
        refused(&place, &order, "is not signed");
    }
}
