//! stub
use crate::{config::*, model::*};
/// c
pub fn config_text(s: &Settings, _f: &PhpFpm, i: &SlotInstance, d: &std::path::Path, p: &Paths, _t: Option<&str>, _m: bool) -> Result<String, String> {
    let mut acl = vec![s.run_as.clone()];
    acl.extend(s.web_user.clone()); acl.push(s.user.clone()); acl.sort(); acl.dedup(); acl.retain(|u| *u != s.run_as);
    let env: String = s.environment.iter().map(|(k, v)| format!("env[{k}] = {}\n", v.replace("{release}", &d.display().to_string()))).collect();
    Ok(format!("[global]\nerror_log = syslog\ndaemonize = no\nprocess_control_timeout = 30s\n[{}]\nlisten = {}\nlisten.mode = 0660\nlisten.acl_users = {}\npm = dynamic\npm.max_children = 10\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3\ncatch_workers_output = yes\n{env}", s.app, p.fpm_socket(i).display(), acl.join(",")))
}
