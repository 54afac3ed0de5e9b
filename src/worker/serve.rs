//! The worker's loop: one order in, one answer out, until the input ends. Never as root.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::{
    archive, assets, commits, compare, diff, directory, empty,
    export::{self, Export},
    exporter::Exported,
    fastcgi,
    git::Git,
    http, inspect, jobs, keys, link, loosen, migrations, mirror, move_shared,
    order::{Answer, MAX_LINE, Order, SourceOrder},
    post, probe_run, recognise,
    refusal::Refusal,
    seal, survey, tell, tidy, traverse,
};

/// Serves orders from standard input until it ends.
pub async fn serve() -> io::Result<()> {
    if rustix::process::geteuid().is_root() || rustix::process::getuid().is_root() {
        let reason = "a worker does not run as root; the engine starts it as the app's user";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    // Steps and services of this user may neither trace this process nor open its pipes to write answers of their own.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    // What is written gets the modes that are asked for, however the unit was started.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    exchange(BufReader::new(tokio::io::stdin()), tokio::io::stdout()).await
}

async fn exchange(mut orders: impl AsyncBufRead + Unpin, mut answers: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut line = Vec::new();
    let exported = Arc::new(Mutex::new(None));
    loop {
        line.clear();
        if (&mut orders).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an order is longer than a line may be"));
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(order) => carry_out(order, &exported).await,
            Err(error) => Refusal::new(format!("the order is not understood: {error}")).into(),
        };
        let mut text = serde_json::to_vec(&answer)?;
        if text.len() >= MAX_LINE {
            text = serde_json::to_vec(&Answer::from(Refusal::new("the answer is longer than a line may be")))?;
        }
        text.push(b'\n');
        answers.write_all(&text).await?;
        answers.flush().await?;
    }
}

async fn carry_out(order: Order, exported: &Remembered) -> Answer {
    match order {
        Order::ProbeFastcgi { socket, document_root, script, uri, host, listener, times, timeout } => {
            let (socket, document_root, script) = (&*socket, &*document_root, &*script);
            let question = fastcgi::Question { socket, document_root, script, uri: &uri, host: &host, listener };
            fastcgi::probe_each(question, times, timeout).await
        }
        Order::ProbeHttp(probe) => http::probe(&probe).await,
        Order::Fetch { page, root } => http::fetch(&page, &root).await,
        Order::AskNginx { page, header, ask } => Answer::Sent { there: http::sent_there(&page, &header, &ask).await },
        Order::ProbeRun { run, release, environment, timeout } => {
            probe_run::run(&run, &release, &environment, timeout).await.unwrap_or_else(Answer::from)
        }
        Order::Tell { run, release, environment, timeout } => {
            tell::run(&run, &release, &environment, timeout).await.unwrap_or_else(Answer::from)
        }
        Order::Jobs { run, release, environment, timeout } => {
            jobs::run(&run, &release, &environment, timeout).await.unwrap_or_else(Answer::from)
        }
        Order::Post { hook, body, timeout } => post::run(&hook, &body, timeout).await.unwrap_or_else(Answer::from),
        Order::Keys { run, release, environment, salt, timeout } => {
            keys::run(&run, &release, &environment, &salt, timeout).await.unwrap_or_else(Answer::from)
        }
        Order::Migrations { run, release, environment, timeout } => {
            migrations::run(&run, &release, &environment, timeout).await.unwrap_or_else(Answer::from)
        }
        order => {
            let exported = exported.clone();
            let done = tokio::task::spawn_blocking(move || {
                // One order at a time: nobody else has it.
                let mut exported = exported.lock().unwrap_or_else(PoisonError::into_inner);
                work(&order, &mut exported)
            });
            match done.await {
                Ok(answer) => answer.unwrap_or_else(Answer::from),
                Err(error) => Refusal::new(format!("the worker failed at the order: {error}")).into(),
            }
        }
    }
}

/// What was exported last, until it is sealed.
type Remembered = Arc<Mutex<Option<Exported>>>;

/// The orders that are work on files: they block.
fn work(order: &Order, exported: &mut Option<Exported>) -> Result<Answer, Refusal> {
    match order {
        Order::Resolve { source: SourceOrder::Directory { path, exclude }, cache, markers } => {
            directory::resolve(path, exclude, cache, markers)
        }
        Order::Resolve { source: SourceOrder::Archive(order), cache, markers } => {
            archive::resolve(order, cache, markers)
        }
        Order::Resolve { source: SourceOrder::Git(order), cache, markers } => {
            mirror::resolve(&Git::of(order, cache)?, &order.reference, markers)
        }
        Order::Survey { shared_root, shared } => survey::run(shared_root, shared),
        Order::Export { source, cache, revision, release, run_as, writable, previous, share, own, carry, compare } => {
            let previous = previous.as_ref();
            let (run_as, share) = (*run_as, *share);
            let order =
                Export { source, cache, revision, release, run_as, writable, previous, share, own, carry, compare };
            let (answer, written) = export::run(&order)?;
            *exported = Some(written);
            Ok(answer)
        }
        Order::Link { release, shared_root, shared, run_as } => link::run(release, shared_root, shared, *run_as),
        Order::Assets { release, cache, previous, dirs, keep } => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
            assets::run(&assets::Keeping { release, cache, previous, dirs, keep: *keep, now })
        }
        Order::Drop { release, paths } => empty::drop_paths(release, paths),
        Order::Confine { release, paths } => seal::confine(release, paths),
        Order::Seal { release, cache, except } => seal::run(release, cache, except, exported.as_ref()),
        Order::Compare { release, cache, manifest, except } => compare::run(release, cache, manifest, except),
        Order::Recognise { root, paths } => recognise::run(root, paths),
        Order::MakeWritable { release, paths, run_as } => export::make_all_writable(release, paths, *run_as),
        Order::Loosen { release } => loosen::run(release),
        Order::MoveShared { root, shared } => move_shared::run(root, shared),
        Order::Diff { cache, from, to } => diff::run(cache, from, to),
        Order::Traverse { path } => traverse::run(path),
        Order::Commits { url, cache, from, to } => commits::run(&Git::new(url, cache)?, from, to),
        Order::Tidy { url, cache, kept } => tidy::run(&Git::new(url, cache)?, kept),
        Order::Empty { dir } => empty::run(dir),
        Order::Fresh { dir } => empty::fresh(dir),
        Order::Inspect { release, since, except } => inspect::run(release, *since, except),
        Order::Crontab { user, root } => tell::crontab(user, root),
        Order::ProbeFastcgi { .. }
        | Order::ProbeHttp(_)
        | Order::Fetch { .. }
        | Order::AskNginx { .. }
        | Order::ProbeRun { .. }
        | Order::Tell { .. }
        | Order::Jobs { .. }
        | Order::Keys { .. }
        | Order::Post { .. }
        | Order::Migrations { .. } => Err(Refusal::new("a probe is not work on files")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchanged(orders: &str) -> (io::Result<()>, Vec<Answer>) {
        let mut answers = Vec::new();
        let end = exchange(orders.as_bytes(), &mut answers).await;
        (
            end,
            answers
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(|l| serde_json::from_slice(l).unwrap())
                .collect(),
        )
    }

    #[tokio::test]
    async fn each_line_has_its_answer_and_the_end_is_the_end() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("x"), "").unwrap();
        let order = serde_json::to_string(&Order::Empty { dir: tree.path().to_owned() }).unwrap();
        let (end, answers) = exchanged(&format!("{order}\n{{\"order\":\"empty\",\"dirs\":1}}\n{order}")).await;
        end.unwrap();
        assert!(
            matches!(&answers[..], [Answer::Done { entries: 1 }, Answer::Refused { .. }, Answer::Done { entries: 0 }]),
            "{answers:?}"
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_read_to_its_end() {
        let (end, answers) = exchanged(&" ".repeat(MAX_LINE + 10)).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(answers.is_empty());
    }

    #[tokio::test]
    async fn root_is_refused() {
        if rustix::process::geteuid().is_root() {
            assert_eq!(serve().await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
