//! Deploy keys: made by ssh-keygen(1), kept where root alone reads them. The public half is all that leaves.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::error::{EngineError, reply};
use crate::{
    config,
    model::{AppName, DeployKey, KeyChange, KeyRequest, Paths, Reply, events, printable},
    system::{
        journal::{self, Priority},
        process,
        tree::{Dir, Lock},
    },
};

/// The largest key, in bytes.
const LARGEST: u64 = 16 * 1024;

/// Gives the app's public key, making a key if there is none or another one is wanted.
pub async fn make_key(paths: &Paths, request: &KeyRequest) -> Reply<DeployKey> {
    reply(key(paths, request).await)
}

async fn key(paths: &Paths, request: &KeyRequest) -> Result<DeployKey, EngineError> {
    let app = &request.key;
    if !config::list(paths).is_ok_and(|apps| apps.contains(app)) {
        return Err(EngineError::NoSuchApp(app.clone()));
    }
    let keys = Dir::open_or_make(&paths.keys_dir(), 0o700)?;
    // Two who ask at once get one key.
    let _held = Lock::take(&keys, ".lock", app.as_str()).await?;
    let there = keys.read(app.as_str(), LARGEST)?.is_some();
    let change = match (there, request.rotate) {
        (true, false) => KeyChange::Kept,
        (true, true) => KeyChange::Replaced,
        (false, _) => KeyChange::Made,
    };
    if change != KeyChange::Kept {
        generate(paths, &keys, app)?;
        let actor = request.actor.to_string();
        let text =
            format!("a deploy key was {} for {app}; `deployctl key {app}` prints its public half", change.as_str());
        let fields = [("DEPLOYD_APP", app.as_str()), ("DEPLOYD_ACTOR", actor.as_str())];
        journal::event(events::KEY_MADE, Priority::Notice, &text, &fields);
    }
    Ok(DeployKey { public: public(&paths.deploy_key(app))?, change })
}

/// Makes a key beside, and puts it in its place durably.
fn generate(paths: &Paths, keys: &Dir, app: &AppName) -> Result<(), EngineError> {
    let beside = format!(".{app}.new");
    let clean = || -> Result<(), EngineError> {
        for name in [beside.clone(), format!("{beside}.pub")] {
            if keys.owner_of(&name)?.is_some() {
                keys.unlink(&name)?;
            }
        }
        Ok(())
    };
    clean()?;
    let comment = format!("deployd-{app}@{}", printable(&process::host_name()));
    let file = paths.keys_dir().join(&beside);
    keygen(&["-q", "-t", "ed25519", "-N", "", "-C", &comment], &file)?;
    let made = keys.read(&beside, LARGEST)?.unwrap_or_default();
    keys.write(app.as_str(), &made, 0o600)?;
    clean()
}

/// The public half of a private key.
fn public(file: &Path) -> Result<String, EngineError> {
    let said = keygen(&["-y", "-P", ""], file)?;
    let line = said.trim();
    if line.split(' ').count() < 2 || printable(line) != line {
        return Err(EngineError::Other(format!("ssh-keygen printed no public key of {}", file.display())));
    }
    Ok(line.to_owned())
}

/// ssh-keygen with arguments of ours; it asks nobody anything.
fn keygen(arguments: &[&str], file: &Path) -> Result<String, EngineError> {
    let mut command = Command::new("ssh-keygen");
    command.args(arguments).arg("-f").arg(file).env_clear().env("PATH", crate::observe::PATH).stdin(Stdio::null());
    let failed = |why: String| EngineError::Other(format!("ssh-keygen failed on {}: {why}", file.display()));
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            EngineError::Other("ssh-keygen is not installed: install openssh-client, or openssh on Fedora".into())
        }
        _ => failed(error.to_string()),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.lines().last().unwrap_or("it did not say why").to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{Actor, DeploymentId, Refusing};

    async fn ask(paths: &Paths, rotate: bool) -> Reply<DeployKey> {
        let id = DeploymentId::from_bits(1);
        make_key(paths, &KeyRequest { key: "shop".parse().unwrap(), id, rotate, actor: Actor::Deployd }).await
    }

    #[tokio::test]
    async fn a_key_is_made_once_kept_and_replaced_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let Reply::Refused(refused) = ask(&paths, false).await else { panic!("there is no such app") };
        assert!(refused.kind == Refusing::NoSuchApp && refused.why.contains("no app shop"), "{refused:?}");
        std::fs::create_dir_all(dir.path().join("etc/deployd/apps")).unwrap();
        std::fs::write(dir.path().join("etc/deployd/apps/shop.toml"), "").unwrap();
        std::fs::create_dir_all(paths.keys_dir().parent().unwrap()).unwrap();
        let key = |answer| match answer {
            Reply::Done(key) => key,
            Reply::Refused(refused) => panic!("{refused:?}"),
        };
        let first = key(ask(&paths, false).await);
        assert_eq!(first.change, KeyChange::Made);
        assert!(first.public.starts_with("ssh-ed25519 AAAA") && first.public.contains("deployd-shop@"), "{first:?}");
        let again = key(ask(&paths, false).await);
        assert_eq!((again.public.as_str(), again.change), (first.public.as_str(), KeyChange::Kept));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&paths.keys_dir()), mode(&paths.deploy_key(&"shop".parse().unwrap()))), (0o700, 0o600));
        let second = key(ask(&paths, true).await);
        assert_eq!(second.change, KeyChange::Replaced);
        assert_ne!(second.public, first.public);
        assert_eq!(key(ask(&paths, false).await).public, second.public);
        let names: Vec<_> =
            std::fs::read_dir(paths.keys_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "a key and the lock: {names:?}");
    }
}
