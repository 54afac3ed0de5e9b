//! Watches by inotify what others write and the bus tells: the progress files in `/run/deployd/NAME`, the states in
//! `/var/lib/deployd/apps/NAME`, the descriptions. Sees directories that appear later, too.

use std::{collections::HashMap, ffi::CStr, mem::MaybeUninit, os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use super::{follow, host::Host};
use crate::model::AppName;

/// What an event is about.
#[derive(Debug, Clone)]
enum What {
    /// `/run/deployd` or `/var/lib/deployd/apps` itself: an app has appeared in it.
    Top,
    /// An app's progress, or its state.
    App(AppName),
    /// The descriptions.
    Config,
}

type Watched = HashMap<i32, What>;

/// In a directory whose directories matter: one may be made first and opened to deployd then.
const DIRECTORIES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::ATTRIB).union(WatchFlags::ONLYDIR);
/// In one whose files matter.
const FILES: WatchFlags =
    WatchFlags::MOVED_TO.union(WatchFlags::CLOSE_WRITE).union(WatchFlags::ONLYDIR).union(WatchFlags::DONT_FOLLOW);
/// In one from which they may go, too.
const COMING_AND_GOING: WatchFlags = FILES.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM);

/// Watches for as long as the service runs. Without inotify deployments go on, but only their ends are told.
pub async fn run(host: Arc<Host>) {
    if let Err(error) = watch(&host).await {
        tracing::warn!("progress is not relayed: cannot watch {}: {error}", host.paths.run_dir().display());
    }
}

async fn watch(host: &Arc<Host>) -> std::io::Result<()> {
    #[allow(deprecated)] // Deprecated for types that do not keep their descriptor open; an OwnedFd does.
    let fd = AsyncFd::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
    let mut watched = Watched::new();
    let top = inotify::add_watch(fd.get_ref(), host.paths.run_dir(), DIRECTORIES)?;
    watched.insert(top, What::Top);
    add(fd.get_ref(), &mut watched, &host.paths.states_dir(), DIRECTORIES, What::Top);
    for dir in host.paths.config_dirs() {
        add(fd.get_ref(), &mut watched, &dir, COMING_AND_GOING, What::Config);
    }
    for dir in [host.paths.run_dir(), host.paths.states_dir()] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            look_at(host, fd.get_ref(), &mut watched, &entry.file_name().to_string_lossy()).await;
        }
    }
    loop {
        let mut ready = fd.readable().await?;
        let seen = read(fd.get_ref())?;
        ready.clear_ready();
        for (wd, name) in seen {
            match (watched.get(&wd).cloned(), name.as_str()) {
                (Some(What::Top), _) => look_at(host, fd.get_ref(), &mut watched, &name).await,
                (Some(What::App(app)), "progress.json") => follow::progress(host, &app).await,
                (Some(What::App(app)), "state.json" | "holds.json") => follow::announce(host, &app).await,
                (Some(What::Config), _) => host.apps_may_have_changed().await,
                _ => {}
            }
        }
    }
}

/// Begins to watch an app's directories and reads what is in them already. What is no app's is passed over.
async fn look_at(host: &Arc<Host>, fd: &OwnedFd, watched: &mut Watched, name: &str) {
    let Ok(app) = name.parse::<AppName>() else { return };
    if add(fd, watched, &host.paths.app_run_dir(&app), FILES, What::App(app.clone())) {
        follow::progress(host, &app).await;
    }
    if add(fd, watched, &host.paths.state_dir(&app), FILES, What::App(app.clone())) {
        follow::announce(host, &app).await;
    }
}

/// Whether it is watched now and was not before. A directory that is not there is not.
fn add(fd: &OwnedFd, watched: &mut Watched, dir: &Path, flags: WatchFlags, what: What) -> bool {
    match inotify::add_watch(fd, dir, flags) {
        Ok(wd) => watched.insert(wd, what).is_none(),
        Err(error) => {
            tracing::debug!("cannot watch {}, ignoring: {error}", dir.display());
            false
        }
    }
}

/// All events that are there. An event about the watch itself (`IN_IGNORED`) has no name and finds no app.
fn read(fd: &OwnedFd) -> std::io::Result<Vec<(i32, String)>> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut seen = Vec::new();
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                tracing::warn!("events of progress were lost; the next one tells the state again");
            }
            Ok(event) => {
                let name = event.file_name().map(CStr::to_string_lossy).unwrap_or_default().into_owned();
                seen.push((event.wd(), name));
            }
            Err(Errno::AGAIN) => return Ok(seen),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
