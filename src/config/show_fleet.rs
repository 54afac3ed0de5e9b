//! A fleet's semaphore as a person could have written it, for `deployctl show`. Pure.

use super::{
    Fleet, Semaphore,
    context::{quoted, quoted_list},
    duration,
    show::Page,
};

impl Page<'_> {
    pub(super) fn fleet(&mut self, fleet: &Fleet) {
        self.header("[fleet]", "");
        self.line("group", &quoted(&fleet.group), "fleet.group");
        match &fleet.semaphore {
            Semaphore::FleetLock { url } => self.line("fleet_lock", &quoted(url), ""),
            Semaphore::Etcd { endpoints, slots, lease, login } => {
                self.line("etcd", &quoted_list(endpoints), "");
                self.line("slots", &slots.to_string(), "");
                self.line("lease", &quoted(&duration::format(*lease)), "");
                if let Some((user, file)) = login {
                    self.line("user", &quoted(user), "");
                    self.line("password_file", &quoted(&file.to_string_lossy()), "");
                }
            }
        }
        let (certificate, key) = fleet.client.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
        for (name, file) in [("ca_file", fleet.ca_file.as_ref()), ("cert_file", certificate), ("key_file", key)] {
            if let Some(file) = file {
                self.line(name, &quoted(&file.to_string_lossy()), "");
            }
        }
    }
}
