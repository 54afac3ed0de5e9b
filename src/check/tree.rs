//! The app's tree: who owns what must be root's, and what was written into the live release's code. Pure.

use super::{
    Facts, Neighbour,
    found::{Found, Words},
};
use crate::{config::Settings, model::Severity};

const GROUP: &str = "tree";

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    for owned in &facts.owned {
        if owned.uid == 0 && owned.mode & 0o022 == 0 {
            continue;
        }
        let path = owned.path.display();
        let words = Words {
            thing: match owned.uid {
                0 => format!("mode {:04o}", owned.mode),
                uid => format!("owner uid {uid}"),
            },
            place: path.to_string(),
            happens: "others than root can put another release in the live one's place".into(),
            remedy: format!("`chown -h root:root {path}` and `chmod go-w {path}`; a deployment does it too"),
        };
        found.add(GROUP, "tree-owner", Severity::Breaks, words);
    }
    if let Some(Neighbour { app, file, root }) = &facts.neighbour {
        let words = Words {
            thing: format!(
                "{} and {}, the root of {app}, lie one in the other",
                settings.root.display(),
                root.display()
            ),
            place: file.display().to_string(),
            happens: "each app takes the other's releases for its own: neither can stage a new one".into(),
            remedy: Neighbour::REMEDY.into(),
        };
        found.add(GROUP, "root-overlap", Severity::Breaks, words);
    }
    written(settings, facts, found);
}

fn written(settings: &Settings, facts: &Facts, found: &mut Found) {
    let Some(app) = facts.app.as_ref().filter(|app| app.changed.1 > 0) else { return };
    let (paths, count) = &app.changed;
    let more = if *count > paths.len() as u64 { ", …" } else { "" };
    let first = paths.first().map_or("storage/x", String::as_str);
    let dir = first.rsplit_once('/').map_or(first, |(dir, _)| dir);
    let words = Words {
        thing: format!("{count} changed: {}{more}", paths.join(", ")),
        place: settings.root.join("releases").join(&app.release).display().to_string(),
        happens: "written into the code after the release was sealed: the next release does not have it".into(),
        remedy: format!("what is kept belongs in shared = [\"{dir}/\"], what is made anew in writable = [\"{dir}\"]"),
    };
    found.add(GROUP, "code-written", Severity::Warning, words);
}
