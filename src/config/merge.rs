//! One tree of several files, weakest first, by systemd's habits: a later value replaces an earlier one, tables are
//! merged key by key, lists grow, and an empty list clears what earlier files gave. Pure.

use super::tree::{Node, Table, Value};

/// Adds the keys of a stronger file. `[health]` and `[[health]]` are the same list.
pub(super) fn merge(into: &mut Table, mut from: Table) {
    if let Some((_, node)) = from.get_mut("health") {
        one_is_a_list(node);
    }
    merge_tables(into, from);
}

fn one_is_a_list(node: &mut Node) {
    if matches!(node.value, Value::Table(_)) {
        let inner = node.clone();
        node.value = Value::List(vec![inner]);
    }
}

fn merge_tables(into: &mut Table, from: Table) {
    for (key, (place, node)) in from {
        match into.get_mut(&key) {
            None => {
                into.insert(key, (place, node));
            }
            Some((old_place, old)) => match (&mut old.value, node.value) {
                (Value::Table(old), Value::Table(new)) => merge_tables(old, new),
                (Value::List(old), Value::List(new)) if !new.is_empty() => old.extend(new),
                (_, value) => {
                    *old_place = place;
                    *old = Node { value, place: node.place };
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::errors::{Problems, SourceFile};
    use super::super::tree::parse;
    use super::*;

    fn merged(texts: &[&str]) -> Table {
        let mut problems = Problems::default();
        let mut into = Table::new();
        for (index, text) in texts.iter().enumerate() {
            let file = SourceFile { path: "/x".into(), text: (*text).into() };
            merge(&mut into, parse(index, &file, &mut problems));
        }
        assert!(problems.is_empty());
        into
    }
    fn list_len(table: &Table, key: &str) -> usize {
        match &table[key].1.value {
            Value::List(items) => items.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn later_wins_tables_merge_and_places_stay() {
        let t = merged(&["user = \"a\"\n[source]\ngit = \"x\"\nref = \"main\"\n", "[source]\nref = \"next\"\n"]);
        assert!(matches!(&t["user"].1.value, Value::Text(u) if u == "a"));
        let Value::Table(source) = &t["source"].1.value else { panic!() };
        assert!(matches!(&source["ref"].1.value, Value::Text(r) if r == "next"));
        assert_eq!((source["ref"].0.file, source["git"].0.file), (1, 0));
    }

    #[test]
    fn lists_grow_and_an_empty_one_clears() {
        assert_eq!(list_len(&merged(&["[[step]]\nrun = [\"a\"]\n", "[[step]]\nrun = [\"b\"]\n"]), "step"), 2);
        assert_eq!(list_len(&merged(&["shared = [\"a\"]", "shared = []", "shared = [\"b\"]"]), "shared"), 1);
        assert_eq!(list_len(&merged(&["[health]\nbake = 1\n", "[[health]]\nbake = 2\n"]), "health"), 2);
    }
}
