//! stub
use crate::{config::*, model::*};
/// slice
pub fn slice_name(app: &AppName) -> String { format!("deployd-{}.slice", app.as_str().replace('-', "\\x2d")) }
/// d
pub fn dropins(s: &Settings, p: &Paths) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let slice = slice_name(&s.app);
    for unit in ["deploy", "deploy-stage", "deploy-activate", "deploy-rollback", "deploy-settle"] {
        out.push((format!("{unit}@{}.service.d/50-deployd.conf", s.app), format!("[Service]\nSlice={slice}\n")));
    }
    for service in &s.services {
        if let ServiceKind::PhpFpm(fpm) = &service.kind {
            for slot in Slot::ALL {
                let i = SlotInstance { app: s.app.clone(), slot };
                let rw: String = s.writable.iter().map(|w| format!("ReadWritePaths=-{}/{w}\n", p.slot_link(&i).display())).collect();
                out.push((format!("app-fpm@{i}.service.d/50-deployd.conf"), format!("[Service]\nRuntimeDirectory={}\nUser={}\nSlice={slice}\nExecStart=\nExecStart={} --nodaemonize --fpm-config {}\nTimeoutStopSec={}\nReadOnlyPaths={}/releases\n{rw}", Paths::fpm_runtime_dir(&i), s.run_as, fpm.binary.display(), p.fpm_config(&i).display(), service.drain.as_secs() + 15, s.root.display())));
            }
        }
    }
    out
}
