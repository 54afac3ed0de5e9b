//! Where everything is. One root for all of it, so that a test is a tree in and a tree out.

use std::path::{Path, PathBuf};

use super::{AppName, DeploymentId, ReleaseId, SlotInstance, SlotUnit};

/// The paths deployd uses, below one root (`/` in production).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Paths {
    /// All paths below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// An absolute path of the host, below this root.
    pub fn host(&self, absolute: &Path) -> PathBuf {
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The directories that may hold `NAME.toml` and `NAME.d/`, strongest first, as systemd orders them.
    pub fn config_dirs(&self) -> [PathBuf; 3] {
        ["etc/deployd/apps", "run/deployd/apps.d", "usr/lib/deployd/apps"].map(|dir| self.root.join(dir))
    }

    /// `/var/lib/deployd/apps/NAME`: state, records, lock. Root's; readable for group deployd.
    pub fn state_dir(&self, app: &AppName) -> PathBuf {
        self.states_dir().join(app.as_str())
    }
    /// `/var/lib/deployd/apps/NAME/adopt.json`: an adoption that has begun and not ended.
    pub fn adoption_file(&self, app: &AppName) -> PathBuf {
        self.state_dir(app).join("adopt.json")
    }
    /// `/var/lib/deployd/apps`.
    pub fn states_dir(&self) -> PathBuf {
        self.root.join("var/lib/deployd/apps")
    }
    /// The state of an app's releases and slots, and the journal of its running deployment.
    pub fn state_file(&self, app: &AppName) -> PathBuf {
        self.state_dir(app).join("state.json")
    }
    /// What of an app is held.
    pub fn holds_file(&self, app: &AppName) -> PathBuf {
        self.state_dir(app).join("holds.json")
    }
    /// Where the record of each ended deployment is, `ID.json`.
    pub fn records_dir(&self, app: &AppName) -> PathBuf {
        self.state_dir(app).join("deployments")
    }
    /// Held by whoever changes the app.
    pub fn lock_file(&self, app: &AppName) -> PathBuf {
        self.state_dir(app).join("lock")
    }

    /// `/var/lib/deployd/keys`: the apps' deploy keys. Root's alone; PID 1 hands one over to whoever fetches.
    pub fn keys_dir(&self) -> PathBuf {
        self.root.join("var/lib/deployd/keys")
    }
    /// The private half of an app's deploy key.
    pub fn deploy_key(&self, app: &AppName) -> PathBuf {
        self.keys_dir().join(app.as_str())
    }

    /// `/var/lib/deployd/metrics`: what a monitoring reads, for all to read.
    pub fn metrics_dir(&self) -> PathBuf {
        self.root.join("var/lib/deployd/metrics")
    }

    /// `/var/cache/deployd/NAME`: the app user's git mirror and package caches.
    pub fn cache_dir(&self, app: &AppName) -> PathBuf {
        self.root.join("var/cache/deployd").join(app.as_str())
    }

    /// `/run/deployd`.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run/deployd")
    }
    /// `/run/deployd/NAME`: links to sockets, slots' configuration, progress. Root's, readable for all.
    pub fn app_run_dir(&self, app: &AppName) -> PathBuf {
        self.run_dir().join(app.as_str())
    }
    /// The link that nginx connects through: to the live php-fpm slot's socket.
    pub fn fpm_link(&self, app: &AppName) -> PathBuf {
        self.app_run_dir(app).join("fpm.sock")
    }
    /// A php-fpm slot's own socket, in the runtime directory of its instance.
    pub fn fpm_socket(&self, slot: &SlotInstance) -> PathBuf {
        self.root.join("run/deployd-fpm").join(slot.to_string()).join("fpm.sock")
    }
    /// A php-fpm slot's configuration, written by the engine before the slot is started.
    pub fn fpm_config(&self, slot: &SlotInstance) -> PathBuf {
        self.app_run_dir(&slot.app).join(format!("fpm-{}.conf", slot.slot))
    }
    /// `/run/deployd/slots`: the links to the releases that slots run.
    pub fn slots_dir(&self) -> PathBuf {
        self.run_dir().join("slots")
    }
    /// `/run/deployd/slots/TEMPLATE@APP:SLOT`, the link to the release that the slot runs.
    pub fn slot_link(&self, slot: &SlotUnit) -> PathBuf {
        self.slots_dir().join(slot.to_string())
    }
    /// The environment of a slot's processes, in the format of `EnvironmentFile=`; root's alone, it may hold secrets.
    pub fn slot_environment(&self, slot: &SlotUnit) -> PathBuf {
        self.app_run_dir(slot.app()).join(format!("slot-{}-{}.env", slot.template(), slot.slot()))
    }
    /// While this file is there, the slot's workers take no job.
    pub fn slot_paused(&self, slot: &SlotUnit) -> PathBuf {
        self.app_run_dir(slot.app()).join(format!("slot-{}-{}.paused", slot.template(), slot.slot()))
    }
    /// Locked, shared, by each of a slot's workers while it looks for a job.
    pub fn slot_looking(&self, slot: &SlotUnit) -> PathBuf {
        self.app_run_dir(slot.app()).join(format!("slot-{}-{}.looking", slot.template(), slot.slot()))
    }
    /// What a slot was last started as: its port, its drain time.
    pub fn slot_record(&self, slot: &SlotUnit) -> PathBuf {
        self.app_run_dir(slot.app()).join(format!("slot-{}-{}.json", slot.template(), slot.slot()))
    }
    /// `/run/deployd/NAME/upstream-SERVICE.conf`: the upstream that nginx includes.
    pub fn upstream(&self, app: &AppName, service: &str) -> PathBuf {
        self.app_run_dir(app).join(format!("upstream-{service}.conf"))
    }
    /// `/run/deployd/NAME/unrecorded.json`: how the last deployment ended whose record could not be written.
    pub fn unrecorded_file(&self, app: &AppName) -> PathBuf {
        self.app_run_dir(app).join("unrecorded.json")
    }

    /// What the running deployment is doing, as JSON; rewritten by rename.
    pub fn progress_file(&self, app: &AppName) -> PathBuf {
        self.app_run_dir(app).join("progress.json")
    }
    /// What the newest survey of the shared files found, as JSON; rewritten by rename.
    pub fn survey_file(&self, app: &AppName) -> PathBuf {
        self.app_run_dir(app).join("survey.json")
    }
    /// The file with one request of the bus: `deployd` writes it, the engine reads it strictly.
    pub fn request_file(&self, app: &AppName, id: &DeploymentId) -> PathBuf {
        self.run_dir().join("requests").join(app.as_str()).join(id.as_str())
    }

    /// `/var/spool/deployd`: archives that were handed over, until their deployment has ended. `deployd`'s; everyone may
    /// pass it, and nobody list it.
    pub fn uploads_dir(&self) -> PathBuf {
        self.root.join("var/spool/deployd")
    }
    /// The archive of one deployment, the app's user's to read.
    pub fn upload_file(&self, app: &AppName, id: &DeploymentId) -> PathBuf {
        self.uploads_dir().join(format!("{app}:{id}"))
    }

    /// `ROOT/releases/ID` of an app's root.
    pub fn release_dir(app_root: &Path, id: &ReleaseId) -> PathBuf {
        app_root.join("releases").join(id.as_str())
    }
}
