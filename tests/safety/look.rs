//! What must hold on the host after every case, read from outside of deployd: the files, the site, systemd.

use crate::support::{command::Ended, host::Host, requests::Answer, shop::Shop};

/// What was seen of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The release that `current` names by its label; `None`: there is no `current`.
    pub label: Option<String>,
    /// What was not as promised.
    pub wrong: Vec<String>,
}

/// A digest of every file below a directory: its path and its content.
pub fn digest(host: &Host, dir: &str) -> String {
    try_digest(host, dir).ok()
}

fn try_digest(host: &Host, dir: &str) -> Ended {
    let script = r#"cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum | sha256sum"#;
    host.run(&["sh", "-euc", script, "sh", dir])
}

/// `current` is complete and the site serves it, or there is neither. Holds at every moment.
pub fn at_any_moment(host: &Host, shop: &Shop, complete: &dyn Fn(&str) -> String) -> Look {
    let mut wrong = Vec::new();
    let Some((label, digest, answer)) = of_one_release(host, shop) else { return Look { label: None, wrong } };
    if digest != complete(&label) {
        wrong.push(format!("current names an incomplete release ({label:?})"));
    }
    if !answer.is_whole() || answer.is_mixed() {
        wrong.push(format!("the site answers {answer:?}"));
    }
    Look { label: Some(label), wrong }
}

/// The label and the digest of what `current` names, and what the site answers; recovery may move or remove it meanwhile,
/// and then it is looked at again.
fn of_one_release(host: &Host, shop: &Shop) -> Option<(String, String, Answer)> {
    loop {
        let before = shop.current(host);
        if before.is_empty() {
            return None;
        }
        let current = format!("{}/current/", shop.root());
        let label = host.run(&["cat", &format!("{current}RELEASE")]).stdout.trim().to_owned();
        let digest = try_digest(host, &current);
        let answer = shop.get(host, "/");
        if shop.current(host) == before {
            return Some((label, digest.ok(), answer));
        }
    }
}

/// That, and nothing is under way, left over, or served that `current` does not name.
pub fn settled(host: &Host, shop: &Shop, complete: &dyn Fn(&str) -> String) -> Look {
    let mut look = at_any_moment(host, shop, complete);
    if let Some(label) = &look.label {
        let served = shop.get(host, "/").value("end").map(str::to_owned);
        if served.as_ref() != Some(label) {
            look.wrong.push(format!("current is {label}, and the site serves {served:?}"));
        }
    }
    let state = host.run(&["cat", &format!("/var/lib/deployd/apps/{}/state.json", shop.name())]).stdout;
    let envelope: serde_json::Value = serde_json::from_str(&state).unwrap_or_default();
    let state = envelope["state"].as_str().and_then(|text| serde_json::from_str(text).ok());
    let state: serde_json::Value = state.unwrap_or_default();
    for what in ["running", "stuck"] {
        if !state[what].is_null() {
            look.wrong.push(format!("the record says {what}: {}", state[what]));
        }
    }
    let known: Vec<_> =
        state["releases"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect();
    let there = host.run(&["ls", "-1A", &format!("{}/releases", shop.root())]).stdout;
    for name in there.lines().filter(|name| !name.starts_with(".next-")) {
        if !known.contains(&name) {
            look.wrong.push(format!("releases/{name} is nobody's"));
        }
    }
    let beside = host.run(&["find", shop.root(), "-maxdepth", "1", "-name", "current?*"]).stdout;
    if !beside.is_empty() {
        look.wrong.push(format!("left beside current: {beside}"));
    }
    let units =
        ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "deploy-step-*", "deploy-worker-*"];
    let left = host.run(&units).stdout;
    if left.lines().any(|line| !line.contains("-bake.")) {
        look.wrong.push(format!("units are left running: {left}"));
    }
    let kept = host.run(&["cat", &format!("{}/shared/storage/kept", shop.root())]).stdout;
    if look.label.is_some() && kept != "kept\n" {
        look.wrong.push(format!("shared/storage/kept is {kept:?}"));
    }
    look
}
