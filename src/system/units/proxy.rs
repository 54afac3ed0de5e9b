//! What of PID 1's D-Bus interface is used (org.freedesktop.systemd1(5)). Declarations only.

use zbus::{OwnedObjectPath, Result, Variant, proxy};

/// One property of a transient unit.
pub(super) type Pair = (&'static str, Variant<'static>);
/// A unit that PID 1 has loaded: name, description, load, active and sub state, followed unit, object, job.
pub(super) type Listed =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
/// A unit that would be made beside the transient one; none ever is.
pub(super) type Auxiliary = (&'static str, Vec<Pair>);

/// A command of a service: program, arguments, and what is known of its last run.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> Result<()>;
    fn reload(&self) -> Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn reload_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, who: &str, signal: i32) -> Result<()>;
    fn reset_failed_unit(&self, name: &str) -> Result<()>;
    fn load_unit(&self, name: &str) -> Result<OwnedObjectPath>;
    fn ref_unit(&self, name: &str) -> Result<()>;
    fn unref_unit(&self, name: &str) -> Result<()>;
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> Result<Vec<Listed>>;
    fn get_unit_processes(&self, name: &str) -> Result<Vec<(String, u32, String)>>;
    fn set_unit_properties(&self, name: &str, runtime: bool, properties: &[Pair]) -> Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Pair],
        aux: &[Auxiliary],
    ) -> Result<OwnedObjectPath>;

    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> Result<()>;
    #[zbus(signal)]
    fn reloading(&self, active: bool) -> Result<()>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1",
    assume_defaults = false
)]
pub(super) trait Unit {
    #[zbus(property)]
    fn load_state(&self) -> Result<String>;
    #[zbus(property)]
    fn active_state(&self) -> Result<String>;
    #[zbus(property)]
    fn sub_state(&self) -> Result<String>;
    /// In microseconds of the clock that begins with the boot.
    #[zbus(property)]
    fn inactive_enter_timestamp_monotonic(&self) -> Result<u64>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1",
    assume_defaults = false
)]
pub(super) trait Service {
    #[zbus(property)]
    fn result(&self) -> Result<String>;
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> Result<u32>;
    #[zbus(property, name = "Type")]
    fn type_(&self) -> Result<String>;
    #[zbus(property)]
    fn status_text(&self) -> Result<String>;
    /// `si_code` of the main process's end: 0 not ended, 1 exited, 2 killed, 3 dumped.
    #[zbus(property)]
    fn exec_main_code(&self) -> Result<i32>;
    #[zbus(property)]
    fn exec_main_status(&self) -> Result<i32>;
    #[zbus(property)]
    fn kill_signal(&self) -> Result<i32>;
    #[zbus(property)]
    fn kill_mode(&self) -> Result<String>;
    /// `u64::MAX`: infinity.
    #[zbus(property, name = "TimeoutStopUSec")]
    fn timeout_stop_usec(&self) -> Result<u64>;
    #[zbus(property)]
    fn exec_start(&self) -> Result<Vec<Command>>;
    /// `u64::MAX`: not set.
    #[zbus(property, name = "CPUWeight")]
    fn cpu_weight(&self) -> Result<u64>;
    #[zbus(property)]
    fn user(&self) -> Result<String>;
    #[zbus(property)]
    fn protect_system(&self) -> Result<String>;
    #[zbus(property)]
    fn protect_home(&self) -> Result<String>;
    #[zbus(property)]
    fn read_only_paths(&self) -> Result<Vec<String>>;
    #[zbus(property)]
    fn inaccessible_paths(&self) -> Result<Vec<String>>;
    #[zbus(property)]
    fn read_write_paths(&self) -> Result<Vec<String>>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Timer",
    default_service = "org.freedesktop.systemd1",
    assume_defaults = false
)]
pub(super) trait Timer {
    /// In microseconds of the clock that begins with the boot.
    #[zbus(property, name = "LastTriggerUSecMonotonic")]
    fn last_trigger_usec_monotonic(&self) -> Result<u64>;
}

#[proxy(
    interface = "org.freedesktop.systemd1.Job",
    default_service = "org.freedesktop.systemd1",
    assume_defaults = false
)]
pub(super) trait Job {
    #[zbus(property)]
    fn state(&self) -> Result<String>;
}
