//! The .rpms under test, and the same under another version.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{built, command, lock::crate_dir};

/// The built .rpms, deployd's and the receiver's: `DEPLOYD_RPM` and what lies beside it, or what `make rpm` leaves in
/// `dist/`, made once by each process.
pub fn ensure() -> [PathBuf; 2] {
    static RPM: OnceLock<PathBuf> = OnceLock::new();
    let ours = |name: &str| {
        let version = name.strip_prefix("deployd-").and_then(|rest| rest.strip_suffix(".rpm"));
        version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    };
    let rpm = RPM.get_or_init(|| built::ensure("DEPLOYD_RPM", "rpm", ours)).clone();
    let webhook = built::webhook(&rpm, "deployd-", "deployd-webhook-");
    [rpm.clone(), webhook.unwrap_or_else(|| panic!("{}: the receiver's package is not beside it", rpm.display()))]
}

/// What stands in for the source tree: its `install` gives what the packages have, as `make install` had given it.
const INSTALL: &str = "install:\n\ttar -C tree -c . | tar -C $(DESTDIR) -x\n\tfind $(DESTDIR)/usr/share/man -name '*.gz' -exec gunzip {} +\n";
/// Unpacks the packages `$3...` into `$1/tree` and builds the spec `$2` from it.
const REBUILD: &str = r#"
    at=$1 tree=$2 version=$3; shift 3
    mkdir -p "$at/tree"
    for package; do rpm2archive - < "$package" | tar -C "$at/tree" -xz; done
    ln -s "$tree/LICENSE-MIT" "$tree/LICENSE-APACHE" "$tree/units" "$at"
    compat=$(test -e /usr/lib/rpm/macros.d/macros.systemd || echo "--load=$tree/packaging/rpm/macros.systemd-compat")
    rpmbuild -bb --quiet --nodeps $compat --define "_topdir $at/made" --define "deployd_src $at" \
        --define "deployd_version $version" --define "_binary_payload w1.gzdio" "$tree/packaging/rpm/deployd.spec"
"#;

/// The spec built anew under another version, of the programs and files that the packages have.
pub fn of_version(rpms: &[PathBuf; 2], version: &str, at: &Path) -> [PathBuf; 2] {
    fs::write(at.join("Makefile"), INSTALL).expect("the directory is ours");
    let (dir, tree) = (at.to_string_lossy(), crate_dir());
    let [rpm, webhook] = rpms.each_ref().map(|path| path.to_string_lossy());
    command::local(&["sh", "-euc", REBUILD, "sh", &dir, &tree.to_string_lossy(), version, &rpm, &webhook]).ok();
    let arch = rpm.rsplit('.').nth(1).unwrap_or_default().to_owned();
    ["deployd", "deployd-webhook"].map(|name| at.join(format!("made/RPMS/{arch}/{name}-{version}-1.{arch}.rpm")))
}
