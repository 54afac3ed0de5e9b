//! Tells those who are to be told how a deployment ended. After it was recorded and the lock is free; whatever fails
//! here is told in the journal and changes nothing.

use std::{collections::BTreeMap, io::Write, time::Duration};

use super::{error::EngineError, notice::Notice, store::Store};
use crate::{
    config::{Address, Notify, On, Settings, Source, Way},
    model::{DeploymentRecord, Outcome, printable},
    observe::Host,
    runtime::dropins::slice_of,
    system::{process, units::Transient},
    worker::{
        order::{Answer, Commit, Hook, Order},
        sandbox::{self, Reach},
    },
};

/// For one delivery.
const LIMIT: Duration = Duration::from_secs(15);
/// Where every mail system has it.
const SENDMAIL: &str = "/usr/sbin/sendmail";
/// Of what is to be told by its name.
const CREDENTIAL: &str = "address";

/// Tells everyone who waits for such an end. It fails only where it is cut off.
pub async fn notify(
    host: &Host,
    settings: &Settings,
    store: &Store,
    record: &DeploymentRecord,
) -> Result<(), EngineError> {
    let on = match record.outcome {
        // A timer's daily nothing.
        Outcome::Unchanged => return Ok(()),
        Outcome::Succeeded => On::Success,
        _ => On::Failure,
    };
    let told: Vec<&Notify> = settings.notify.iter().filter(|one| one.on.is_none_or(|wanted| wanted == on)).collect();
    if told.is_empty() {
        return Ok(());
    }
    let from = store.load().ok().and_then(|state| {
        state.releases.into_iter().find(|release| Some(&release.id) == record.from.as_ref()).map(|one| one.revision)
    });
    // Of one that was adopted it is not known.
    let from = from.filter(|revision| !revision.is_empty());
    let (commits, more) = commits(host, settings, from.as_deref(), record).await.unwrap_or_default();
    let name = process::host_name();
    let notice =
        Notice { app: settings.app.as_str(), host: &name, record, from: from.as_deref(), commits: (&commits, more) };
    for (number, one) in told.into_iter().enumerate() {
        let sent = match &one.way {
            Way::Slack(address) => post(host, settings, record, number, address, notice.slack()).await,
            Way::Webhook(address) => post(host, settings, record, number, address, notice.json()).await,
            Way::Mail { to, from } => mail(host, settings, record, &notice.mail(to, from.as_deref())).await,
        };
        if let Err(error) = sent {
            tracing::warn!("the notification {} was not delivered: {error}, ignoring", number + 1);
        }
    }
    Ok(())
}

/// What came since the release before, as the app's mirror knows it.
async fn commits(
    host: &Host,
    settings: &Settings,
    from: Option<&str>,
    record: &DeploymentRecord,
) -> Option<(Vec<Commit>, bool)> {
    let (from, to) = (from?, record.revision.as_deref()?);
    let Source::Git(git) = &settings.source else { return None };
    if from == to {
        return None;
    }
    let cache = host.paths.cache_dir(&settings.app);
    let order = Order::Commits { url: git.url.clone(), cache, from: from.into(), to: to.into() };
    let reach = Reach { hidden: host.hidden_from(settings), quiet: true, ..Reach::default() };
    let mut worker = host.worker(settings, &record.id, "commits", &settings.user, reach).await.ok()?;
    match worker.ask(&order, LIMIT).await {
        Ok(Answer::Commits { commits, more }) => Some((commits, more)),
        _ => None,
    }
}

/// By a worker with the network, which alone gets to know the address.
async fn post(
    host: &Host,
    settings: &Settings,
    record: &DeploymentRecord,
    number: usize,
    address: &Address,
    body: String,
) -> Result<(), EngineError> {
    let (hook, credentials) = match address {
        Address::Url(url) => (Hook::Url(url.clone()), Vec::new()),
        Address::File(path) => (Hook::Credential(CREDENTIAL.into()), vec![(CREDENTIAL.to_owned(), path.clone())]),
    };
    let role = ["notify-1", "notify-2", "notify-3", "notify-4"].get(number).copied();
    let role = role.ok_or_else(|| EngineError::Other("only four notifications are sent".into()))?;
    let reach = Reach { hidden: host.hidden_from(settings), network: true, quiet: true, ..Reach::default() };
    let user = &settings.user;
    let mut worker = host.worker_with(&settings.app, &record.id, role, user, reach, credentials).await?;
    match worker.ask(&Order::Post { hook, body, timeout: LIMIT }, LIMIT * 2).await? {
        Answer::Probed { healthy: true, .. } => Ok(()),
        Answer::Probed { detail, .. } => Err(EngineError::Other(printable(&detail))),
        other => Err(super::deployment::unexpected(&other)),
    }
}

/// The host's own mail program, as the app's user: most of them are setuid or setgid, so that it is not confined as a
/// worker is. It gets nothing but the message.
async fn mail(host: &Host, settings: &Settings, record: &DeploymentRecord, message: &str) -> Result<(), EngineError> {
    let broken = |error: std::io::Error| EngineError::Other(format!("its pipe broke: {error}"));
    let (input, mut message_end) = std::io::pipe().map_err(broken)?;
    let (_said, output) = std::io::pipe().map_err(broken)?;
    // A message is shorter than a pipe: nothing waits for a reader.
    let bounded: String = message.chars().take(8000).collect();
    message_end.write_all(bounded.as_bytes()).map_err(broken)?;
    drop(message_end);
    let transient = Transient {
        name: format!("deploy-mail-{}-{}.service", settings.app, record.id),
        description: format!("Mail of {}", settings.app),
        exec: [SENDMAIL, "-t", "-i"].map(str::to_owned).into(),
        user: settings.user.clone(),
        slice: Some(slice_of(&settings.app)),
        binds_to: host.own_unit.clone(),
        journal_fields: BTreeMap::from([("DEPLOYD_APP".into(), settings.app.to_string())]),
        identifier: "deployd-mail".into(),
        stdio: Some((input.into(), output.into())),
        limit: Some(LIMIT),
        properties: sandbox::mail(&host.hidden_from(settings)),
        ..Transient::default()
    };
    let running = host.units.run(transient).await?;
    let exit = host.units.wait(running).await?;
    match exit.result.as_str() {
        "success" => Ok(()),
        result => Err(EngineError::Other(format!("{SENDMAIL} failed ({result}, {})", exit.status))),
    }
}
