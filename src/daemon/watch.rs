//! Watches by inotify what others write and the bus tells: the progress files in `/run/deployd/NAME`, the states in
//! `/var/lib/deployd/apps/NAME`, the descriptions. Sees directories that appear later, too. It begins before any app is
//! looked at, so that nothing is missed, and reads what was there already after the service has its name, giving way to
//! others before each app.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::CStr,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

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

/// A watch that has begun.
pub struct Watch {
    fd: AsyncFd<OwnedFd>,
    watched: Watched,
    /// What it found when it began, and has not read.
    there: BTreeSet<AppName>,
}

/// Begins to watch; what happens from now on is told by [`run`]. Without inotify deployments go on, but only their ends
/// are told.
pub fn begin(host: &Host) -> Option<Watch> {
    let failed = |error| {
        tracing::warn!("progress is not relayed: cannot watch {}: {error}", host.paths.run_dir().display());
    };
    watch(host).map_err(failed).ok()
}

fn watch(host: &Host) -> std::io::Result<Watch> {
    #[allow(deprecated)] // Deprecated for types that do not keep their descriptor open; an OwnedFd does.
    let fd = AsyncFd::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
    let mut watched = Watched::new();
    let top = inotify::add_watch(fd.get_ref(), host.paths.run_dir(), DIRECTORIES)?;
    watched.insert(top, What::Top);
    add(fd.get_ref(), &mut watched, &host.paths.states_dir(), DIRECTORIES, What::Top);
    for dir in host.paths.config_dirs() {
        add(fd.get_ref(), &mut watched, &dir, COMING_AND_GOING, What::Config);
    }
    let mut there = BTreeSet::new();
    for dir in [host.paths.run_dir(), host.paths.states_dir()] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(app) = entry.file_name().to_string_lossy().parse::<AppName>() else { continue };
            if look_at(host, fd.get_ref(), &mut watched, &app) != Found::default() {
                there.insert(app);
            }
        }
    }
    Ok(Watch { fd, watched, there })
}

/// Tells what there is, then what happens, for as long as the service runs.
pub async fn run(host: Arc<Host>, watch: Option<Watch>) {
    let Some(mut watch) = watch else { return };
    for app in std::mem::take(&mut watch.there) {
        tokio::task::yield_now().await;
        tell(&host, &app, Found { progress: true, state: true }).await;
    }
    let (relayed, ()) = tokio::join!(relay(&host, &mut watch), host.read_roots_ahead());
    if let Err(error) = relayed {
        tracing::warn!("progress is not relayed any more: cannot watch {}: {error}", host.paths.run_dir().display());
    }
}

async fn relay(host: &Arc<Host>, Watch { fd, watched, .. }: &mut Watch) -> std::io::Result<()> {
    loop {
        let mut ready = fd.readable().await?;
        let seen = read(fd.get_ref())?;
        ready.clear_ready();
        for (wd, name) in seen {
            match (watched.get(&wd).cloned(), name.as_str()) {
                // What is no app's is passed over.
                (Some(What::Top), _) => {
                    let Ok(app) = name.parse::<AppName>() else { continue };
                    let found = look_at(host, fd.get_ref(), watched, &app);
                    tell(host, &app, found).await;
                }
                (Some(What::App(app)), "progress.json") => follow::progress(host, &app).await,
                (Some(What::App(app)), "state.json" | "holds.json") => follow::announce(host, &app).await,
                (Some(What::Config), _) => host.apps_may_have_changed().await,
                _ => {}
            }
        }
    }
}

/// Which directories of an app are watched that were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    progress: bool,
    state: bool,
}

/// Begins to watch an app's directories.
fn look_at(host: &Host, fd: &OwnedFd, watched: &mut Watched, app: &AppName) -> Found {
    Found {
        progress: add(fd, watched, &host.paths.app_run_dir(app), FILES, What::App(app.clone())),
        state: add(fd, watched, &host.paths.state_dir(app), FILES, What::App(app.clone())),
    }
}

/// Reads what is in an app's directories already, and tells it.
async fn tell(host: &Arc<Host>, app: &AppName, found: Found) {
    if found.progress {
        follow::progress(host, app).await;
    }
    if found.state {
        follow::announce(host, app).await;
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
