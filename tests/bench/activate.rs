//! From staged to live, of a release of ten files and of one of a hundred thousand: the time must not grow with them.
//! Each on a fresh ext4 of its own, no steps, a service of php-fpm and one health probe; every run stages the next commit
//! first, and only the activation is timed.

use super::{
    times::{wait_quiet, watched},
    tree::{self, Tree},
};
use crate::support::{
    deb,
    disk::Disk,
    host::Host,
    root::Root,
    site::{self, Php},
    table::{self, Figure},
};

const DISK_GIB: u64 = 8;
const WHO: &str = "deployd";
const DOMAIN: &str = "shop.example.org";
const TOML: &str = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/srv/repo\"\nsource.ref = \"main\"\n\
                    [[service]]\nkind = \"php-fpm\"\n[health]\nhttp = \"http://127.0.0.1/\"\n\
                    host = \"shop.example.org\"\nsuccesses = 1\nbake = \"0s\"\n[releases]\nkeep = 2\n";

/// Measures both in turns and prints the table, with what the larger one takes of the smaller one's time.
pub fn compare(root: &Root, runs: usize) -> Vec<Figure> {
    let mut sites = [Tree::ten(), Tree::many()].map(|tree| Site::make(root, tree));
    for run in 1..=runs {
        sites.iter_mut().for_each(|site| site.run(run));
    }
    let [small, large] = sites.map(|site| (site.tree.work(), [median(site.live), median(site.wall)]));
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for (work, [live, wall]) in [&small, &large] {
        figures.push(table::figure(work, WHO, "live_ms", *live, "ms"));
        figures.push(table::figure(work, WHO, "wall_ms", *wall, "ms"));
        rows.push(vec![work.clone(), format!("{live:.0} ms"), format!("{wall:.0} ms")]);
    }
    let ratio = |at: usize| format!("{:.2}", large.1[at] / small.1[at]);
    rows.push(vec!["ratio".into(), ratio(0), ratio(1)]);
    println!("\nfrom staged to live, medians on an idle host\n");
    println!("{}", table::table(&["work", "live", "wall"], &rows));
    figures
}

/// An app whose release has the files of a tree, and what its activations took, in milliseconds: to the release's answer
/// at nginx, and to the command's return.
struct Site {
    host: Host,
    disk: Disk,
    tree: Tree,
    live: Vec<f64>,
    wall: Vec<f64>,
}

impl Site {
    fn make(root: &Root, tree: Tree) -> Self {
        let disk = Disk::make("ext4", DISK_GIB);
        let host = Host::boot_on(root, &[(&disk, "srv"), (&disk, "var/cache/deployd")]);
        host.install_deb(&deb::ensure());
        tree.put(&disk.dir().join("srv/repo"));
        host.sh("useradd --create-home shop; chown -R shop: /srv/repo");
        site::install(&host, "shop", "/srv/shop", &Php::Snippet);
        host.write("/etc/deployd/apps/shop.toml", TOML);
        host.ok(&["deployctl", "deploy", "shop"]);
        Self { host, disk, tree, live: Vec::new(), wall: Vec::new() }
    }

    fn run(&mut self, run: usize) {
        let host = &self.host;
        tree::point(&self.disk.dir().join("srv/repo"), run);
        host.ok(&["deployctl", "stage", "shop"]);
        wait_quiet(host);
        let (live, wall) = watched(host, DOMAIN, &format!("r{run}"), || host.run(&["deployctl", "activate", "shop"]));
        eprintln!(
            "{}: live after {live:.0} ms, returned after {wall:.0} ms, of it {}",
            self.tree.work(),
            self.phases()
        );
        self.live.push(live);
        self.wall.push(wall);
        wait_quiet(&self.host);
    }

    /// What the newest deployment's record says of its phases, in milliseconds.
    fn phases(&self) -> String {
        let newest = "cd /var/lib/deployd/apps/shop/deployments; cat \"$(ls -t | head -n1)\"";
        let record: serde_json::Value = serde_json::from_str(&self.host.sh(newest)).expect("a record");
        record["timings"].to_string()
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
