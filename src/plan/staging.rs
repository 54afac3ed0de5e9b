//! What a new release is made of, and in what it would differ from the live one. Pure.

use std::collections::BTreeMap;

use super::{
    decide::{record, refusal},
    value::{Refusal, Stage},
};
use crate::{
    config::{Settings, Step},
    model::{Kind, MadeFrom, Paths, ReleaseId, ReleaseRecord, ReleaseState, Request},
    observe::{Observed, Resolved, shared_paths, source_order},
    worker::order::{ArchiveOrder, PreviousRelease, SharedFound, SourceOrder},
};

/// The steps that apply to a tree with these files, and the others with the reason.
pub(super) fn steps(
    settings: &Settings,
    markers: &[String],
    after_activate: bool,
) -> (Vec<Step>, BTreeMap<String, String>) {
    let mut apply = Vec::new();
    let mut skipped = BTreeMap::new();
    for step in settings.steps.iter().filter(|step| step.on.is_none() && step.after_activate == after_activate) {
        match step.needs.iter().find(|need| !markers.contains(need)) {
            None => apply.push(step.clone()),
            Some(missing) => {
                skipped.insert(step.name.clone(), format!("the source has no {missing}"));
            }
        }
    }
    (apply, skipped)
}

pub(super) fn stage(
    settings: &Settings,
    observed: &Observed,
    request: &Request,
    resolved: &Resolved,
    made_from: MadeFrom,
) -> Stage {
    let (mut steps, mut skipped) = steps(settings, &resolved.markers, false);
    if request.kind == Kind::Stage {
        let why = "it migrates, and is run when the release is activated";
        let migrating = steps.iter().filter(|step| step.migrates());
        skipped.extend(migrating.map(|step| (step.name.clone(), why.to_owned())));
        steps.retain(|step| !step.migrates());
    }
    let source = source_order(settings, request);
    let reference = match &source {
        SourceOrder::Git(git) => resolved.tag.clone().unwrap_or_else(|| git.reference.clone()),
        SourceOrder::Archive(ArchiveOrder { reference: Some(reference), .. }) => reference.clone(),
        SourceOrder::Archive(_) | SourceOrder::Directory { .. } => short(&resolved.revision).to_owned(),
    };
    Stage {
        seq: observed.state.seq + 1,
        source,
        reference,
        shared: shared_paths(settings),
        writable: settings.writable.clone(),
        build_writable: settings.build_writable.clone(),
        tests: settings.gates.tests.clone(),
        previous: previous_release(settings, observed),
        share: settings.share,
        carry: settings.carry.clone(),
        assets: settings.assets.clone(),
        steps,
        skipped,
        // What is carried is what the next release begins with.
        drop: settings.drop.iter().filter(|path| !settings.carry.contains(path)).cloned().collect(),
        made_from,
        markers: resolved.markers.clone(),
    }
}

/// The release to share with: the live one, since that is what most files will be as in; else the newest.
fn previous_release(settings: &Settings, observed: &Observed) -> Option<PreviousRelease> {
    let there = |one: &&ReleaseRecord| observed.on_disk.contains(&one.id);
    let newest = || observed.state.releases.iter().filter(there).max_by_key(|one| one.seq);
    let chosen = record(observed, observed.current.as_ref()).filter(there).or_else(newest)?;
    let release = Paths::release_dir(&settings.root, &chosen.id);
    Some(PreviousRelease { release, manifest: chosen.manifest.clone() })
}

pub(super) fn made_from(settings: &Settings, observed: &Observed) -> MadeFrom {
    MadeFrom {
        settings: observed.settings_digest.clone(),
        php: observed.php.clone(),
        shared: digests(settings, &observed.shared),
    }
}

/// The digests of the shared files that a release is made from.
fn digests(settings: &Settings, found: &[SharedFound]) -> BTreeMap<String, String> {
    let pairs = settings.shared.iter().zip(found).filter(|(path, _)| !is_data(&path.from));
    pairs.filter_map(|(path, found)| Some((path.from.clone(), found.digest.clone()?))).collect()
}

/// The shared files that are not as they were when a release was made from them.
pub fn changed_shared(settings: &Settings, found: &[SharedFound], made_from: &MadeFrom) -> Vec<String> {
    changed(&made_from.shared, &digests(settings, found))
}

/// What is not as it was. A file that the app itself made after the release (a database) was not what the release was
/// made from.
fn changed(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    before.iter().filter(|(path, digest)| now.get(*path) != Some(digest)).map(|(path, _)| path.clone()).collect()
}

/// Whether a shared file is the app's data, which changes with every request, and not what a release is made from.
fn is_data(path: &str) -> bool {
    [".sqlite", ".sqlite3", ".db"].iter().any(|ending| path.ends_with(ending))
}

/// Why a new release would differ from the live one; empty: it would not.
pub(super) fn differences(
    live: Option<&ReleaseRecord>,
    current: Option<&ReleaseId>,
    resolved: &Resolved,
    made_from: &MadeFrom,
) -> Vec<String> {
    let live = match (live, current) {
        (Some(live), _) => live,
        (None, Some(current)) => return vec![format!("the live release {current} is not of deployd's making")],
        (None, None) => return vec!["the first release".into()],
    };
    if live.made_from == MadeFrom::default() {
        return vec![format!("the live release {} was adopted", live.id)];
    }
    let mut reasons = Vec::new();
    if live.state == ReleaseState::Failed {
        reasons.push(format!("the live release {} failed its checks", live.id));
    }
    if live.revision != resolved.revision {
        let tag = resolved.tag.as_ref().map_or_else(String::new, |tag| format!("the newest tag is {tag}, "));
        reasons.push(format!("{tag}the revision is {} (was {})", short(&resolved.revision), short(&live.revision)));
    }
    if live.made_from.settings != made_from.settings {
        reasons.push("the settings changed".into());
    }
    if live.made_from.php != made_from.php {
        reasons.push(format!("PHP is {} (was {})", made_from.php, live.made_from.php));
    }
    let changed = changed(&live.made_from.shared, &made_from.shared);
    reasons.extend(changed.into_iter().map(|path| format!("shared/{path} changed")));
    reasons
}

/// The first eight digits of a revision, for people and for ids.
pub fn short(revision: &str) -> &str {
    revision.get(..8).unwrap_or(revision)
}

pub(super) fn new_id(observed: &Observed, revision: &str) -> Result<ReleaseId, Refusal> {
    let taken = |id: &ReleaseId| {
        observed.on_disk.contains(id) || observed.state.releases.iter().any(|release| release.id == *id)
    };
    (1..10_000)
        .map_while(|nth| ReleaseId::new(&observed.stamp, short(revision), nth).ok())
        .find(|id| !taken(id))
        .ok_or_else(|| refusal("no release id is free for this second", "run it again"))
}
