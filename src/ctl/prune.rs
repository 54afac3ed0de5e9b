//! `deployctl prune`: what went, what stayed, and why.

use std::collections::HashMap;

use serde_json::json;
use zbus::Variant;

use super::{
    bus::{Bus, Properties, flag, number, text},
    error::CtlError,
    lists::object,
    out::{Out, size, table},
};
use crate::model::AppName;

/// Prunes, or tells what would go.
pub async fn run(bus: &Bus, app: &AppName, keep: Option<u32>, dry_run: bool, out: &Out) -> Result<u8, CtlError> {
    let mut options = HashMap::from([("dry-run", Variant::from(dry_run))]);
    if let Some(keep) = keep {
        options.insert("keep", Variant::from(keep));
    }
    let told = bus.manager.prune(app.as_str(), &options).await?;
    if out.is_json() {
        let releases: Vec<_> = told.iter().map(object).collect();
        let changed = !dry_run && told.iter().any(|one| flag(one, "pruned"));
        out.json(&json!({"app": app.as_str(), "dry_run": dry_run, "changed": changed, "releases": releases}))?;
        return Ok(0);
    }
    lines(app, &told, dry_run).iter().try_for_each(|line| out.line(line))?;
    Ok(0)
}

fn lines(app: &AppName, told: &[Properties], dry_run: bool) -> Vec<String> {
    let gone: Vec<_> = told.iter().filter(|one| flag(one, "pruned")).collect();
    let freed = gone.iter().map(|one| number(one, "bytes")).fold(0, i64::saturating_add);
    let summary = match (gone.len(), dry_run) {
        (0, _) => format!("{app}: nothing to prune"),
        (count, true) => format!("{app}: {count} would be pruned, {} as they were sealed", size(freed)),
        (count, false) => format!("{app}: {count} pruned, {} as they were sealed", size(freed)),
    };
    let word = |one: &Properties| if flag(one, "pruned") { "prune" } else { "keep" };
    let row = |one: &Properties| vec![format!("  {}", word(one)), text(one, "release"), text(one, "why")];
    let rows: Vec<_> = told.iter().map(row).collect();
    [summary].into_iter().chain(table(&rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::OwnedVariant;

    #[test]
    fn what_goes_and_what_stays_is_told_with_its_reason() {
        let one = |pruned: bool, why: &str| -> Properties {
            let own = |value: Variant<'static>| OwnedVariant::try_from(value).unwrap();
            [
                ("release", own("R1".into())),
                ("pruned", own(pruned.into())),
                ("why", own(why.to_owned().into())),
                ("bytes", own(3_145_728u64.into())),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
        };
        let app: AppName = "shop".parse().unwrap();
        let told = [one(false, "live"), one(true, "beyond keep = 1")];
        let shown = lines(&app, &told, true);
        assert_eq!(shown[0], "shop: 1 would be pruned, 3.0 MiB as they were sealed");
        assert_eq!(shown[1..], ["  keep   R1  live", "  prune  R1  beyond keep = 1"]);
        assert_eq!(lines(&app, &told[..1], false)[0], "shop: nothing to prune");
    }
}
