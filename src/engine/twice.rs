//! A deployment's id is good for one run: a start that arrives once more, as can be after the bus was restarted, finds
//! the record of the first one and runs nothing.

use super::{error::EngineError, store::Store};
use crate::{
    model::{Actor, DeploymentRecord, Paths, Request},
    system::tree::Dir,
};

/// Why a request is not carried out, if a deployment of its id has ended. Settling asks under one id until it is done.
pub fn ended_before(paths: &Paths, request: &Request, store: Option<&Store>) -> Option<String> {
    if request.actor == Actor::Deployd {
        return None;
    }
    let (app, id) = (&request.app, &request.id);
    let why = match look(paths, request, store) {
        Ok(None) => return None,
        Ok(Some(record)) => format!("has ended already: {}: {}", record.outcome, record.message),
        Err(error) => format!("may have ended already: {error}"),
    };
    Some(format!("deployment {id} of {app} {why}; nothing was done: ask for another one"))
}

/// The record of that id, or what was left in its place.
fn look(paths: &Paths, request: &Request, store: Option<&Store>) -> Result<Option<DeploymentRecord>, EngineError> {
    if let Some(record) = store.map(|store| store.record(&request.id)).transpose()?.flatten() {
        return Ok(Some(record));
    }
    let left = paths.unrecorded_file(&request.app);
    let (Some(dir), Some(name)) = (left.parent(), left.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let record = match Dir::open(dir) {
        // One file for all: what cannot be read there is nobody's.
        Ok(dir) => super::store::record_in(&dir, name).unwrap_or_default(),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(error.into()),
    };
    Ok(record.filter(|record| record.id == request.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeploymentId, Kind, Outcome};

    #[test]
    fn an_id_is_good_for_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let app = "shop".parse().unwrap();
        std::fs::create_dir_all(paths.state_dir(&app).parent().unwrap()).unwrap();
        let store = Store::open(&paths, &app).unwrap();
        let request = |number, actor| Request {
            app: app.clone(),
            id: DeploymentId::from_bits(number),
            kind: Kind::Deploy,
            reference: None,
            release: None,
            force: false,
            allow: Default::default(),
            upload: false,
            actor,
        };
        let user = || Actor::Bus { uid: 1000, user: None };
        let record = |number| DeploymentRecord {
            id: DeploymentId::from_bits(number),
            kind: Kind::Deploy,
            actor: "uid:1000".into(),
            outcome: Outcome::Failed,
            message: "the step build failed".into(),
            from: None,
            to: None,
            revision: None,
            reasons: Vec::new(),
            started_at: 1,
            live_ms: None,
            wall_ms: 1,
            timings: Vec::new(),
        };
        let before = |number, actor| ended_before(&paths, &request(number, actor), Some(&store));
        assert_eq!(before(1, user()), None);
        store.save_record(&record(1)).unwrap();
        let said = before(1, user()).unwrap();
        assert!(said.contains("has ended already: failed: the step build failed; nothing was done"), "{said}");
        assert_eq!((before(2, user()), before(1, Actor::Deployd)), (None, None));

        // One that could not be recorded.
        std::fs::create_dir_all(paths.app_run_dir(&app)).unwrap();
        std::fs::write(paths.unrecorded_file(&app), serde_json::to_vec(&record(2)).unwrap()).unwrap();
        assert!(before(2, user()).unwrap().contains("has ended already"));
        assert_eq!(before(3, user()), None);
        // One that cannot be read is no reason to run it.
        std::fs::write(paths.records_dir(&app).join(format!("{}.json", DeploymentId::from_bits(3))), "{").unwrap();
        assert!(before(3, Actor::Systemd).unwrap().contains("may have ended already"));
    }
}
