//! What `init`, `adopt` and `disown` have in common: who ran them, and that no two apps share a root.

use std::path::Path;

use super::error::EngineError;
use crate::{
    config,
    model::{Actor, AppName},
    observe::{Host, overlaps},
};

/// Who logged in, whatever sudo made of it, as `DEPLOYD_ACTOR` gives it; root where nobody did.
pub fn actor() -> String {
    named(&std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default())
}

fn named(login: &str) -> String {
    // What the kernel writes of one that nobody's login has begun.
    let uid = login.trim().parse().ok().filter(|uid| *uid != u32::MAX).unwrap_or(0);
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    Actor::Bus { uid, user }.to_string()
}

/// Refuses a root that is another app's, or is in it, or has it in it.
pub fn apart(host: &Host, app: &AppName, root: &Path) -> Result<(), EngineError> {
    // One that cannot be read is told where it is used.
    let others = config::list(&host.paths).unwrap_or_default().into_iter().filter(|other| other != app);
    for other in others {
        let Ok(settings) = host.settings(&other) else { continue };
        if overlaps(root, &settings.root) {
            return Err(EngineError::Other(format!(
                "{} is {other}'s, whose root is {}: give {app} a root of its own, `deployctl init {app} --root DIR`, or \
                 `deployctl disown {other}` first",
                root.display(),
                settings.root.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_overlap() {
        let of = |one: &str, other: &str| overlaps(Path::new(one), Path::new(other));
        assert!(of("/srv/shop", "/srv/shop") && of("/srv/shop/blog", "/srv/shop") && of("/srv", "/srv/shop"));
        assert!(!of("/srv/shop2", "/srv/shop"));
    }

    #[test]
    fn who_ran_it() {
        assert_eq!(
            (named("0\n").as_str(), named("4294967295").as_str(), named("").as_str()),
            ("user:root", "user:root", "user:root")
        );
        assert_eq!(named("4000000"), "uid:4000000");
    }
}
