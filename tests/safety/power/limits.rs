//! What only a machine with controllers shows: a step that forks or eats without end is ended by its bounds, an engine
//! that the kernel ends for want of memory is settled like one that was killed, and one that was frozen goes on.

use std::time::Instant;

use super::{
    app,
    saved::{Saved, Warm},
};
use crate::ledger::{Ledger, Row};

/// A step, what is done while the deployment of `r3` goes on, and what must be true then: a script that ends with 0.
struct Case {
    name: &'static str,
    step: &'static str,
    script: &'static str,
}

/// Long at its first run.
const SLOW: &str = "name = \"slow\"\nrun = 'test -e $HOME/ran || { touch $HOME/ran; sleep 120; }'\n";
/// Begins the deployment, and returns when the step is there.
const BEGIN: &str = "systemctl start --no-block deploy@shop
until systemctl list-units --plain --no-legend 'deploy-step-shop-*-slow.service' | grep -q running; do
    if systemctl is-failed --quiet deploy@shop; then exit 9; fi
    sleep 0.5
done
";

const ALL: [Case; 4] = [
    Case {
        name: "out-of-tasks",
        step: "name = \"forks\"\ntasks = 50\nrun = 'for n in $(seq 200); do sleep 60 & done; true'\n",
        script: "! systemctl start deploy@shop
journalctl -o cat | grep 'the step forks failed with exit status'
test \"$(cat /srv/shop/current/RELEASE)\" = r2
",
    },
    Case {
        name: "out-of-memory",
        step: "name = \"eats\"\nmemory = \"64M\"\nrun = 'head -c 300000000 /dev/zero | tail -c 300000000 > /dev/null'\n",
        script: "! systemctl start deploy@shop
journalctl -o cat | grep 'the step eats was ended because memory was short'
test \"$(cat /srv/shop/current/RELEASE)\" = r2
",
    },
    Case {
        name: "engine-out-of-memory",
        step: SLOW,
        script: "systemctl set-property --runtime deploy@shop.service MemoryMax=64K || true
while test \"$(systemctl is-active deploy@shop)\" = activating; do sleep 0.5; done
test \"$(systemctl show -P Result deploy@shop)\" = oom-kill
systemctl start --wait deploy-settle@shop
test \"$(cat /srv/shop/current/RELEASE)\" = r2
systemctl set-property --runtime deploy@shop.service MemoryMax=infinity
systemctl start deploy@shop
test \"$(cat /srv/shop/current/RELEASE)\" = r3
",
    },
    Case {
        name: "engine-frozen",
        step: "name = \"slow\"\nrun = 'sleep 5'\n",
        // `systemctl freeze` takes only what is active, and a oneshot that works is not yet.
        script: "GROUP=/sys/fs/cgroup$(systemctl show -P ControlGroup deploy@shop.service)
echo 1 > $GROUP/cgroup.freeze
sleep 15
test \"$(systemctl is-active deploy@shop)\" = activating
test \"$(cat /srv/shop/current/RELEASE)\" = r2
echo 0 > $GROUP/cgroup.freeze
systemctl start deploy@shop
test \"$(cat /srv/shop/current/RELEASE)\" = r3
",
    },
];

/// Each of them, unless it has its row.
pub fn all(saved: &Saved, warm: &Warm, ledger: &mut Ledger) {
    for case in &ALL {
        if ledger.has(case.name, 0, "limit", &warm.fs) {
            continue;
        }
        let started = Instant::now();
        let disks = warm.disks.copy(&saved.work());
        let mut machine = saved.go_on(warm, &disks);
        let begin = if case.step.contains("slow") { BEGIN } else { "" };
        let add = format!("cat >> /etc/deployd/apps/shop.toml <<'END'\n[[step]]\nshell = true\n{}END\n", case.step);
        let ran = machine.run(&format!("set -e\n{}{add}{begin}set -x\n{}", app::configure("r3"), case.script));
        let mut row = Row::new(4, case.name, "0", "limit");
        if ran.status != 0 {
            let journal = machine.run("journalctl -o cat -n 30").said;
            row.violations.push(format!("it ends with {}: {}\n{journal}", ran.status, ran.said));
        }
        row.outcome = if case.script.contains("= r3") { "new".into() } else { "old".into() };
        machine.cut();
        let seconds = started.elapsed().as_secs();
        println!("power: {} {}: {seconds} s {}", warm.fs, case.name, row.violations.join("; "));
        ledger.add(Row { fs: warm.fs.clone(), systemd: saved.image.systemd.clone(), ..row });
    }
}
