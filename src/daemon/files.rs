//! The files between `deployd` and the engine: requests out; state, records, progress and plans in. What is read is
//! bounded and strictly typed; nothing here is in an app's tree.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    dbus::Error,
    model::{
        AppName, AppState, CheckRequest, DeploymentId, DeploymentRecord, DiffRequest, HoldRequest, Holds, KeyRequest,
        Kind, Paths, Phase, PruneRequest, Request, Survey,
    },
};

/// The largest file that is read, in bytes.
const MAX: u64 = 4 * 1024 * 1024;

/// `/run/deployd/NAME/progress.json`, as the engine writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Whose.
    pub deployment: DeploymentId,
    /// Its kind.
    pub kind: Kind,
    /// How far it is.
    pub phase: Phase,
    /// The step that runs.
    #[serde(default)]
    pub step: Option<String>,
    /// 0 to 1.
    #[serde(default)]
    pub fraction: Option<f64>,
    /// One line.
    #[serde(default)]
    pub status: String,
}

/// An app's state; without a file the empty one.
pub fn state(paths: &Paths, app: &AppName) -> Result<AppState, Error> {
    let file = paths.state_file(app);
    let Some(bytes) = content(&file)? else { return Ok(AppState::default()) };
    AppState::decode(&bytes).map_err(|wrong| Error::Failed(format!("{}: {wrong}", file.display())))
}

/// What of an app is held; without a file nothing.
pub fn holds(paths: &Paths, app: &AppName) -> Result<Holds, Error> {
    let file = paths.holds_file(app);
    let Some(bytes) = content(&file)? else { return Ok(Holds::default()) };
    Holds::decode(&bytes).map_err(|wrong| Error::Failed(format!("{}: {wrong}", file.display())))
}

/// A deployment's record, when it has ended; where it could not be kept, what the engine left in its place.
pub fn record(paths: &Paths, app: &AppName, id: &DeploymentId) -> Result<Option<DeploymentRecord>, Error> {
    match read(&paths.records_dir(app).join(format!("{id}.json")))? {
        Some(record) => Ok(Some(record)),
        None => Ok(read::<DeploymentRecord>(&paths.unrecorded_file(app))?.filter(|record| record.id == *id)),
    }
}

/// All records of an app, newest first. One that cannot be read is left out, with a warning.
pub fn records(paths: &Paths, app: &AppName) -> Result<Vec<DeploymentRecord>, Error> {
    let dir = paths.records_dir(app);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("read", &dir, &e)),
    };
    let id = |name: &str| name.strip_suffix(".json").and_then(|id| id.parse::<DeploymentId>().ok());
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut records: Vec<DeploymentRecord> = names
        .filter_map(|name| id(&name))
        .filter_map(|id| {
            record(paths, app, &id).unwrap_or_else(|error| {
                tracing::warn!("leaving out a record: {error}");
                None
            })
        })
        .collect();
    records.sort_by_key(|r| std::cmp::Reverse(r.started_at.saturating_mul(1000).saturating_add_unsigned(r.wall_ms)));
    Ok(records)
}

/// What an app's running deployment is doing; `None`: none is running.
pub fn progress(paths: &Paths, app: &AppName) -> Result<Option<Progress>, Error> {
    read(&paths.progress_file(app))
}

/// What the engine left for a request: a plan, what a check found, a deploy key.
pub fn answer<T: DeserializeOwned>(paths: &Paths, app: &AppName, id: &DeploymentId) -> Result<Option<T>, Error> {
    read(&paths.app_run_dir(app).join(format!("plan-{id}.json")))
}

/// The answer of the newest survey of an app.
pub fn survey(paths: &Paths, app: &AppName) -> Result<Option<Survey>, Error> {
    read(&paths.survey_file(app))
}

/// Writes a request; an error when there is one of that id.
pub fn write_request(paths: &Paths, request: &Request) -> Result<(), Error> {
    write_asked(paths, &request.app, &request.id, request)
}

/// Writes what the engine is asked; an error when there is a request of that id.
pub fn write_asked(paths: &Paths, app: &AppName, id: &DeploymentId, asked: &impl Serialize) -> Result<(), Error> {
    let file = &paths.request_file(app, id);
    if let Some(dir) = file.parent() {
        match DirBuilder::new().mode(0o750).create(dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(failed("make", dir, &e)),
            _ => {}
        }
    }
    let text = serde_json::to_vec(asked).map_err(|e| failed("write", file, &e.into()))?;
    let mut out =
        OpenOptions::new().write(true).create_new(true).mode(0o640).open(file).map_err(|e| failed("make", file, &e))?;
    out.write_all(&text).map_err(|e| failed("write", file, &e))
}

/// Removes a request that has been served; one that is not there is no error.
pub fn remove_request(paths: &Paths, app: &AppName, id: &DeploymentId) {
    for file in [paths.request_file(app, id), paths.upload_file(app, id)] {
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                tracing::warn!("{}, ignoring", failed("remove", &file, &e));
            }
            _ => {}
        }
    }
}

/// Requests that are there: left by a service that ended before their deployments did.
pub fn requests(paths: &Paths, app: &AppName) -> Vec<Request> {
    let Some(dir) = requests_dir(paths, app) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut asked = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        match read::<Asked>(&path) {
            Ok(Some(Asked::Deployment(request))) if request.app == *app => asked.push(request),
            // Whoever asked for it has gone with the service that was asked.
            Ok(Some(Asked::Check(_) | Asked::Key(_) | Asked::Hold(_) | Asked::Prune(_) | Asked::Diff(_))) => {
                let _ = std::fs::remove_file(&path);
            }
            _ => {}
        }
    }
    asked
}

/// What a file among the requests asks for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Asked {
    Deployment(Request),
    Check(#[expect(dead_code, reason = "told by its form alone")] CheckRequest),
    Key(#[expect(dead_code, reason = "told by its form alone")] KeyRequest),
    Hold(#[expect(dead_code, reason = "told by its form alone")] HoldRequest),
    Prune(#[expect(dead_code, reason = "told by its form alone")] PruneRequest),
    Diff(#[expect(dead_code, reason = "told by its form alone")] DiffRequest),
}

/// A request by its id.
pub fn request(paths: &Paths, app: &AppName, id: &DeploymentId) -> Option<Request> {
    read(&paths.request_file(app, id)).ok().flatten()
}

/// 64 random bits from the kernel, as a new id.
pub fn random_id() -> Result<DeploymentId, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    File::open(source).and_then(|mut f| f.read_exact(&mut bytes)).map_err(|e| failed("read", source, &e))?;
    Ok(DeploymentId::from_bits(u64::from_ne_bytes(bytes)))
}

fn requests_dir(paths: &Paths, app: &AppName) -> Option<PathBuf> {
    paths.request_file(app, &DeploymentId::from_bits(0)).parent().map(Path::to_owned)
}

/// Reads and parses a file; `None`: it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(text) = content(path)? else { return Ok(None) };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| Error::Failed(format!("{} is damaged or of another version: {e}", path.display())))
}

/// A bounded file's bytes; `None`: it is not there. No link is followed.
fn content(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("read", path, &e)),
    };
    let mut text = Vec::new();
    file.take(MAX + 1).read_to_end(&mut text).map_err(|e| failed("read", path, &e))?;
    if text.len() as u64 > MAX {
        return Err(Error::Failed(format!("{} is larger than {MAX} bytes", path.display())));
    }
    Ok(Some(text))
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Failed(format!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Actor;

    fn request(id: u64) -> Request {
        Request {
            app: "my-shop".parse().unwrap(),
            id: DeploymentId::from_bits(id),
            kind: Kind::Deploy,
            reference: Some("main".into()),
            release: None,
            force: false,
            allow: Default::default(),
            upload: false,
            actor: Actor::Bus { uid: 0, user: Some("root".into()) },
        }
    }

    #[test]
    fn a_request_is_written_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        std::fs::create_dir_all(paths.run_dir().join("requests")).unwrap();
        let sent = request(1);
        write_request(&paths, &sent).unwrap();
        assert!(write_request(&paths, &sent).is_err(), "an id is used once");
        assert_eq!(requests(&paths, &sent.app), std::slice::from_ref(&sent));
        remove_request(&paths, &sent.app, &sent.id);
        assert!(requests(&paths, &sent.app).is_empty());
    }

    #[test]
    fn progress_is_read_as_the_engine_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let app: AppName = "shop".parse().unwrap();
        assert_eq!(progress(&paths, &app).unwrap(), None);
        std::fs::create_dir_all(paths.app_run_dir(&app)).unwrap();
        let text = r#"{"deployment":"00000000000000ff","kind":"deploy","phase":"cutting-over","step":null,
                      "fraction":0.5,"status":"php-fpm"}"#;
        std::fs::write(paths.progress_file(&app), text).unwrap();
        let read = progress(&paths, &app).unwrap().unwrap();
        assert_eq!((read.phase, read.fraction, read.step), (Phase::CuttingOver, Some(0.5), None));
        std::fs::write(paths.progress_file(&app), "{").unwrap();
        assert!(progress(&paths, &app).is_err());
    }
}
