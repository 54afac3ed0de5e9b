//! Machines as they were at a moment, so that no cut waits for a boot: one booted, its disks not looked at yet; and one
//! for each kind of disk with two releases deployed, the second of them live.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{app, disk::Disks, image::Image, machine::Machine};

/// What is booted, and from what.
pub struct Saved {
    /// The image.
    pub image: Image,
    cold: PathBuf,
}

/// A machine on which `r2` is live and `r1` is the release before.
pub struct Warm {
    /// The kind of its file systems.
    pub fs: String,
    /// Whether the record has a disk of its own there.
    pub own_state: bool,
    /// Its disks at that moment; never written.
    pub disks: Disks,
    /// How long a deployment takes there.
    pub took: Duration,
    state: PathBuf,
}

impl Saved {
    /// Boots the image, once.
    pub fn ensure() -> Self {
        let image = Image::ensure();
        let cold = image.dir.join("cold.state");
        if !cold.is_file() {
            let started = Instant::now();
            let part = cold.with_extension("part");
            Machine::boot(&image, &Disks::blank(&image.dir.join("boot"))).save(&part);
            fs::rename(&part, &cold).unwrap();
            println!("power: a machine boots in {} s", started.elapsed().as_secs());
        }
        Self { image, cold }
    }

    /// A booted machine with these disks, not mounted yet.
    pub fn cold(&self, disks: &Disks) -> Machine {
        Machine::resume(&self.image, disks, &self.cold)
    }

    /// The machine of this kind, made once.
    pub fn warm(&self, kind: &str, own_state: bool) -> Warm {
        let dir = self.image.dir.join(format!("{kind}-{}", if own_state { "two" } else { "one" }));
        let (state, took) = (dir.join("warm.state"), dir.join("took"));
        if !took.is_file() {
            let disks = Disks::blank(&dir);
            disks.format(kind);
            let mut machine = self.cold(&disks);
            machine.run(&format!("{}{}", app::configure("r1"), app::come_up(own_state))).ok();
            machine.run("systemctl start deploy@shop || { journalctl -o cat -n 60; exit 1; }").ok();
            machine.run("systemctl start --wait deploy-settle@shop").ok();
            let started = Instant::now();
            machine.run(&format!("{}systemctl start deploy@shop", app::configure("r2"))).ok();
            let millis = started.elapsed().as_millis();
            machine.run("systemctl start --wait deploy-settle@shop; sync").ok();
            machine.save(&state);
            fs::write(&took, millis.to_string()).unwrap();
            println!("power: {kind}: a deployment takes {millis} ms in the machine");
        }
        let took = fs::read_to_string(&took).unwrap().parse().map(Duration::from_millis).unwrap();
        Warm { fs: kind.into(), own_state, disks: Disks { dir, logged: false }, took, state }
    }

    /// That machine, going on with these disks, which are copies of its own.
    pub fn go_on(&self, warm: &Warm, disks: &Disks) -> Machine {
        Machine::resume(&self.image, disks, &warm.state)
    }

    /// A fresh directory for a case's disks.
    pub fn work(&self) -> PathBuf {
        self.image.dir.join("work")
    }
}
