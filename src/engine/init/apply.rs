//! `deployctl init NAME --apply`: nginx's site asks deployd's socket link, and `current`. Taken back by itself when nginx
//! does not take it, or when the site answers otherwise than before.
//!
//! The link leads to the pool of before until the first deployment points it at a slot: so nothing changes for the site
//! at this moment, and the first deployment is a handover like any other.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    Said,
    edit::{difference, edited},
    tell, toml,
    undo::Undo,
};
use crate::{
    check::Site,
    config::{ServiceKind, Settings, SlotKind},
    engine::{
        error::EngineError,
        nginx_test::{self, Tested},
        slot_files::BEFORE,
        store::Store,
        upstream,
    },
    model::{AppName, DeploymentId, Paths, events},
    observe::{Found, Host, PoolFound, nginx_sites, read_current, site_page},
    system::tree::{Dir, EntryKind},
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// The largest file of nginx's or ours that is changed, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// A page of the site.
const PAGE: Duration = Duration::from_secs(20);
/// Where what makes the links again at boot is written.
const TMPFILES: &str = "/etc/tmpfiles.d";

/// What would be changed, as a diff; none when nothing would.
pub fn preview(host: &Host, app: &AppName, found: &Found) -> Result<Option<String>, EngineError> {
    let change = Change::of(host, app, found)?;
    Ok(change.map(|change| difference(&change.file, &change.before, &change.after)))
}

/// Changes the site, and proves that it answers as before.
pub async fn apply(
    host: &Host,
    app: &AppName,
    found: &Found,
    id: &DeploymentId,
    mut said: Said,
) -> Result<Said, EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let Some(site) = &found.site else {
        return Err(EngineError::Other(format!(
            "nginx has no site of {app}: write one, as /usr/share/doc/deployd/examples has it"
        )));
    };
    let live = Dir::open(&settings.root).ok().and_then(|root| read_current(&root).ok()).flatten();
    if live.is_none() {
        return Err(EngineError::Other(format!(
            "{}/current is no release of deployd's yet: `deployctl adopt {app}` or `deployctl deploy {app}` first",
            settings.root.display()
        )));
    }
    Store::open(&host.paths, app)?;
    said.fact("configuration", Value::Null);
    said.fact("nginx", Value::Null);
    match Change::of(host, app, found)? {
        None => said.notes.push(format!("nginx: {} is as it should be", site.at.file.display())),
        Some(change) => {
            if site_page(Some(site), "/").is_none() {
                return Err(not_proved(app, site, "answers on no port without TLS"));
            }
            if let Some(pool) = &found.pool {
                bridge(host, app, pool)?;
            }
            let mut looker = Looker::start(host, &settings, site, id).await?;
            change.carry_out(host, &settings, site, &mut looker).await?;
            looker.worker.finish().await?;
            let diff = difference(&change.file, &change.before, &change.after);
            said.fact("changed", true);
            said.fact("nginx", diff.as_str());
            said.data = format!("{diff}\n");
            let backup = change.backup.display();
            tell(events::SITE_CHANGED, app, &format!("{} asks deployd's slots of {app}", change.file.display()));
            said.notes.push(format!("nginx has taken it and the site answers as before; the old file is {backup}"));
        }
    }
    match describe_slots(host, app, &settings, found)? {
        Described::AsItIs => {}
        Described::ByHand(note) => said.notes.push(note),
        Described::Written(text) => {
            said.fact("changed", true);
            said.fact("configuration", text);
            said.notes.push(format!(
                "/etc/deployd/apps/{app}.toml: PHP is served by deployd's own slots now, with the pool's settings"
            ));
        }
    }
    said.notes.push(format!("next: `deployctl check {app}`, then `deployctl deploy {app}`"));
    Ok(said)
}

/// A change that nothing would prove is a person's.
fn not_proved(app: &AppName, site: &Site, why: &str) -> EngineError {
    EngineError::Other(format!(
        "the site at {}:{} {why}: nothing would prove that it answers as before; `deployctl init {app}` shows the change, \
         write it by hand, then `nginx -t && systemctl reload nginx` and `deployctl init {app} --apply` again",
        site.at.file.display(),
        site.at.line
    ))
}

/// Whether a server block still serves the tree by itself.
fn is_old(site: &Site, public: &Path, before: &Path, link: &Path) -> bool {
    let of_app = site.root == public || site.root == before;
    let asks = site.php.as_ref().is_some_and(|php| php.fastcgi && Path::new(&php.to) != link);
    of_app && site.deployd_app.is_none() && (site.root != public || asks)
}

/// The change of one file.
struct Change {
    file: PathBuf,
    before: String,
    after: String,
    backup: PathBuf,
}

impl Change {
    fn of(host: &Host, app: &AppName, found: &Found) -> Result<Option<Self>, EngineError> {
        let Some(site) = found.site.as_ref().filter(|site| site.deployd_app.is_none()) else { return Ok(None) };
        let public = match found.public.as_str() {
            "." => found.root.join("current"),
            public => found.root.join("current").join(public),
        };
        let by_hand = |what: String| EngineError::Other(format!("{what}: change the site by hand"));
        if site.root != public && site.root_at.as_ref().is_none_or(|at| at.file != site.at.file) {
            return Err(by_hand(format!("the root of the site in {} is written elsewhere", site.at.file.display())));
        }
        let link = Paths::default().fpm_link(app);
        let mut changed = site.clone();
        changed.php = site.php.clone().filter(|php| php.fastcgi && Path::new(&php.to) != link);
        if changed.php.is_some() && found.pool.as_ref().is_none_or(|pool| !Path::new(&pool.listen).is_absolute()) {
            let to = changed.php.map_or_else(String::new, |php| php.to);
            return Err(by_hand(format!("nginx asks {to}, which is no socket of a php-fpm pool of this host")));
        }
        let (all, _) = nginx_sites(&host.paths);
        let other = all.iter().find(|other| other.at != site.at && is_old(other, &public, &site.root, &link));
        if let Some(other) = other {
            let (file, line) = (other.at.file.display(), other.at.line);
            return Err(by_hand(format!(
                "another server block, at {file}:{line}, has the root {}",
                other.root.display()
            )));
        }
        // In sites-enabled there is mostly a link.
        let file = host.paths.host(&site.at.file).canonicalize();
        let file = file.map_err(|error| by_hand(format!("{}: {error}", site.at.file.display())))?;
        let (dir, name) = opened(&file)?;
        let before = dir.read(&name, LARGEST)?.unwrap_or_default();
        let before = String::from_utf8(before).map_err(|_| by_hand(format!("{} is not UTF-8", file.display())))?;
        let after = edited(&before, &changed, &public, &link).map_err(|error| EngineError::Other(error.to_string()))?;
        // Not beside it: nginx reads every file that is there.
        let backup = host.paths.state_dir(app).join(format!("before-{name}"));
        Ok((before != after).then_some(Self { file, before, after, backup }))
    }

    async fn carry_out(
        &self,
        host: &Host,
        settings: &Settings,
        site: &Site,
        looker: &mut Looker,
    ) -> Result<(), EngineError> {
        let before = looker.look().await?;
        if proves_nothing(&before) {
            return Err(not_proved(&settings.app, site, "answers without TLS nothing but redirects"));
        }
        let again = looker.look().await?;
        let (dir, name) = opened(&self.file)?;
        let mode = std::fs::metadata(&self.file).map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
        let (state, backup) = opened(&self.backup)?;
        state.write(&backup, self.before.as_bytes(), 0o600)?;
        let undo = Undo { file: self.file.clone(), mode, before: self.before.clone(), after: self.after.clone() };
        undo.record(host, &settings.app)?;
        dir.write(&name, self.after.as_bytes(), mode)?;
        let taken = match self.take(host, settings).await {
            Ok(()) => self.differs(looker, &before, &again).await,
            Err(error) => Err(error),
        };
        let why = match taken {
            Ok(None) => return Undo::forget(host, &settings.app),
            Ok(Some(why)) => EngineError::Other(why),
            Err(error) => error,
        };
        if let Err(error) = undo.take_back(host, settings).await {
            let (file, backup) = (self.file.display(), self.backup.display());
            return Err(EngineError::Other(format!(
                "{why}; and it could not be taken back: {error}; {file} was as {backup} is"
            )));
        }
        Err(EngineError::Other(format!("{why}; {} is as it was before, and nginx has read it", self.file.display())))
    }

    /// In what the site answers otherwise, asked once more if it does: a host may be busy for a moment.
    async fn differs(
        &self,
        looker: &mut Looker,
        before: &[Page],
        again: &[Page],
    ) -> Result<Option<String>, EngineError> {
        if differs(before, again, &looker.look().await?).is_none() {
            return Ok(None);
        }
        Ok(differs(before, again, &looker.look().await?))
    }

    async fn take(&self, host: &Host, settings: &Settings) -> Result<(), EngineError> {
        if let Tested::Bad(detail) = nginx_test::test(host, &settings.web_unit).await? {
            return Err(EngineError::NotReloaded { unit: settings.web_unit.clone(), detail });
        }
        upstream::reload(host, &settings.web_unit).await
    }
}

pub(super) fn opened(file: &Path) -> Result<(Dir, String), EngineError> {
    let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Err(EngineError::Other(format!("{} is no file", file.display())));
    };
    Ok((Dir::open(dir)?, name.to_owned()))
}

/// Leads the link that nginx connects through to the pool of before, now and after a boot, until a slot takes its place.
fn bridge(host: &Host, app: &AppName, pool: &PoolFound) -> Result<(), EngineError> {
    let run = Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?;
    run.swap_link(BEFORE, &pool.listen, "new")?;
    if run.kind("fpm.sock")? == EntryKind::Missing {
        run.swap_link("fpm.sock", &pool.listen, "new")?;
    }
    let (dir, listen) = (Paths::default().app_run_dir(app), &pool.listen);
    let text = format!(
        "# Until a slot of {app} is up, nginx reaches the pool of before: written by `deployctl init {app} --apply`.\n\
         d {0} 0755 root root -\n\
         L {0}/{BEFORE} - - - - {listen}\n\
         L {0}/fpm.sock - - - - {listen}\n",
        dir.display()
    );
    let tmpfiles = Dir::open_or_make(&host.paths.host(Path::new(TMPFILES)), 0o755)?;
    Ok(tmpfiles.write(&tmpfiles_name(app), text.as_bytes(), 0o644)?)
}

/// What [`bridge`] writes in [`TMPFILES`].
pub fn tmpfiles_name(app: &AppName) -> String {
    format!("deployd-{app}.conf")
}

/// What became of the configuration.
enum Described {
    AsItIs,
    /// What a person has to write.
    ByHand(String),
    /// Its new text.
    Written(String),
}

/// Has the configuration name deployd's slots in the place of the pool's reload, as `init` has written it.
fn describe_slots(host: &Host, app: &AppName, settings: &Settings, found: &Found) -> Result<Described, EngineError> {
    if settings.services.iter().any(|one| matches!(&one.kind, ServiceKind::Slots(SlotKind::PhpFpm(_)))) {
        return Ok(Described::AsItIs);
    }
    let Some(pool) = &found.pool else { return Ok(Described::AsItIs) };
    let old = toml::reload(&pool.unit()).replace("NAME", app.as_str());
    let new = toml::slots(&pool.version, Some(&pool.file.display().to_string()));
    let [dir, ..] = host.paths.config_dirs();
    let (dir, name) = (Dir::open(&dir)?, format!("{app}.toml"));
    let text = String::from_utf8_lossy(&dir.read(&name, LARGEST)?.unwrap_or_default()).into_owned();
    if !text.contains(&old) {
        return Ok(Described::ByHand(format!(
            "/etc/deployd/apps/{app}.toml is not as init wrote it: in the place of {} write\n{new}",
            pool.unit()
        )));
    }
    let text = text.replace(&old, &new);
    dir.write(&name, text.as_bytes(), 0o644)?;
    Ok(Described::Written(text))
}

/// A page: status and the body's digest.
type Page = (Option<u16>, String);

/// Who asks the site.
struct Looker {
    worker: Worker,
    orders: Vec<Order>,
}

impl Looker {
    async fn start(host: &Host, settings: &Settings, site: &Site, id: &DeploymentId) -> Result<Self, EngineError> {
        let reach = Reach { network: true, hidden: host.hidden_from(settings), ..Reach::default() };
        let worker = host.worker(settings, id, "site", &settings.user, reach).await?;
        let pages = ["/", "/up", "/no-such-page-of-deployd"];
        let order = |page| Order::Fetch { page, root: settings.root.clone() };
        let orders = pages.iter().filter_map(|path| site_page(Some(site), path)).map(order).collect();
        Ok(Self { worker, orders })
    }

    async fn look(&mut self) -> Result<Vec<Page>, EngineError> {
        let mut pages = Vec::new();
        for order in &self.orders {
            match self.worker.ask(order, PAGE).await? {
                Answer::Fetched { status, digest } => pages.push((status, digest)),
                other => return Err(WorkerError::unexpected(&other).into()),
            }
        }
        Ok(pages)
    }
}

/// Redirects, to TLS mostly, are nginx's own, and so is no answer.
fn proves_nothing(pages: &[Page]) -> bool {
    pages.iter().all(|(status, _)| status.is_none_or(|status| (300..400).contains(&status)))
}

/// In what the site answers otherwise. A body that differs by itself is not compared.
fn differs(before: &[Page], again: &[Page], after: &[Page]) -> Option<String> {
    let shown = |page: &Page| page.0.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    before.iter().zip(again).zip(after).enumerate().find_map(|(index, ((before, again), after))| {
        let number = index + 1;
        match () {
            () if before.0 != after.0 => {
                Some(format!("page {number} of the site answered {} before, and {} now", shown(before), shown(after)))
            }
            () if before == again && before.1 != after.1 => {
                Some(format!("page {number} of the site answers {} as before, with another content", shown(after)))
            }
            () => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_alone_prove_nothing() {
        let pages = |all: &[u16]| all.iter().map(|status| (Some(*status), String::new())).collect::<Vec<_>>();
        assert!(proves_nothing(&[]) && proves_nothing(&pages(&[301, 301])) && proves_nothing(&[(None, String::new())]));
        assert!(!proves_nothing(&pages(&[302, 200])) && !proves_nothing(&pages(&[301, 404])));
    }

    #[test]
    fn a_server_block_that_serves_the_old_tree_is_seen() {
        let old = |text: &str| {
            let parsed = crate::check::parse_nginx(Path::new("/s"), &format!("http {{ server {{ {text} }} }}"));
            let site = crate::check::sites(&parsed).remove(0);
            is_old(&site, Path::new("/srv/shop/current/public"), Path::new("/srv/shop/public"), Path::new("/x.sock"))
        };
        assert!(old("root /srv/shop/public;"));
        assert!(old("root /srv/shop/current/public; fastcgi_pass unix:/run/php/shop.sock;"));
        assert!(!old("root /srv/shop/current/public; fastcgi_pass unix:/x.sock;"));
        assert!(!old("root /srv/blog/public; fastcgi_pass unix:/run/php/shop.sock;"));
    }

    #[test]
    fn what_differs_by_itself_is_not_compared_and_all_else_is() {
        let page = |status: u16, body: &str| vec![(Some(status), body.to_owned())];
        assert_eq!(differs(&page(200, "a"), &page(200, "a"), &page(200, "a")), None);
        assert_eq!(differs(&page(200, "a"), &page(200, "b"), &page(200, "c")), None);
        assert!(differs(&page(200, "a"), &page(200, "b"), &page(502, "c")).unwrap().contains("200 before, and 502"));
        assert!(differs(&page(200, "a"), &page(200, "a"), &page(200, "b")).unwrap().contains("another content"));
    }
}
