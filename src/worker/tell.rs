//! Runs a command in a release and takes what it prints: texts by name, as JSON. Nothing that it started outlives it.
//! And reads the user's crontab, which PID 1 hands over as a credential: crontab(1) is setgid, and not for a worker.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;

use super::{order::Answer, refusal::Refusal};
use crate::{model::names_path, system::credentials};

/// Of what it prints, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Lines of crontabs that are told.
const MOST: usize = 50;

/// Carries out [`super::order::Order::Tell`].
pub async fn run(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Refusal::new("there is no command"));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(release)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Refusal::new(format!("cannot run {program}: {error}")))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut said = Vec::new();
    let ended = async {
        if let Some(out) = child.stdout.take() {
            out.take(LARGEST).read_to_end(&mut said).await?;
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(timeout, ended).await;
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match ended {
        Ok(Ok(status)) if status.success() => {
            let config = serde_json::from_slice(&said)
                .map_err(|error| Refusal::new(format!("{program} printed something else: {error}")))?;
            Ok(Answer::Told { config })
        }
        Ok(Ok(status)) => Err(Refusal::new(format!("{program} ended with {status}"))),
        Ok(Err(error)) => Err(Refusal::new(format!("cannot wait for {program}: {error}"))),
        Err(_) => Err(Refusal::new(format!("{program} did not end within {timeout:?}"))),
    }
}

/// Carries out [`super::order::Order::Crontab`].
pub fn crontab(user: &str, root: &Path) -> Result<Answer, Refusal> {
    let handed = credentials::read(user, LARGEST).ok_or_else(|| Refusal::new("no crontab was handed over"))?;
    let text = handed.map_err(|error| Refusal::new(format!("the crontab of {user}: {error}")))?;
    Ok(Answer::Crontab { lines: naming(&String::from_utf8_lossy(&text), root) })
}

fn naming(text: &str, root: &Path) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    let wanted = lines.filter(|(_, line)| !line.trim_start().starts_with('#') && names_path(line, root));
    wanted.take(MOST).map(|(index, line)| (index + 1, line.trim().chars().take(200).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(script: &str, limit: Duration) -> Result<BTreeMap<String, String>, Refusal> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        match run(&command, Path::new("/"), &BTreeMap::new(), limit).await? {
            Answer::Told { config } => Ok(config),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_texts_by_name_are_taken() {
        let long = Duration::from_secs(20);
        assert_eq!(told("echo '{\"a\":\"b\"}'", long).await.unwrap()["a"], "b");
        for bad in ["echo x", "echo '{\"a\":1}'", "exit 3", "yes", "sleep 60"] {
            assert!(told(bad, Duration::from_millis(500)).await.is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_that_name_the_root() {
        let text = "# /srv/shop\n* * * * * cd /srv/shop/current && php artisan schedule:run\n1 * * * * /srv/shop2/x\n";
        let found = naming(text, Path::new("/srv/shop"));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.starts_with("* * * * * cd")), (2, true));
    }
}
