//! Files of root's that the configuration names, secrets most of them: PID 1 opens them, so nobody else may decide what is
//! there. Judged by the path alone, links are not followed. Pure.

use std::path::{Path, PathBuf};

use super::{
    check,
    context::Context,
    errors::Problem,
    written::{At, Reader},
};

/// The file that a key names; nothing when there is none, or a problem was noted.
pub(super) fn root_file(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    root: Option<&Path>,
    key: &'static str,
    like: &str,
) -> Option<PathBuf> {
    let at = reader.text(key, like, &mut cx.problems)?;
    checked(cx, &at, root)
}

/// The same of what was read already.
pub(super) fn checked(cx: &mut Context<'_>, at: &At<String>, root: Option<&Path>) -> Option<PathBuf> {
    let path = cx.take(check::absolute(&at.value), &at.place)?;
    cx.take(outside(&path, root), &at.place).map(|()| path)
}

/// What is in the app's own tree is its user's.
pub(super) fn outside(path: &Path, root: Option<&Path>) -> Result<(), Problem> {
    if root.is_some_and(|root| path.starts_with(root)) {
        let title = format!("{} is in the app's own tree, and root would read it", path.display());
        return Err(Problem::new(title).help("keep secrets below /etc/deployd/secrets, root's, mode 0600"));
    }
    Ok(())
}
