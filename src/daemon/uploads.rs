//! Archives that callers hand over: taken over as a copy of deployd's own, so that what is deployed is what was
//! authorised, whatever becomes of the caller's file. Never parsed here.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::fs::{copy_file_range, fstat, fstatvfs, ioctl_ficlone};

use crate::{
    dbus::Error,
    model::{AppName, DeploymentId, Paths, Request},
};

/// What stays free beside an upload, in bytes.
const SPARE: u64 = 256 << 20;
/// In so many bytes, where the kernel does not copy by itself.
const PIECE: usize = 256 * 1024;

/// Takes a file over for a request.
pub async fn take(paths: &Paths, request: &Request, file: OwnedFd) -> Result<(), Error> {
    let to = paths.upload_file(&request.app, &request.id);
    let copied = tokio::task::spawn_blocking(move || {
        let copied = copy(&file, &to);
        if copied.is_err() {
            // The first failure is the one to tell.
            let _ = std::fs::remove_file(&to);
        }
        copied
    });
    copied.await.map_err(|error| Error::Failed(format!("the upload ended early: {error}")))?
}

fn copy(from: &OwnedFd, to: &Path) -> Result<(), Error> {
    let failed = |what: &str, error: std::io::Error| Error::Failed(format!("cannot {what} {}: {error}", to.display()));
    let unread = |error: rustix::io::Errno| Error::Failed(format!("the upload cannot be read: {error}"));
    let before = fstat(from).map_err(unread)?;
    let size = u64::try_from(before.st_size).unwrap_or(0);
    let out = OpenOptions::new().write(true).create_new(true).mode(0o400).open(to).map_err(|e| failed("make", e))?;
    let room = fstatvfs(&out).map_err(|e| failed("look at", e.into()))?;
    if room.f_bavail.saturating_mul(room.f_frsize) < size.saturating_add(SPARE) {
        return Err(Error::Failed(format!(
            "an upload of {} MiB leaves too little space where {} is; free some there",
            size >> 20,
            to.display()
        )));
    }
    if ioctl_ficlone(&out, from).is_err() {
        by_pieces(from, &out, size).map_err(|error| failed("write", error))?;
    }
    let after = fstat(from).map_err(unread)?;
    let stamp =
        |stat: &rustix::fs::Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
    if stamp(&before) != stamp(&after) {
        return Err(Error::Failed("the file was written to while it was handed over; try it again".into()));
    }
    Ok(())
}

/// From its beginning, wherever the caller stands in it.
fn by_pieces(from: &OwnedFd, to: &File, size: u64) -> std::io::Result<()> {
    let mut at = 0;
    while at < size {
        let left = usize::try_from(size - at).unwrap_or(usize::MAX).min(1 << 30);
        let mut from_at = at;
        match copy_file_range(from, Some(&mut from_at), to, None, left) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => at += n as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return by_reading(from, to, at, size),
        }
    }
    Ok(())
}

fn by_reading(from: &OwnedFd, to: &File, mut at: u64, size: u64) -> std::io::Result<()> {
    let from = File::from(from.try_clone()?);
    let mut buffer = vec![0; PIECE];
    while at < size {
        let left = usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE);
        let piece = buffer.get_mut(..left).unwrap_or_default();
        match from.read_at(piece, at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                to.write_all_at(piece.get(..n).unwrap_or_default(), at)?;
                at += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes what an earlier service left: uploads whose request is no more.
pub fn clean(paths: &Paths) {
    let Ok(entries) = std::fs::read_dir(paths.uploads_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.split_once(':'));
        let asked = parts.and_then(|(app, id)| Some((app.parse::<AppName>().ok()?, id.parse::<DeploymentId>().ok()?)));
        if asked.is_some_and(|(app, id)| !paths.request_file(&app, &id).exists())
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!("cannot remove {}: {error}, ignoring", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};

    use super::*;
    use crate::model::{Actor, Kind};

    fn request(id: u64) -> Request {
        Request {
            app: "my-shop".parse().unwrap(),
            id: DeploymentId::from_bits(id),
            kind: Kind::Deploy,
            reference: None,
            release: None,
            force: false,
            allow: Default::default(),
            upload: true,
            actor: Actor::Bus { uid: 0, user: None },
        }
    }

    fn place() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        std::fs::create_dir_all(paths.uploads_dir()).unwrap();
        (dir, paths)
    }

    #[tokio::test]
    async fn the_copy_is_whole_and_nobody_may_write_it() {
        let (dir, paths) = place();
        let path = dir.path().join("archive");
        let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &content).unwrap();
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::Start(1000)).unwrap();
        let kept = file.try_clone().unwrap();
        take(&paths, &request(1), file.into()).await.unwrap();
        let copy = paths.upload_file(&request(1).app, &request(1).id);
        assert_eq!(std::fs::read(&copy).unwrap(), content);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).unwrap().permissions()) & 0o777,
            0o400
        );
        assert_eq!((&kept).stream_position().unwrap(), 1000, "the caller's place in its file is its own");
        assert!(take(&paths, &request(1), kept.into()).await.is_err(), "an id is used once");
        by_reading(&File::open(&path).unwrap().into(), &File::create(dir.path().join("other")).unwrap(), 0, 12_000_000)
            .unwrap();
        let mut other = Vec::new();
        File::open(dir.path().join("other")).unwrap().read_to_end(&mut other).unwrap();
        assert_eq!(other, content);
    }

    #[test]
    fn what_no_request_names_is_removed() {
        let (_dir, paths) = place();
        let (kept, gone) = (request(1), request(2));
        crate::daemon::files::write_request(&paths, &kept).unwrap_or_else(|_| {
            std::fs::create_dir_all(paths.request_file(&kept.app, &kept.id).parent().unwrap()).unwrap();
            std::fs::write(paths.request_file(&kept.app, &kept.id), "{}").unwrap();
        });
        for one in [&kept, &gone] {
            File::create(paths.upload_file(&one.app, &one.id)).unwrap().write_all(b"x").unwrap();
        }
        clean(&paths);
        assert!(paths.upload_file(&kept.app, &kept.id).exists() && !paths.upload_file(&gone.app, &gone.id).exists());
    }
}
