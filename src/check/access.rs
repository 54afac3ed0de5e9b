//! Names in `[access]` that should not stand there: nobody's, since whoever is called so later would be let in, and the
//! user that serves the app, since what breaks into it would deploy. Pure.

use super::{
    Facts,
    found::{Found, Words},
    place,
};
use crate::{
    config::{Settings, Who},
    model::Severity,
};

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    for (key, list) in settings.access.lists() {
        for who in list.iter().filter(|who| facts.strangers.contains(who)) {
            let origin = settings.origins.get(&format!("access.{key}"));
            let (kind, make) = match who {
                Who::User(_) => ("user", "useradd"),
                Who::Group(_) => ("group", "groupadd"),
            };
            let words = Words {
                thing: format!("{key} = [\"{who}\"]"),
                place: origin.map(place).unwrap_or_default(),
                happens: format!("there is no such {kind}: whoever is called so one day may do it"),
                remedy: format!("correct the name, remove it, or make it now by `{make}`"),
            };
            found.add("access", "access-name", Severity::Warning, words);
        }
        let serves = |who: &&Who| matches!(who, Who::User(name) if *name == settings.user || *name == settings.run_as);
        for who in list.iter().filter(serves) {
            let words = Words {
                thing: format!("{key} = [\"{who}\"]"),
                place: settings.origins.get(&format!("access.{key}")).map(place).unwrap_or_default(),
                happens: "the app itself runs as this user: whoever breaks into the site may do it".into(),
                remedy: "name a user that runs nothing of the app's".into(),
            };
            found.add("access", "access-own-user", Severity::Warning, words);
        }
    }
}
