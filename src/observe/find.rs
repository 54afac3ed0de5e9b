//! Looks for an app on a host that nobody has described yet: nginx's site, PHP's pool, what runs its artisan; the tree
//! by a worker as its owner. Root's files are read as for a check.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Host,
    check::{Files, crontab, nginx_read},
    find_place::{is_welcome, named, place},
    find_runs::{Run, of_crontab, runs},
};
use crate::{
    check::{Directive, Site, Unread, parse_ini, sites},
    model::{AppName, DeploymentId, Paths},
    worker::{
        client::WorkerError,
        order::{Answer, HttpProbe, Maker, Order, Recognised},
        sandbox::Reach,
    },
};

/// Looking at a tree may take this long.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// A page of the site.
const PAGE_LIMIT: Duration = Duration::from_secs(10);
/// Where pools stand: Debian's places, then Fedora's.
const POOLS: [&str; 2] = ["/etc/php/*/fpm/pool.d/*.conf", "/etc/php-fpm.d/*.conf"];

/// Why an app was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The tree could not be looked at.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// There is nothing to describe, or too much.
    #[error("{0}")]
    Unclear(String),
}

/// What was found of an app.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its root.
    pub root: PathBuf,
    /// The public part: `public`, or `.`.
    pub public: String,
    /// nginx's site.
    pub site: Option<Site>,
    /// The pool that serves it now.
    pub pool: Option<PoolFound>,
    /// Who owns the root or what is shared, or is called like the app; none: nobody but root.
    pub owner: Option<String>,
    /// What the tree is; none: it could not be looked at.
    pub tree: Option<Recognised>,
    /// What runs its artisan.
    pub runs: Vec<Run>,
    /// A page that answers well.
    pub page: Option<String>,
    /// What should have been looked at and could not be.
    pub unread: Vec<Unread>,
}

/// A pool of a php-fpm that is not deployd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFound {
    /// `8.2`; empty where the distribution has one version.
    pub version: String,
    /// Its file.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// Its user.
    pub user: Option<String>,
    /// Its socket or port.
    pub listen: String,
}

impl Found {
    /// There is code of somebody else's making.
    pub fn has_code(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| tree.made_by != Maker::Nobody)
    }
}

impl PoolFound {
    /// The unit that it is of.
    pub fn unit(&self) -> String {
        format!("php{}-fpm.service", self.version)
    }
}

/// An app that was found.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Its name.
    pub app: AppName,
    /// What was found.
    pub found: Found,
}

/// Looks for an app by its name, or for the only one there is. `root`: where it is, if that was said.
pub async fn find(
    host: &Host,
    id: &DeploymentId,
    name: Option<&AppName>,
    root: Option<&Path>,
) -> Result<Looked, FindError> {
    let mut files = Files::new(&host.paths, Vec::new());
    let all: Vec<Site> = sites(&nginx_read(&mut files)).into_iter().filter(|site| !is_welcome(site)).collect();
    let (root, public, site) = place(&host.paths, &all, name, root)?;
    let app = match name {
        Some(name) => name.clone(),
        None => named(&root, site.as_ref())?,
    };
    let pool = site.as_ref().and_then(|site| pool(&mut files, site));
    let mut runs = runs(&mut files, &root);
    let owner = [root.clone(), root.join("shared")].iter().find_map(|dir| owner(&host.paths.host(dir)));
    let owner = owner.or_else(|| super::find_user(app.as_str()).map(|_| app.to_string()));
    let looker = owner.clone().or_else(|| pool.as_ref()?.user.clone());
    let mut found =
        Found { root, public, site, pool, owner, tree: None, runs: Vec::new(), page: None, unread: files.unread };
    if let Some(user) = looker.filter(|user| user != "root") {
        let lines;
        (found.tree, found.page, lines) = look(host, &app, id, &user, &found).await?;
        runs.extend(lines.into_iter().map(|(line, text)| of_crontab(&user, line, &text)));
    }
    found.runs = runs;
    Ok(Looked { app, found })
}

/// The pool behind a site's address.
fn pool(files: &mut Files<'_>, site: &Site) -> Option<PoolFound> {
    let address = site.php.as_ref().filter(|php| php.fastcgi).map(|php| php.to.clone())?;
    let same = |listen: &str| {
        let port = |text: &str| text.trim_start_matches("127.0.0.1:").trim_start_matches("localhost:").to_owned();
        // Debian's /var/run is /run.
        let plain = |text: &str| port(text).replacen("/var/run/", "/run/", 1);
        plain(listen) == plain(&address)
    };
    for file in POOLS.iter().flat_map(|pattern| files.matching(Path::new(pattern))).collect::<Vec<_>>() {
        let entries = parse_ini(&file, &files.text(&file).unwrap_or_default());
        let Some(listen) = entries.iter().find(|entry| entry.key == "listen" && same(&entry.value)) else { continue };
        let user = entries.iter().rfind(|entry| entry.section == listen.section && entry.key == "user");
        let version = file.strip_prefix("/etc/php").ok().and_then(|rest| rest.components().next());
        return Some(PoolFound {
            version: version.map_or_else(String::new, |part| part.as_os_str().to_string_lossy().into_owned()),
            name: listen.section.clone(),
            user: user.map(|entry| entry.value.clone()),
            listen: listen.value.clone(),
            file,
        });
    }
    None
}

/// Whose a directory is; none: root's, or it is not there.
fn owner(dir: &Path) -> Option<String> {
    let uid = dir.symlink_metadata().ok()?.uid();
    let user = nix::unistd::User::from_uid(uid.into()).ok()??;
    (uid != 0).then_some(user.name)
}

type Seen = (Option<Recognised>, Option<String>, Vec<(usize, String)>);

/// The tree, the site's page and the crontab, as the user sees them.
async fn look(host: &Host, app: &AppName, id: &DeploymentId, user: &str, found: &Found) -> Result<Seen, FindError> {
    let table = crontab(&host.paths, user);
    let credentials = table.iter().map(|file| (user.to_owned(), file.clone())).collect();
    let reach = Reach { network: true, ..Reach::default() };
    let mut worker = host.worker_with(app, id, "look", user, reach, credentials).await?;
    let paths = ["storage", ".env"].map(str::to_owned).to_vec();
    let tree = match worker.ask(&Order::Recognise { root: found.root.clone(), paths }, LOOK_LIMIT).await? {
        Answer::Recognised(tree) => *tree,
        other => return Err(WorkerError::unexpected(&other).into()),
    };
    let mut page = None;
    for path in ["/up", "/"] {
        let Some(probe) = site_page(found.site.as_ref(), path).filter(|_| page.is_none()) else { continue };
        let url = probe.url.clone();
        if let Answer::Fetched { status: Some(200), .. } =
            worker.ask(&Order::Fetch { page: probe, root: found.root.clone() }, LOOK_LIMIT).await?
        {
            page = Some(url);
        }
    }
    let mut lines = Vec::new();
    if table.is_some() {
        let order = Order::Crontab { user: user.to_owned(), root: found.root.clone() };
        if let Answer::Crontab { lines: told } = worker.ask(&order, LOOK_LIMIT).await? {
            lines = told;
        }
    }
    worker.finish().await?;
    Ok((Some(tree), page, lines))
}

/// A page of a site, asked from this host.
pub fn site_page(site: Option<&Site>, path: &str) -> Option<HttpProbe> {
    let site = site?;
    let port = site.port?;
    let authority = if port == 80 { "127.0.0.1".to_owned() } else { format!("127.0.0.1:{port}") };
    Some(HttpProbe {
        url: format!("http://{authority}{path}"),
        host: site.names.first().cloned(),
        status: None,
        body: None,
        json: None,
        timeout: PAGE_LIMIT,
        beside: None,
    })
}

/// nginx's configuration with its includes in place, and what of it could not be read.
pub fn nginx_config(paths: &Paths) -> (Vec<Directive>, Vec<Unread>) {
    let mut files = Files::new(paths, Vec::new());
    let nginx = nginx_read(&mut files);
    (nginx, files.unread)
}

/// nginx's sites, and what of its configuration could not be read.
pub fn nginx_sites(paths: &Paths) -> (Vec<Site>, Vec<Unread>) {
    let (nginx, unread) = nginx_config(paths);
    (sites(&nginx), unread)
}

/// What runs an app's artisan by root's files.
pub fn foreign_runs(paths: &Paths, root: &Path) -> Vec<Run> {
    runs(&mut Files::new(paths, Vec::new()), root)
}

/// The tree of an app that is described, as its user sees it.
pub async fn recognise(
    host: &Host,
    settings: &crate::config::Settings,
    id: &DeploymentId,
) -> Result<Recognised, WorkerError> {
    let reach = Reach { hidden: host.hidden_from(settings), ..Reach::default() };
    let mut worker = host.worker(settings, id, "look", &settings.user, reach).await?;
    let paths = settings.shared.iter().map(|shared| shared.path.clone()).collect();
    let answer = worker.ask(&Order::Recognise { root: settings.root.clone(), paths }, LOOK_LIMIT).await?;
    worker.finish().await?;
    match answer {
        Answer::Recognised(tree) => Ok(*tree),
        other => Err(WorkerError::unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_pool() {
        let pool = |version: &str| PoolFound {
            version: version.into(),
            file: PathBuf::new(),
            name: "www".into(),
            user: None,
            listen: String::new(),
        };
        assert_eq!((pool("8.2").unit().as_str(), pool("").unit().as_str()), ("php8.2-fpm.service", "php-fpm.service"));
    }
}
