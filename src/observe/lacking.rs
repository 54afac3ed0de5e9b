//! What a deployment would run into and a look shows: programs that its steps need, secrets that it is to hand over, a
//! source that cannot be reached. All of it, so that it can be put right in one go.

use std::path::PathBuf;

use serde::Serialize;

use super::{Host, Resolved, find_program, search_path};
use crate::{
    config::{Settings, Step},
    model::{AppState, Request},
};

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// The thing and the place, in one line.
    pub what: String,
    /// The way out, in one line.
    pub remedy: Option<String>,
}

/// What composer is run with when the tests are a gate.
const COMPOSER: [&str; 2] = ["composer", "composer.json"];

/// Programs and files that are not there, each once.
pub fn lacking(
    host: &Host,
    settings: &Settings,
    request: &Request,
    source: Option<&Resolved>,
    state: &AppState,
) -> Vec<Lack> {
    let steps = to_run(settings, source, state);
    let mut found = programs(settings, &steps);
    let of_source = if request.upload { Vec::new() } else { host.source_credentials(settings) };
    found.extend(files(host, settings, of_source, &steps));
    found
}

/// The steps that will be run, and on what each depends that is not known. While the source is not, the release before
/// tells what it has.
fn to_run<'a>(settings: &'a Settings, source: Option<&Resolved>, state: &AppState) -> Vec<(&'a Step, Option<&'a str>)> {
    let before = || state.releases.last().map(|release| release.markers.as_slice());
    let markers = source.map(|resolved| resolved.markers.as_slice()).or_else(before);
    let needed = |needs: &'a [String]| -> Option<Option<&'a str>> {
        match markers {
            Some(markers) => needs.iter().all(|need| markers.contains(need)).then_some(None),
            None => Some(needs.first().map(String::as_str)),
        }
    };
    settings.steps.iter().filter_map(|step| Some((step, needed(&step.needs)?))).collect()
}

fn programs(settings: &Settings, steps: &[(&Step, Option<&str>)]) -> Vec<Lack> {
    let wanted =
        steps.iter().filter_map(|(step, needs)| Some((step.run.first()?.as_str(), step.name.as_str(), *needs)));
    let tests = settings.gates.tests.iter().flat_map(|tests| {
        let own = tests.run.first().map(|program| (program.as_str(), "tests", None));
        own.into_iter().chain([(COMPOSER[0], "tests-install", Some(COMPOSER[1]))])
    });
    let mut found: Vec<(&str, Vec<String>)> = Vec::new();
    // A path is one of the release, or of its shell's making.
    for (program, step, needs) in wanted.chain(tests).filter(|(program, ..)| !program.contains('/')) {
        if find_program(settings, program).is_some() {
            continue;
        }
        let user = needs.map_or_else(|| step.to_owned(), |need| format!("{step}, if the source has {need}"));
        match found.iter_mut().find(|(known, _)| *known == program) {
            Some((_, users)) => users.push(user),
            None => found.push((program, vec![user])),
        }
    }
    let lack = |(program, users): (&str, Vec<String>)| Lack {
        what: format!("the program {program} is not in {} (for {})", search_path(settings), users.join("; ")),
        remedy: Some(format!("install {program}, or name its directory in path of [build]")),
    };
    found.into_iter().map(lack).collect()
}

fn files(
    host: &Host,
    settings: &Settings,
    of_source: Vec<(String, PathBuf)>,
    steps: &[(&Step, Option<&str>)],
) -> Vec<Lack> {
    let of_source = of_source.into_iter().map(|(_, file)| (file, "[source]".to_owned()));
    let build = [&settings.build.composer_auth, &settings.build.npmrc].into_iter().flatten();
    let of_build = build.map(|file| (file.clone(), "[build]".to_owned()));
    let of_steps = steps.iter().flat_map(|(step, _)| {
        let files = step.credentials.values().chain(&step.environment_file);
        files.map(|file| (file.clone(), format!("the step {}", step.name)))
    });
    let mut found: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for (file, user) in of_source.chain(of_build).chain(of_steps) {
        if host.paths.host(&file).is_file() {
            continue;
        }
        match found.iter_mut().find(|(known, _)| *known == file) {
            Some((_, users)) => users.push(user),
            None => found.push((file, vec![user])),
        }
    }
    let lack = |(file, users): (PathBuf, Vec<String>)| Lack {
        what: format!("the file {} is not there (for {})", file.display(), users.join("; ")),
        remedy: Some(format!("write it as root: `install -D -m 0600 /dev/stdin {}`", file.display())),
    };
    found.into_iter().map(lack).collect()
}
