//! The change of an nginx site's file: what it would be, and carried out so that it can be taken back at any moment.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    edit::edited,
    proof::{Looker, Page, differs, proves_nothing},
    target::{Target, by_hand},
    undo::Undo,
};
use crate::{
    check::{Site, passes, sites},
    config::Settings,
    engine::{
        error::EngineError,
        nginx_test::{self, Tested},
        upstream,
    },
    model::{AppName, Paths},
    observe::{Found, Host, nginx_config},
    runtime::nginx::upstream_name,
    system::tree::Dir,
};

/// The largest file of nginx's or ours that is changed, in bytes.
pub(super) const LARGEST: u64 = 1024 * 1024;

/// A change that nothing would prove is a person's.
pub(super) fn not_proved(app: &AppName, site: &Site, why: &str) -> EngineError {
    EngineError::Other(format!(
        "the site at {}:{} {why}: nothing would prove that it answers as before; `deployctl init {app}` shows the change, \
         write it by hand, then `nginx -t && systemctl reload nginx` and `deployctl init {app} --apply` again",
        site.at.file.display(),
        site.at.line
    ))
}

/// Whether a server block still serves the tree by itself.
fn is_old(site: &Site, public: &Path, before: &Path, (link, upstream): (&Path, Option<&str>)) -> bool {
    let of_app = site.root == public || site.root == before;
    let elsewhere = site.php.as_ref().is_some_and(|served| match served.fastcgi {
        true => Path::new(&served.to) != link,
        false => upstream.is_some_and(|upstream| served.name != upstream),
    });
    of_app && site.deployd_app.is_none() && (site.root != public || elsewhere)
}

/// The change of one file.
pub(super) struct Change {
    /// The site's file.
    pub file: PathBuf,
    /// Its text.
    pub before: String,
    /// Its text as it shall be.
    pub after: String,
    /// Where the old text is kept.
    pub backup: PathBuf,
    /// What the site asks then.
    pub target: Option<Target>,
}

impl Change {
    /// Of an app's site; none when it is as it should be.
    pub fn of(host: &Host, app: &AppName, found: &Found) -> Result<Option<Self>, EngineError> {
        let Some(site) = found.site.as_ref().filter(|site| site.deployd_app.is_none()) else { return Ok(None) };
        let public = match found.public.as_str() {
            "." => found.root.join("current"),
            public => found.root.join("current").join(public),
        };
        if site.root != public && site.root_at.as_ref().is_none_or(|at| at.file != site.at.file) {
            return Err(by_hand(format!("the root of the site in {} is written elsewhere", site.at.file.display())));
        }
        let (nginx, _) = nginx_config(&host.paths);
        let target = Target::of(host, app, found, site, &passes(&nginx))?;
        let link = Paths::default().fpm_link(app);
        let ours = match &target {
            Some(Target::Port { service, .. }) => Some(upstream_name(app, service)),
            _ => None,
        };
        let other = sites(&nginx).into_iter();
        let mut other =
            other.filter(|other| other.at != site.at && is_old(other, &public, &site.root, (&link, ours.as_deref())));
        if let Some(other) = other.next() {
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
        let after = edited(&before, site, &public, (app, target.as_ref()));
        let after = after.map_err(|error| EngineError::Other(error.to_string()))?;
        // Not beside it: nginx reads every file that is there.
        let backup = host.paths.state_dir(app).join(format!("before-{name}"));
        Ok((before != after).then_some(Self { file, before, after, backup, target }))
    }

    /// Writes it, has nginx read it, and takes it back when the site then answers otherwise.
    pub async fn carry_out(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_block_that_serves_the_old_tree_is_seen() {
        let old = |text: &str| {
            let parsed = crate::check::parse_nginx(Path::new("/s"), &format!("http {{ server {{ {text} }} }}"));
            let site = crate::check::sites(&parsed).remove(0);
            is_old(
                &site,
                Path::new("/srv/shop/current/public"),
                Path::new("/srv/shop/public"),
                (Path::new("/x.sock"), Some("shop-octane")),
            )
        };
        assert!(old("root /srv/shop/public;"));
        assert!(old("root /srv/shop/current/public; fastcgi_pass unix:/run/php/shop.sock;"));
        assert!(!old("root /srv/shop/current/public; fastcgi_pass unix:/x.sock;"));
        assert!(old("root /srv/shop/current/public; location / { proxy_pass http://127.0.0.1:8000; }"));
        assert!(!old("root /srv/shop/current/public; location / { proxy_pass http://shop-octane; }"));
        assert!(!old("root /srv/blog/public; fastcgi_pass unix:/run/php/shop.sock;"));
    }
}
