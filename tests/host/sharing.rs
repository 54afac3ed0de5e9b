//! Files that releases share, on each file system: what an app changes in one release is never seen in another.

use crate::support::{command, deb, disk::Disk, host::Host, root::Root};

/// The app, where it is, its line of TOML, and whether its releases share space.
const WAYS: [(&str, &str, &str, bool); 4] = [
    ("copies", "ext4", "", false),
    ("links", "ext4", "share = \"hardlink\"\n", true),
    ("onxfs", "xfs", "", true),
    ("onbtrfs", "btrfs", "", true),
];

struct Site<'h> {
    host: &'h Host,
    app: &'h str,
    root: String,
}

impl Site<'_> {
    fn stage(&self) -> String {
        self.host.ok(&["deployctl", "stage", self.app]);
        let releases = self.host.ok(&["ls", "-1", &format!("{}/releases", self.root)]);
        format!("{}/releases/{}", self.root, releases.lines().max().expect("one was made"))
    }

    /// Writes in place, as the app would.
    fn append(&self, file: &str) -> i32 {
        self.host.run_as(self.app, &["sh", "-c", "echo changed >> \"$1\"", "sh", file]).status
    }
}

#[test]
fn what_is_changed_in_one_release_is_never_seen_in_another() {
    let disks = ["ext4", "xfs", "btrfs"].map(|kind| (kind, Disk::make(kind, 1)));
    let places = ["srv/ext4", "srv/xfs", "srv/btrfs"];
    let mounts: Vec<_> = disks.iter().zip(places).map(|((_, disk), place)| (disk, place)).collect();
    let host = Host::boot_on(&Root::chosen(), &mounts);
    host.install_deb(&deb::ensure());
    host.sh("mkdir -p /srv/tree; cd /srv/tree; head -c 300000 /dev/urandom > large; for f in kept touched other; do \
             echo $f > $f.php; done; git init -q -b main .; git add -A; \
             git -c user.name=T -c user.email=t@example.org commit -qm first; chmod -R a+rX /srv/tree");
    let mut sites = Vec::new();
    for (app, kind, more, shares) in WAYS {
        let root = format!("/srv/{kind}/{app}");
        host.ok(&["useradd", "--create-home", app]);
        let toml =
            format!("{more}root = \"{root}\"\nuser = \"{app}\"\nsource.git = \"/srv/tree\"\nsource.ref = \"main\"\n");
        host.write(&format!("/etc/deployd/apps/{app}.toml"), toml);
        sites.push((Site { host: &host, app, root }, kind, shares));
    }
    let firsts: Vec<_> = sites.iter().map(|(site, ..)| site.stage()).collect();
    for ((site, ..), first) in sites.iter().zip(&firsts) {
        // Linked files are read-only: what changes them all the same had to mean it.
        let denied = site.app == "links";
        assert_eq!(site.append(&format!("{first}/touched.php")) != 0, denied, "{}", site.app);
        host.ok(&["sh", "-c", "echo changed >> \"$1\"", "sh", &format!("{first}/touched.php")]);
    }
    host.sh("cd /srv/tree; echo new > other.php; git -c user.name=T -c user.email=t@example.org commit -qam second");
    for ((site, kind, shares), first) in sites.iter().zip(&firsts) {
        let second = site.stage();
        assert_ne!(&second, first);
        assert_eq!(host.read(&format!("{second}/touched.php")), "touched\n", "{}", site.app);
        assert_eq!(host.read(&format!("{second}/other.php")), "new\n", "{}", site.app);
        let large = |release: &str| format!("{release}/large");
        let inode = |release: &str| host.ok(&["stat", "-c", "%i", &large(release)]);
        assert_eq!(inode(first) == inode(&second), site.app == "links", "{}", site.app);
        assert_eq!(by_reference(&disks, kind, &second), *shares && site.app != "links", "{}", site.app);
        // And the other way round, after it was shared.
        let denied = site.append(&format!("{second}/kept.php")) != 0;
        assert_eq!(denied, site.app == "links");
        assert_eq!(host.read(&format!("{first}/kept.php")), "kept\n", "{}", site.app);
    }
    a_step_that_writes_through_a_link_fails(&sites[1].0);
    a_cache_may_be_emptied(&sites[0].0);
}

/// What a worker then has to say goes to the journal, not among its answers.
fn a_cache_may_be_emptied(site: &Site<'_>) {
    let host = site.host;
    host.sh("cd /srv/tree; echo third > other.php; git -c user.name=T -c user.email=t@example.org commit -qam third");
    host.ok(&["rm", "-rf", &format!("/var/cache/deployd/{}/manifests", site.app)]);
    assert_eq!(host.read(&format!("{}/other.php", site.stage())), "third\n");
    let said = host.journal_of("SYSLOG_IDENTIFIER", "deployd-worker");
    assert!(said.contains("nothing is shared with"), "{said}");
}

/// Whether the large file's extents are marked as shared: FIEMAP_EXTENT_SHARED, as filefrag shows it.
fn by_reference(disks: &[(&str, Disk)], kind: &str, release: &str) -> bool {
    let (_, disk) = disks.iter().find(|(name, _)| *name == kind).expect("one of them");
    disk.sync();
    let below = release.strip_prefix(&format!("/srv/{kind}")).expect("it is there");
    let file = format!("{}/srv-{kind}{below}/large", disk.dir().display());
    command::local(&["filefrag", "-v", &file]).ok().contains("shared")
}

fn a_step_that_writes_through_a_link_fails(site: &Site<'_>) {
    let host = site.host;
    let step =
        "[[step]]\nname = \"scribble\"\nrun = [\"/bin/sh\", \"-c\", \"chmod u+w kept.php; echo x >> kept.php\"]\n";
    let toml = format!("/etc/deployd/apps/{}.toml", site.app);
    let before = host.read(&toml);
    host.write(&toml, format!("{before}{step}"));
    let said = host.run(&["deployctl", "stage", site.app]).expect_failure().said();
    assert!(said.contains("kept.php is one file with the release before"), "{said}");
    host.write(&toml, before);
}
