//! Watches the progress files in `/run/deployd/NAME` by inotify. Sees directories that appear later, too.

use std::{collections::HashMap, ffi::CStr, mem::MaybeUninit, os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use super::{follow, host::Host};
use crate::model::AppName;

/// What an event is about: `None` for `/run/deployd` itself.
type Watched = HashMap<i32, Option<AppName>>;

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
    let top = inotify::add_watch(fd.get_ref(), host.paths.run_dir(), WatchFlags::CREATE | WatchFlags::ONLYDIR)?;
    watched.insert(top, None);
    for entry in std::fs::read_dir(host.paths.run_dir())?.flatten() {
        look_at(host, fd.get_ref(), &mut watched, &entry.file_name().to_string_lossy()).await;
    }
    loop {
        let mut ready = fd.readable().await?;
        let seen = read(fd.get_ref())?;
        ready.clear_ready();
        for (wd, name) in seen {
            match watched.get(&wd).cloned() {
                Some(None) => look_at(host, fd.get_ref(), &mut watched, &name).await,
                Some(Some(app)) if name == "progress.json" => follow::progress(host, &app).await,
                _ => {}
            }
        }
    }
}

/// Begins to watch an app's directory and reads what is in it already. Directories that are no app's are passed over.
async fn look_at(host: &Arc<Host>, fd: &OwnedFd, watched: &mut Watched, name: &str) {
    let Ok(app) = name.parse::<AppName>() else { return };
    if add(fd, watched, &host.paths.app_run_dir(&app), &app) {
        follow::progress(host, &app).await;
    }
}

fn add(fd: &OwnedFd, watched: &mut Watched, dir: &Path, app: &AppName) -> bool {
    let flags = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
    match inotify::add_watch(fd, dir, flags) {
        Ok(wd) => watched.insert(wd, Some(app.clone())).is_none(),
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
