//! Whether nginx still asks an app's slots, before its tree is given back; and what a site may ask in their place.

use super::{error::EngineError, slot_files::BEFORE, upstream};
use crate::{
    check::{Addresses, Directive, asked},
    config::{Settings, SlotKind},
    model::Paths,
    observe::{Host, nginx_config},
    runtime::{nginx, slot},
    system::tree::Dir,
};

/// While nginx asks a slot, ending it ends the site. What cannot be read may be asking.
pub fn still_asked(host: &Host, settings: &Settings) -> Result<(), EngineError> {
    let (nginx, unread) = nginx_config(&host.paths);
    if let Some(unread) = unread.first() {
        return Err(EngineError::Other(format!(
            "whether nginx asks deployd's slots of {} cannot be seen: {} {}; make it a file that root alone may write, or \
             take its include out, then disown again",
            settings.app, unread.what, unread.why
        )));
    }
    let Some(by) = asked(&nginx, &addresses(settings)?) else { return Ok(()) };
    Err(EngineError::Other(format!(
        "nginx asks deployd's slots of {} at {}:{}: write there {}, then `systemctl reload nginx` and disown again",
        settings.app,
        by.at.file.display(),
        by.at.line,
        instead(host, settings, by)
    )))
}

/// What a site may ask in the place of deployd's slots: what served before, or something like it.
fn instead(host: &Host, settings: &Settings, by: &Directive) -> String {
    let kinds = || settings.services.iter().filter_map(|service| service.slots());
    let fpm = kinds().find_map(|kind| if let SlotKind::PhpFpm(fpm) = kind { Some(&fpm.version) } else { None });
    let of_php = match by.name.as_str() {
        "fastcgi_pass" => true,
        "proxy_pass" => false,
        // The names that a snippet is told.
        _ => fpm.is_some() && !kinds().any(|kind| kind.web().is_some()),
    };
    if !of_php {
        let port = kinds().find_map(|kind| upstream::before(host, settings, slot::upstream(kind)?).ok().flatten());
        return match port {
            Some(port) => format!(
                "`proxy_pass http://127.0.0.1:{port};` in the place of deployd's lines, and start what shall listen there"
            ),
            None => "`proxy_pass` to what shall serve".to_owned(),
        };
    }
    let script = "with `fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;`";
    let before = Dir::open(&host.paths.app_run_dir(&settings.app)).and_then(|run| run.read_link(BEFORE));
    match (before, fpm) {
        (Ok(socket), _) => format!("`fastcgi_pass unix:{socket};`, {script}"),
        (Err(_), Some(version)) => format!(
            "`fastcgi_pass unix:/run/php/php{version}-fpm.sock;` of a pool that runs as {}, {script}",
            settings.run_as
        ),
        (Err(_), None) => format!("`fastcgi_pass` to what shall serve, {script}"),
    }
}

/// Where each service of the app is reached, live or not.
fn addresses(settings: &Settings) -> Result<Addresses, EngineError> {
    let (app, paths) = (&settings.app, Paths::default());
    let mut found = Addresses { app: app.to_string(), sockets: vec![paths.fpm_link(app)], ..Addresses::default() };
    for kind in settings.services.iter().filter_map(|service| service.slots()) {
        found.ports.extend(kind.web().into_iter().flat_map(|web| &web.ports));
        found.upstreams.extend(slot::upstream(kind).map(|service| nginx::upstream_name(app, service)));
        if let SlotKind::PhpFpm(_) = kind {
            for one in kind.slots() {
                found.sockets.push(paths.fpm_socket(slot::unit(kind, app, one)?.instance()));
            }
        }
    }
    Ok(found)
}
