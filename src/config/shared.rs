//! `shared`: what outlives releases. Texts or tables; the preset's first, a written one of the same path replaces it. Pure.

use super::{
    Shared, check,
    context::{Context, quoted},
    errors::{Place, Problem},
    preset::Preset,
    tree::{Node, Value},
    written::{Reader, text, wrong_type},
};

/// All shared paths, in order.
pub(super) fn shared(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &Preset) -> Vec<Shared> {
    let mut out: Vec<(Shared, Option<Place>)> = preset.shared.iter().cloned().map(|s| (s, None)).collect();
    let items = match top.node("shared") {
        Some(Node { value: Value::List(items), .. }) => items.as_slice(),
        Some(node) => {
            let help = "write a list: shared = [\"uploads/\", \".env\"]";
            wrong_type::<()>(node, help, &mut cx.problems);
            &[]
        }
        None => &[],
    };
    for item in items {
        let Some(new) = shared_item(cx, item) else { continue };
        if let Some((other, _)) =
            out.iter().find(|(old, _)| !within(&old.path, &new.path) && within(&old.from, &new.from))
        {
            let title = format!("{:?} and {:?} are one in shared/", other.path, new.path);
            cx.problems.push(Problem::new(title).at(&item.place).help("give each a place of its own by from"));
            continue;
        }
        match out.iter_mut().find(|(old, _)| old.path == new.path) {
            Some((_, Some(_))) => {
                let problem = Problem::new(format!("{:?} is shared twice", new.path));
                cx.problems.push(problem.at(&item.place).help("remove one"));
            }
            Some(slot) => *slot = (new, Some(item.place.clone())),
            None => out.push((new, Some(item.place.clone()))),
        }
    }
    refuse_nested(cx, &out);
    for (shared, _) in out.iter().filter(|(_, place)| place.is_none()) {
        let kind = if shared.directory { "directory" } else { "file" };
        let value = format!("{{ path = {}, kind = \"{kind}\", required = {} }}", quoted(&shared.path), shared.required);
        cx.infer(format!("shared.{}", shared.path), value, format!("preset {}", preset.name));
    }
    out.into_iter().map(|(shared, _)| shared).collect()
}

/// Whether one of two paths is the other, or lies in it.
fn within(one: &str, other: &str) -> bool {
    let below =
        |path: &str, top: &str| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(one, other) || below(other, one)
}

/// A path below another shared one cannot be a link of its own.
fn refuse_nested(cx: &mut Context<'_>, all: &[(Shared, Option<Place>)]) {
    for (inner, place) in all {
        let Some((outer, outer_place)) = all
            .iter()
            .find(|(outer, _)| inner.path.strip_prefix(outer.path.as_str()).is_some_and(|rest| rest.starts_with('/')))
        else {
            continue;
        };
        if let Some(at) = place.as_ref().or(outer_place.as_ref()) {
            let title = format!("{:?} lies inside {:?}, which is shared as a whole", inner.path, outer.path);
            cx.problems.push(Problem::new(title).at(at).help("share one of them"));
        }
    }
}

fn shared_item(cx: &mut Context<'_>, item: &Node) -> Option<Shared> {
    let Value::Table(table) = &item.value else {
        let at = text(item, "\"uploads/\"", &mut cx.problems)?;
        let path = cx.take(check::relative(&at.value), &at.place)?;
        let directory = at.value.ends_with('/') || looks_like_directory(&path);
        if !at.value.ends_with('/') {
            let (kind, why) = match directory {
                true => ("directory", "its name has no point in it; write it with kind = \"file\" if it is one"),
                false => ("file", "its name has a point in it; a trailing / makes it a directory"),
            };
            cx.infer(format!("shared.{path}.kind"), quoted(kind), why);
        }
        return Some(Shared { from: path.clone(), path, directory, required: false });
    };
    let mut reader = Reader::new(table, "shared");
    let path = reader.text("path", "uploads", &mut cx.problems);
    let kind = cx.word(&mut reader, "kind", &["file", "directory"]);
    let from = reader.text("from", "uploads", &mut cx.problems);
    let required = reader.flag("required", &mut cx.problems).is_some_and(|at| at.value);
    reader.finish(&mut cx.problems);
    let Some(path) = path else {
        if !table.contains_key("path") {
            cx.problems
                .push(Problem::new("a shared path has no path").at(&item.place).help("write path = \"uploads\""));
        }
        return None;
    };
    let slash = path.value.ends_with('/');
    let path = cx.take(check::relative(&path.value), &path.place)?;
    let directory = kind.map_or(slash || looks_like_directory(&path), |kind| kind == "directory");
    let from = match from {
        Some(at) => cx.take(check::relative(&at.value), &at.place)?,
        None => path.clone(),
    };
    Some(Shared { path, from, directory, required })
}

/// `storage`, `public/uploads`; but `.env` and `database/database.sqlite` are files.
fn looks_like_directory(path: &str) -> bool {
    !path.rsplit('/').next().unwrap_or_default().contains('.')
}
