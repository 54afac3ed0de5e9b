//! An archive as a source: a file of this host, one that was handed over, or one from an https server. Its revision is
//! its SHA-256.
//!
//! It is looked through before a release is begun (resolve) and hashed again while it is written (export): nothing is
//! released that was not looked at. Never is anything of it run, and nothing is written through a link or outside.

mod fetch;
mod list;
mod names;
mod open;
mod sign;
mod stream;
mod tar;
mod visit;
mod write;
mod zip;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

use self::{list::Listing, names::Names, open::Archive, write::Writer};
use super::{
    exporter::Exporter,
    git,
    order::{Answer, ArchiveOrder},
    refusal::Refusal,
    rooted,
};

/// What was found when an archive was looked through: it need not be done again for the same bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    digest: String,
    strip: bool,
    exclude: Vec<String>,
    asked: Vec<String>,
    top: Option<Vec<u8>>,
    markers: Vec<String>,
}

/// Where it is remembered, in the app's cache.
const SEEN: &str = "archive.json";

/// Carries out [`super::order::Order::Resolve`] for an archive.
pub fn resolve(order: &ArchiveOrder, cache: &Path, markers: &[String]) -> Result<Answer, Refusal> {
    for marker in markers {
        rooted::parts(marker)?;
    }
    let archive = open::obtain(order, cache)?;
    let digest = archive.digest()?;
    if let Some(expected) = &order.sha256
        && *expected != digest
    {
        return Err(Refusal::with(
            format!("{} has the SHA-256 {digest}, and not the configured {expected}", order.name),
            "correct sha256 in [source], or find out who changed the archive",
        ));
    }
    sign::verify(order, cache, &archive)?;
    let seen = look(order, cache, &archive, &digest, markers)?;
    Ok(Answer::Resolved { revision: digest, markers: seen.markers, tag: None })
}

/// Writes the archive's tree, and sees that it is the one that was resolved.
pub fn export(order: &ArchiveOrder, cache: &Path, revision: &str, exporter: &mut Exporter) -> Result<(), Refusal> {
    let archive = open::again(order, cache)?;
    let changed = || {
        let reason = format!("{} changed after it was looked at", order.name);
        Refusal::with(reason, "deploy again when nothing writes there any more")
    };
    let seen = match remembered(order, cache, revision) {
        Some(seen) => seen,
        None if archive.digest()? == revision => look(order, cache, &archive, revision, &[])?,
        None => return Err(changed()),
    };
    let names = Names { exclude: &order.exclude, top: seen.top };
    let written = archive.entries(&mut Writer { names, exporter })?;
    if written == revision { Ok(()) } else { Err(changed()) }
}

/// Looks through the archive, unless that was done before.
fn look(
    order: &ArchiveOrder,
    cache: &Path,
    archive: &Archive<'_>,
    digest: &str,
    asked: &[String],
) -> Result<Seen, Refusal> {
    if let Some(seen) = remembered(order, cache, digest).filter(|seen| seen.asked == asked) {
        return Ok(seen);
    }
    let mut listing = Listing::default();
    archive.entries(&mut listing)?;
    let top = if order.strip { listing.top() } else { None };
    let names = Names { exclude: &order.exclude, top };
    listing.judge(&names)?;
    let seen = Seen {
        digest: digest.to_owned(),
        strip: order.strip,
        exclude: order.exclude.clone(),
        asked: asked.to_vec(),
        markers: listing.markers(&names, asked),
        top: names.top,
    };
    let text = serde_json::to_string(&seen).map_err(|error| Refusal::new(error.to_string()))?;
    git::pin(&cache.join(SEEN), &text)?;
    Ok(seen)
}

fn remembered(order: &ArchiveOrder, cache: &Path, digest: &str) -> Option<Seen> {
    let seen: Seen = serde_json::from_slice(&std::fs::read(cache.join(SEEN)).ok()?).ok()?;
    (seen.digest == digest && seen.strip == order.strip && seen.exclude == order.exclude).then_some(seen)
}
