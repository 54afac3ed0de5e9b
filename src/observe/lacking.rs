//! What a deployment would run into and a look shows: programs that its steps need, secrets that it is to hand over, a
//! source that cannot be reached. All of it, so that it can be put right in one go.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;
use serde::Serialize;

use super::{
    Host, PATH, Resolved, find_program,
    programs::{named_php, search_path},
    unpacking::{self, COMPOSER},
};
use crate::{
    check::Neighbour,
    config::{self, AUDIT, ServiceKind, Settings, SlotKind, Step},
    model::{AppName, AppState, Paths, Request},
};

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// The thing and the place, in one line.
    pub what: String,
    /// The way out, in one line.
    pub remedy: Option<String>,
}

/// What composer is run for when the tests are a gate.
const COMPOSER_JSON: &str = "composer.json";

/// Programs and files that are not there, each once; and what is missed, and can be done without.
pub fn lacking(
    host: &Host,
    settings: &Settings,
    request: &Request,
    source: Option<&Resolved>,
    state: &AppState,
) -> (Vec<Lack>, Option<Lack>) {
    let before = || state.releases.last().map(|release| release.markers.as_slice());
    // While the source is not known, the release before tells what it has.
    let markers = source.map(|resolved| resolved.markers.as_slice()).or_else(before);
    let steps = to_run(settings, markers);
    let mut found = programs(settings, markers, &steps);
    found.extend(of_services(settings));
    found.extend(shared_root(&host.paths, settings));
    let of_source = if request.upload { Vec::new() } else { host.source_credentials(settings) };
    found.extend(files(host, settings, of_source, &steps));
    let missed =
        unpacking::missed(settings, wanted(settings, markers, &steps).into_iter().map(|(program, ..)| program));
    (found, missed)
}

/// Another app whose root is this one's, or in it, or has it in it: each would take the other's releases for its own.
pub fn neighbour(paths: &Paths, settings: &Settings) -> Option<Neighbour> {
    let app = &settings.app;
    let mut others = config::list(paths).ok()?.into_iter().filter(|other| other != app);
    others.find_map(|other| {
        let root = config::root_of(paths, &other).filter(|root| overlaps(root, &settings.root))?;
        Some(Neighbour { file: described(paths, &other), app: other, root })
    })
}

/// Where an app is described.
fn described(paths: &Paths, app: &AppName) -> PathBuf {
    config::places(paths, app).into_iter().find(|file| file.is_file()).unwrap_or_default()
}

/// Not told when a configuration is loaded: what runs goes on, and is brought up at boot, whatever file was put beside its
/// own.
fn shared_root(paths: &Paths, settings: &Settings) -> Option<Lack> {
    let Neighbour { app: other, file, root } = neighbour(paths, settings)?;
    Some(Lack {
        what: format!(
            "{} ({}) and {other} ({}) have roots that lie one in the other: {} and {}",
            settings.app,
            described(paths, &settings.app).display(),
            file.display(),
            settings.root.display(),
            root.display()
        ),
        remedy: Some(Neighbour::REMEDY.into()),
    })
}

/// One is the other, or lies in it.
pub fn overlaps(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The steps that will be run, and on what each depends that is not known.
fn to_run<'a>(settings: &'a Settings, markers: Option<&[String]>) -> Vec<(&'a Step, Option<&'a str>)> {
    let needed = |needs: &'a [String]| -> Option<Option<&'a str>> {
        match markers {
            Some(markers) => needs.iter().all(|need| markers.contains(need)).then_some(None),
            None => Some(needs.first().map(String::as_str)),
        }
    };
    settings.steps.iter().filter_map(|step| Some((step, needed(&step.needs)?))).collect()
}

/// A program, the step that runs it, whether that step builds, and on what in the source it depends.
type Wanted<'a> = (&'a str, &'a str, bool, Option<&'a str>);

fn wanted<'a>(
    settings: &'a Settings,
    markers: Option<&[String]>,
    steps: &[(&'a Step, Option<&'a str>)],
) -> Vec<Wanted<'a>> {
    let of_steps = steps.iter().flat_map(|(step, needs)| {
        let builds = !step.as_run_as && !step.after_activate && step.on.is_none();
        let one = move |program| (program, step.name.as_str(), builds, *needs);
        // What asks composer for advisories is PHP.
        let composer = step.run.iter().any(|word| word == AUDIT).then_some(COMPOSER);
        step.run.first().map(String::as_str).into_iter().chain(composer).map(one)
    });
    let tests = settings.gates.tests.iter().flat_map(|tests| {
        let own = tests.run.first().map(|program| (program.as_str(), "tests", true, None));
        let installs = markers.is_none_or(|markers| markers.iter().any(|marker| marker == COMPOSER_JSON));
        let needs = markers.is_none().then_some(COMPOSER_JSON);
        own.into_iter().chain(installs.then_some((COMPOSER, "tests-install", true, needs)))
    });
    // A path is one of the release, or of its shell's making.
    of_steps.chain(tests).filter(|(program, ..)| !program.contains('/')).collect()
}

/// The PHP that a service names, by its name or a path, where it is not there.
fn of_services(settings: &Settings) -> impl Iterator<Item = Lack> {
    settings.services.iter().filter_map(|service| {
        let php = match &service.kind {
            ServiceKind::Slots(SlotKind::Octane(octane)) => &octane.php,
            ServiceKind::Slots(SlotKind::Horizon(horizon)) => &horizon.php,
            ServiceKind::Slots(SlotKind::Queue(queue)) => &queue.php,
            ServiceKind::Scheduler(scheduler) => &scheduler.php,
            _ => return None,
        };
        // As systemd looks for it: here `php` is what the host calls so.
        let there = PATH.split(':').any(|dir| Path::new(dir).join(php).is_file());
        (!there).then(|| Lack {
            what: format!("the PHP of {}, {php}, is not there", service.name),
            remedy: Some(format!("install it, or name another as php of [[service]] {}", service.name)),
        })
    })
}

fn programs(settings: &Settings, markers: Option<&[String]>, steps: &[(&Step, Option<&str>)]) -> Vec<Lack> {
    let mut found: Vec<(String, bool, Vec<String>)> = Vec::new();
    for (program, step, builds, needs) in wanted(settings, markers, steps) {
        // `php` is the PHP that serves; another one would build and migrate for it.
        let program = named_php(settings).filter(|_| program == "php").unwrap_or_else(|| program.to_owned());
        if find_program(settings, &program, builds).is_some() {
            continue;
        }
        let user = needs.map_or_else(|| step.to_owned(), |need| format!("{step}, if the source has {need}"));
        match found.iter_mut().find(|(known, known_builds, _)| *known == program && *known_builds == builds) {
            Some((.., users)) => users.push(user),
            None => found.push((program, builds, vec![user])),
        }
    }
    found.into_iter().map(|(program, builds, users)| lack_of(settings, &program, builds, &users)).collect()
}

fn lack_of(settings: &Settings, program: &str, builds: bool, users: &[String]) -> Lack {
    let what = format!("the program {program} is not in {} (for {})", search_path(settings, builds), users.join("; "));
    let remedy = match (named_php(settings), builds) {
        (Some(php), _) if php == program => {
            format!("install {php}-cli: php-fpm {} serves", php.trim_start_matches("php"))
        }
        (_, true) => format!("install {program}, or name its directory in path of [build]"),
        (_, false) => format!("install {program}; path of [build] is for what builds as the app's user"),
    };
    Lack { what, remedy: Some(remedy) }
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
    let mut open: Vec<Lack> = Vec::new();
    for (file, user) in of_source.chain(of_build).chain(of_steps) {
        if host.paths.host(&file).is_file() {
            open.extend(others_decide(&host.paths, &file).map(|place| Lack {
                what: format!(
                    "the file {} (for {user}) is read by root, and {} is not root's alone",
                    file.display(),
                    place.display()
                ),
                remedy: Some("keep secrets below /etc/deployd/secrets, root's, mode 0600".into()),
            }));
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
    found.into_iter().map(lack).chain(open).collect()
}

/// The first place on the way to a file, by its name or where links lead, at which somebody else than the engine's user
/// decides what is there: PID 1 opens it with all rights, and follows links.
pub(super) fn others_decide(paths: &Paths, file: &Path) -> Option<PathBuf> {
    let top = paths.host(Path::new("/"));
    let named = paths.host(file);
    let led = named.canonicalize().ok()?;
    let open = |place: &&Path| match place.symlink_metadata() {
        Ok(meta) => meta.uid() != geteuid().as_raw() || (!meta.is_symlink() && meta.mode() & 0o022 != 0),
        Err(_) => true,
    };
    named.ancestors().chain(led.ancestors()).filter(|place| !top.starts_with(place)).find(open).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::tests::Host;

    #[test]
    fn apps_whose_roots_lie_one_in_the_other_are_both_named() {
        let tree = tempfile::tempdir().unwrap();
        let paths = Paths::below(tree.path());
        let [dir, ..] = paths.config_dirs();
        std::fs::create_dir_all(&dir).unwrap();
        let text = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\n";
        let settings = Host::with(text).load().unwrap();
        std::fs::write(dir.join(format!("{}.toml", settings.app)), text).unwrap();
        let beside = |root: &str| {
            // Whatever else is wrong with it.
            std::fs::write(dir.join("blog.toml"), format!("root = \"{root}\"\nunknown = 1\n")).unwrap();
            shared_root(&paths, &settings)
        };
        for root in ["/srv/shop", "/srv/shop/", "/srv", "/srv/shop/blog"] {
            let lack = beside(root).unwrap_or_else(|| panic!("{root}"));
            for file in ["blog.toml".to_owned(), format!("{}.toml", settings.app)] {
                assert!(lack.what.contains(&dir.join(&file).display().to_string()), "{}", lack.what);
            }
        }
        assert_eq!((beside("/srv/shop2"), beside("/srv/blog")), (None, None));
    }

    #[test]
    fn what_is_lacking_is_told_with_who_needs_it_and_where_it_was_looked_for() {
        let text = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\n[gates]\n\
                    composer_audit = true\n[build]\npath = [\"/opt/none\"]\n[[service]]\nkind = \"php-fpm\"\n\
                    [[step]]\nname = \"tool\"\nrun = [\"shop-tool\"]\n[[step]]\nname = \"later\"\n\
                    after = \"activate\"\nrun = [\"shop-tool\"]\n";
        let settings = Host::with(text).load().unwrap();
        let markers = ["composer.json", "composer.lock"].map(str::to_owned);
        let steps = to_run(&settings, Some(&markers));
        let wanted = wanted(&settings, Some(&markers), &steps);
        assert!(wanted.contains(&("composer", "composer-audit", true, None)), "{wanted:?}");
        let found = programs(&settings, Some(&markers), &steps);
        let of = |name: &str| found.iter().filter(|lack| lack.what.contains(name)).collect::<Vec<_>>();
        let [builds, later] = of("shop-tool")[..] else { panic!("{found:?}") };
        assert!(builds.what.contains("/opt/none") && builds.remedy.as_deref().unwrap().contains("name its directory"));
        assert!(later.what.contains("(for later)") && !later.what.contains("/opt/none"), "{later:?}");
        let other = text.replace(
            "[[step]]\nname = \"tool\"",
            "[[service]]\nkind = \"horizon\"\nphp = \"7.0\"\n[[step]]\nname = \"tool\"",
        );
        let of_services: Vec<_> = of_services(&Host::with(&other).load().unwrap()).collect();
        assert!(matches!(&of_services[..], [one] if one.what.contains("php7.0")), "{of_services:?}");
        let php = lack_of(&settings, &named_php(&settings).unwrap(), true, &["composer-install".into()]);
        assert!(php.remedy.as_deref().unwrap().contains("-cli: php-fpm"), "{php:?}");
    }

    #[test]
    fn a_secret_that_somebody_else_may_replace_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let at = |path: &str| dir.path().join(path);
        let mode = |path: &str, mode| std::fs::set_permissions(at(path), PermissionsExt::from_mode(mode)).unwrap();
        for (made, bits) in [("etc", 0o755), ("etc/secrets", 0o700), ("home", 0o755), ("home/shop", 0o777)] {
            std::fs::create_dir(at(made)).unwrap();
            mode(made, bits);
        }
        for made in ["etc/secrets/token", "home/shop/npmrc"] {
            std::fs::write(at(made), "x").unwrap();
            mode(made, 0o600);
        }
        let found = |path: &str| others_decide(&paths, Path::new(path));
        assert_eq!(found("/etc/secrets/token"), None);
        assert_eq!(found("/home/shop/npmrc"), Some(at("home/shop")));
        symlink(at("etc/secrets/token"), at("etc/secrets/here")).unwrap();
        assert_eq!(found("/etc/secrets/here"), None);
        symlink(at("etc/secrets/token"), at("home/shop/link")).unwrap();
        assert_eq!(found("/home/shop/link"), Some(at("home/shop")));
        mode("etc/secrets/token", 0o622);
        assert_eq!(found("/etc/secrets/token"), Some(at("etc/secrets/token")));
    }
}
