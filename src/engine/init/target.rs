//! What a site shall ask: the socket link of php-fpm's slots, or the upstream of a service on a port; and who serves it
//! until then.

use std::path::Path;

use crate::{
    check::{Served, Site},
    config::Settings,
    engine::error::EngineError,
    model::{AppName, Paths},
    observe::{Found, Host, Runs},
    runtime::{nginx, slot},
};

/// What is asked by Octane's upstream where no configuration names another service.
const OCTANE: &str = "octane";

/// What a site shall ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The link to php-fpm's slots.
    Fpm {
        /// The socket of the pool of before; none: the site asks the link already, or no pool.
        before: Option<String>,
    },
    /// The upstream of a service on a port.
    Port {
        /// `octane`.
        service: String,
        /// Where the program of before listens on 127.0.0.1.
        before: u16,
    },
}

impl Target {
    /// Of a site, by what it asks now.
    pub fn of(host: &Host, app: &AppName, found: &Found, site: &Site) -> Result<Self, EngineError> {
        match &site.php {
            Some(served) if !served.fastcgi => {
                let settings = host.settings(app).ok();
                let service = service(app, found, settings.as_ref(), &served.to)?;
                port(&service, settings.as_ref(), &served.to)
            }
            Some(served) if !asks(served, &Paths::default().fpm_link(app)) => {
                let pool = found.pool.as_ref().filter(|pool| Path::new(&pool.listen).is_absolute());
                let pool = pool.ok_or_else(|| {
                    by_hand(format!("nginx asks {}, which is no socket of a php-fpm pool of this host", served.to))
                })?;
                Ok(Self::Fpm { before: Some(pool.listen.clone()) })
            }
            _ => Ok(Self::Fpm { before: found.pool.as_ref().map(|pool| pool.listen.clone()) }),
        }
    }
}

/// Whether it is asked already.
pub(super) fn asks(served: &Served, link: &Path) -> bool {
    served.fastcgi && Path::new(&served.to) == link
}

/// A change that is a person's.
pub(super) fn by_hand(what: String) -> EngineError {
    EngineError::Other(format!("{what}: change the site by hand"))
}

/// The service that takes the place of a program on a port: the one of the configuration, or what runs there now.
fn service(app: &AppName, found: &Found, settings: Option<&Settings>, to: &str) -> Result<String, EngineError> {
    let services = settings.into_iter().flat_map(|settings| &settings.services);
    let mut named = services.filter_map(|service| slot::upstream(service.slots()?));
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.to_owned()),
        (Some(_), Some(_)) => Err(by_hand(format!("{app} has several services on ports, and nginx asks {to}"))),
        (None, _) if settings.is_none() && found.runs.iter().any(|run| matches!(run.runs, Some(Runs::Octane(_)))) => {
            Ok(OCTANE.to_owned())
        }
        (None, _) => Err(EngineError::Other(format!(
            "nginx asks {to}, a program on a port, and /etc/deployd/apps/{app}.toml has no service of kind octane or http \
             that could take its place: describe it there first, with ports of its own"
        ))),
    }
}

fn port(service: &str, settings: Option<&Settings>, to: &str) -> Result<Target, EngineError> {
    let authority = to.strip_prefix("http://").and_then(|rest| rest.split(['/', '$']).next()).unwrap_or_default();
    let before = nginx::local_port(&authority.replacen("localhost:", "127.0.0.1:", 1));
    let before = before.ok_or_else(|| by_hand(format!("nginx asks {to}, which is no port of 127.0.0.1")))?;
    let services = settings.into_iter().flat_map(|settings| &settings.services);
    let web = services.filter_map(|one| one.slots()?.web());
    if web.flat_map(|web| &web.ports).any(|port| *port == before) {
        return Err(EngineError::Other(format!(
            "the program of before listens on port {before}, which [[service]] {service} gives to a slot: give the slots \
             other ports"
        )));
    }
    Ok(Target::Port { service: service.to_owned(), before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_this_host_is_led_through_the_upstream() {
        let of = |to: &str| port("octane", None, to);
        let target = |before| Target::Port { service: "octane".into(), before };
        assert_eq!(of("http://127.0.0.1:8000").unwrap(), target(8000));
        assert_eq!(of("http://localhost:9000$suffix").unwrap(), target(9000));
        for other in ["http://10.0.0.1:8000", "http://127.0.0.1", "https://127.0.0.1:8000", "http://unix:/run/x.sock"] {
            let why = of(other).unwrap_err().to_string();
            assert!(why.contains("no port of 127.0.0.1") && why.contains("by hand"), "{why}");
        }
    }
}
