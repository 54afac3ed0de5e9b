//! What goes on when the end comes, and what must be true afterwards.

use super::{ledger::Row, rig::Rig};

/// A situation.
pub struct Scenario {
    /// Its name in the ledger.
    pub name: &'static str,
    /// Part of the name of the unit that is ended in it.
    victim: &'static str,
    /// What is started.
    starts: &'static str,
    /// Brings the host to where it begins; gives the label of the release to come.
    begin: fn(&Rig) -> &'static str,
}

/// All of them.
pub const ALL: [Scenario; 8] = [
    Scenario { name: "deploy", victim: "/deploy@shop.service", starts: "deploy@shop", begin: another },
    Scenario { name: "deploy-worker", victim: "-tree.service", starts: "deploy@shop", begin: another },
    Scenario { name: "rollback", victim: "/deploy-rollback@shop.service", starts: "deploy-rollback@shop", begin: back },
    Scenario { name: "first", victim: "/deploy@shop.service", starts: "deploy@shop", begin: first },
    Scenario { name: "step-fails", victim: "/deploy@shop.service", starts: "deploy@shop", begin: bad_step },
    Scenario { name: "health-fails", victim: "/deploy@shop.service", starts: "deploy@shop", begin: bad_health },
    Scenario { name: "settle", victim: "/deploy-settle@shop.service", starts: "deploy@shop", begin: another },
    Scenario {
        name: "recovery",
        victim: "/deploy-settle@shop.service",
        starts: "deploy-settle@shop",
        begin: interrupted,
    },
];

impl Scenario {
    /// How many calls there are to end it at.
    pub fn count(&self, rig: &Rig) -> u64 {
        (self.begin)(rig);
        rig.said();
        rig.plan(self.victim, 0, "count");
        rig.start(self.starts);
        rig.settle();
        rig.no_plan();
        let counts =
            rig.said().iter().filter_map(|line| line.strip_suffix(" points")?.parse().ok()).collect::<Vec<u64>>();
        let points = counts.into_iter().max().unwrap_or(0);
        assert!(points > 0, "{}: nothing was counted", self.name);
        println!("safety: {}: {points} points", self.name);
        points
    }

    /// Ends it there, and looks.
    pub fn run(&self, rig: &Rig, point: u64, kind: &str) -> Row {
        let new = (self.begin)(rig);
        rig.said();
        rig.plan(self.victim, point, kind);
        rig.start(self.starts);
        if self.victim.contains("settle") {
            rig.settle();
        }
        let interrupted = rig.now();
        rig.no_plan();
        let met = |line: &String| ["killed", "failed", "terminated"].iter().any(|word| line.starts_with(word));
        let call = rig.said().into_iter().find(met);
        rig.settle();
        let settled = rig.settled();
        // Before its first deployment nothing answered, and nothing need while that is under way.
        let unserved = |wrong: &String| self.name == "first" && wrong.starts_with("the site answers");
        let at_once = interrupted.wrong.into_iter().filter(|wrong| !unserved(wrong));
        let mut violations: Vec<_> = at_once.map(|wrong| format!("at once: {wrong}")).collect();
        violations.extend(settled.wrong);
        violations.extend(self.go_on(rig, new));
        let point = match call {
            Some(call) => call
                .split_once(' ')
                .and_then(|(_, rest)| rest.strip_prefix("before ").or(Some(rest)))
                .unwrap_or("?")
                .to_owned(),
            // It came to its end before: it does not do the same number of calls each time.
            None => format!("{point} -"),
        };
        let outcome = match settled.label.as_deref() {
            None => "none",
            Some(label) if label == new => "new",
            Some(_) => "old",
        };
        let tier = if point.contains("state.json") { 1 } else { 2 };
        Row {
            outcome: outcome.into(),
            violations,
            systemd: rig.systemd.clone(),
            ..Row::new(tier, self.name, &point, kind)
        }
    }

    /// The next deployment works, whatever was before it.
    fn go_on(&self, rig: &Rig, new: &str) -> Vec<String> {
        let good = if new.starts_with("bad") { "r2" } else { new };
        rig.point(good);
        let next = rig.start("deploy@shop");
        if next.status != 0 {
            return vec![format!("the next deployment fails: {}", rig.host.journal(40))];
        }
        rig.settle();
        let look = rig.settled();
        let mut wrong: Vec<_> = look.wrong.into_iter().map(|wrong| format!("after the next one: {wrong}")).collect();
        if look.label.as_deref() != Some(good) {
            wrong.push(format!("after the next one {:?} is live", look.label));
        }
        wrong
    }
}

/// The label that is live.
fn live(rig: &Rig) -> String {
    rig.now().label.unwrap_or_default()
}

/// Another release than the live one is what a deployment brings.
fn another(rig: &Rig) -> &'static str {
    let label = if live(rig) == "r1" { "r2" } else { "r1" };
    rig.point(label);
    label
}

/// There is a release to go back to.
fn back(rig: &Rig) -> &'static str {
    let label = another(rig);
    rig.start("deploy@shop");
    rig.settle();
    if label == "r1" { "r2" } else { "r1" }
}

fn first(rig: &Rig) -> &'static str {
    rig.forget();
    rig.point("r1");
    "r1"
}

fn bad_step(rig: &Rig) -> &'static str {
    rig.point("bad-step");
    "bad-step"
}

fn bad_health(rig: &Rig) -> &'static str {
    rig.point("bad-health");
    "bad-health"
}

/// A deployment was killed after it had activated, and nothing has been done about it.
fn interrupted(rig: &Rig) -> &'static str {
    let label = another(rig);
    rig.host.ok(&["systemctl", "mask", "--runtime", "deploy-settle@shop.service"]);
    rig.plan_after_activate();
    rig.start("deploy@shop");
    rig.no_plan();
    rig.host.ok(&["systemctl", "unmask", "--runtime", "deploy-settle@shop.service"]);
    label
}
