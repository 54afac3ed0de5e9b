//! `[build]`: what the steps that build a release find beside the host's programs: others, and secrets for the package
//! managers. Pure.

use std::path::{Path, PathBuf};

use super::{
    Build, check,
    context::Context,
    errors::Problem,
    root_file::root_file,
    written::{At, Reader},
};

/// Reads the table.
pub(super) fn build(cx: &mut Context<'_>, top: &mut Reader<'_>, root: Option<&Path>) -> Build {
    let Some(table) = top.table("build", &mut cx.problems) else { return Build::default() };
    let mut reader = Reader::new(table, "[build]");
    let dirs = reader.texts("path", "[\"/opt/node-22/bin\"]", &mut cx.problems).unwrap_or_default();
    let path = dirs.into_iter().filter_map(|at| program_dir(cx, &at, root)).collect();
    let composer_auth = root_file(cx, &mut reader, root, "composer_auth", "/etc/deployd/secrets/auth.json");
    let npmrc = root_file(cx, &mut reader, root, "npmrc", "/etc/deployd/secrets/npmrc");
    reader.finish(&mut cx.problems);
    Build { path, composer_auth, npmrc }
}

/// A directory with programs. Not of a release: what a step runs by its name is the host's.
fn program_dir(cx: &mut Context<'_>, at: &At<String>, root: Option<&Path>) -> Option<PathBuf> {
    let dir = cx.take(check::absolute(&at.value), &at.place)?;
    if root.is_some_and(|root| dir.starts_with(root)) {
        let problem = Problem::new(format!("{:?} is in the app's own tree", at.value)).at(&at.place);
        let help = "name a directory of this host, like \"/home/shop/.nvm/versions/node/v22.1.0/bin\"; a release's own \
                    programs are run by their path, like \"node_modules/.bin/vite\"";
        cx.problems.push(problem.help(help));
        return None;
    }
    Some(dir)
}
