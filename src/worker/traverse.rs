//! Whether the worker's user may pass every directory down to a path: what nginx will meet.

use std::path::{Component, Path, PathBuf};

use rustix::{
    fs::{self, Access, AtFlags, CWD},
    io::Errno,
};

use super::{order::Answer, refusal::Refusal};

/// Carries out [`super::order::Order::Traverse`].
pub fn run(path: &Path) -> Result<Answer, Refusal> {
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Refusal::new(format!("{} is not an absolute path in normal form", path.display())));
    }
    let mut at = PathBuf::new();
    for part in path.components() {
        at.push(part);
        match fs::accessat(CWD, &at, Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => {}
            // The last may be a file: then that it can be looked at is enough.
            Err(Errno::ACCESS) if at == path && !at.is_dir() => {}
            Err(Errno::ACCESS | Errno::PERM) => return Ok(Answer::Traversed { blocked: Some(at) }),
            Err(error) => return Err(Refusal::io("look at", &at, error)),
        }
    }
    Ok(Answer::Traversed { blocked: None })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_closed_directory_is_named() {
        let tree =
            crate::worker::testing::AsNobody::run("worker::traverse::tests::the_first_closed_directory_is_named");
        let Some(tree) = tree else { return };
        let path = tree.join("home/shop/public/index.php");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(run(&path).unwrap(), Answer::Traversed { blocked: None });
        let home = tree.join("home");
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(run(&path).unwrap(), Answer::Traversed { blocked: Some(home.clone()) });
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(run(&tree.join("absent/x")).is_err());
    }
}
