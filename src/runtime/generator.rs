//! stub
/// g
pub fn generate(p: &crate::model::Paths, o: &std::path::Path, f: &crate::config::HostFacts, u: &dyn Fn(&str) -> Option<(u32, u32)>) {
    for app in crate::config::list(p).unwrap_or_default() {
        let mut f = f.clone();
        for name in crate::config::mentioned_users(p, &app) { if let Some(x) = u(&name) { f.users.insert(name, x); } }
        if let Ok(s) = crate::config::load(p, &app, &f) {
            for (file, text) in super::dropins::dropins(&s, p) {
                let path = o.join(file);
                let _ = std::fs::create_dir_all(path.parent().unwrap_or(o));
                let _ = std::fs::write(path, text);
            }
        }
    }
}
