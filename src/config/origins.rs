//! Where each written key stands, as `service[0].unit`, for refusals that only the world decides. Pure.

use std::collections::BTreeMap;

use super::{
    Origin,
    errors::{Place, SourceFile},
    tree::{Node, Table, Value},
};

/// Every key of the merged tree, and every item of its lists.
pub(super) fn origins(table: &Table, files: &[SourceFile]) -> BTreeMap<String, Origin> {
    let mut out = BTreeMap::new();
    walk(table, "", files, &mut out);
    out
}

fn walk(table: &Table, prefix: &str, files: &[SourceFile], out: &mut BTreeMap<String, Origin>) {
    for (key, (place, node)) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        note(&path, place, files, out);
        descend(&path, node, files, out);
    }
}

fn descend(path: &str, node: &Node, files: &[SourceFile], out: &mut BTreeMap<String, Origin>) {
    match &node.value {
        Value::Table(table) => walk(table, path, files, out),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                note(&path, &item.place, files, out);
                descend(&path, item, files, out);
            }
        }
        _ => {}
    }
}

fn note(path: &str, place: &Place, files: &[SourceFile], out: &mut BTreeMap<String, Origin>) {
    if let Some(file) = files.get(place.file) {
        out.insert(path.to_owned(), Origin { file: file.path.clone(), line: file.line(place.span.start) });
    }
}
