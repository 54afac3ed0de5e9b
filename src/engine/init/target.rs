//! What a site shall ask: the socket link of php-fpm's slots, or the upstream of a service on a port; and who serves it
//! until then.

use std::path::Path;

use crate::{
    check::{Pass, Served, Site},
    config::Settings,
    engine::{error::EngineError, upstream},
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
        /// The socket of the pool of before.
        before: String,
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
    /// Of a site, by what it asks now. None: it asks what it shall.
    pub fn of(
        host: &Host,
        app: &AppName,
        found: &Found,
        site: &Site,
        all: &[Pass],
    ) -> Result<Option<Self>, EngineError> {
        let Some(served) = &site.php else { return Ok(None) };
        let settings = host.settings(app).ok();
        let here = || all.iter().filter(|pass| pass.server == site.at);
        if served.fastcgi {
            if let Some(program) = here().find(|pass| !pass.fastcgi).filter(|_| is_program(found, settings.as_ref())) {
                return Err(by_hand(format!("nginx asks {} for one part and {} for another", program.to, served.to)));
            }
            if Path::new(&served.to) == Paths::default().fpm_link(app) {
                return Ok(None);
            }
            let pool = found.pool.as_ref().filter(|pool| Path::new(&pool.listen).is_absolute());
            let pool = pool.ok_or_else(|| {
                by_hand(format!("nginx asks {}, which is no socket of a php-fpm pool of this host", served.to))
            })?;
            written_here(site, served)?;
            return Ok(Some(Self::Fpm { before: pool.listen.clone() }));
        }
        let service = service(app, found, settings.as_ref(), &served.to)?;
        let ours = nginx::upstream_name(app, &service);
        if here().any(|pass| pass.name == ours) {
            let before = settings.and_then(|settings| upstream::before(host, &settings, &service).ok().flatten());
            let before = before.map(|port| format!("http://127.0.0.1:{port}"));
            return match here().find(|pass| pass.name != ours && Some(&pass.to) == before.as_ref()) {
                Some(left) => Err(by_hand(format!("{}: nginx still asks {} here", place(left), left.to))),
                None => Ok(None),
            };
        }
        only_this(site, served, all)?;
        written_here(site, served)?;
        port(&service, settings.as_ref(), &served.to).map(Some)
    }
}

/// Whether the app is a program on a port, and php-fpm serves at most a corner of its site.
fn is_program(found: &Found, settings: Option<&Settings>) -> bool {
    match settings {
        Some(settings) => settings.services.iter().any(|one| one.slots().is_some_and(|kind| kind.web().is_some())),
        None => found.runs.iter().any(|run| matches!(run.runs, Some(Runs::Octane(_)))),
    }
}

/// In the file of the server block, which is the one that is changed.
fn written_here(site: &Site, served: &Served) -> Result<(), EngineError> {
    match served.at.iter().find(|at| at.file != site.at.file) {
        Some(at) => Err(by_hand(format!("nginx is told to ask {} by {}:{}", served.to, at.file.display(), at.line))),
        None => Ok(()),
    }
}

fn place(pass: &Pass) -> String {
    format!("{}:{}", pass.at.file.display(), pass.at.line)
}

/// A change that is a person's.
pub(super) fn by_hand(what: String) -> EngineError {
    EngineError::Other(format!("{what}: change the site by hand"))
}

/// A program's port is asked from this site alone, and so that another address can stand in its place.
fn only_this(site: &Site, served: &Served, all: &[Pass]) -> Result<(), EngineError> {
    for pass in all.iter().filter(|pass| !pass.fastcgi) {
        let here = pass.server == site.at;
        let why = match () {
            () if !here && pass.to == served.to => format!("another server block asks {} too", pass.to),
            () if !here => continue,
            () if pass.to != served.to => format!("nginx asks {} and, here, {}", served.to, pass.to),
            () if pass.spread => format!("the upstream {} has several servers, or options for one", pass.name),
            () if pass.breaks => "a rewrite may end the location before what would be written into it".to_owned(),
            () if !pass.tells_host => "the program is not told the host by `proxy_set_header Host`".to_owned(),
            () => continue,
        };
        return Err(by_hand(format!("{}: {why}", place(pass))));
    }
    Ok(())
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
    let before = nginx::local_port(authority);
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
        assert_eq!(of("http://127.0.0.1:9000$suffix").unwrap(), target(9000));
        for other in ["http://10.0.0.1:8000", "http://127.0.0.1", "https://127.0.0.1:8000", "http://unix:/run/x.sock"] {
            let why = of(other).unwrap_err().to_string();
            assert!(why.contains("no port of 127.0.0.1") && why.contains("by hand"), "{why}");
        }
    }

    fn settings(services: &str) -> Settings {
        let text = format!("root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\n{services}");
        crate::config::tests::Host::with(&text).load().unwrap()
    }

    fn named(services: &str) -> Result<String, EngineError> {
        let found = Found {
            root: "/srv/shop".into(),
            public: "public".into(),
            site: None,
            pool: None,
            owner: None,
            tree: None,
            runs: Vec::new(),
            page: None,
            unread: Vec::new(),
        };
        service(&"shop".parse().unwrap(), &found, Some(&settings(services)), "http://127.0.0.1:8000")
    }

    #[test]
    fn the_configuration_s_one_service_on_a_port_takes_the_program_s_place() {
        const OCTANE: &str = "[[service]]\nkind = \"octane\"\nserver = \"swoole\"\nports = [8001, 8002]\n";
        const HTTP: &str = "[[service]]\nkind = \"http\"\nrun = [\"x\"]\nports = [3000, 3001]\n";
        assert_eq!(named(OCTANE).unwrap(), "octane");
        assert_eq!(named(HTTP).unwrap(), "http");
        assert!(named("").unwrap_err().to_string().contains("no service of kind octane or http"));
        let both = named(&format!("{OCTANE}{HTTP}")).unwrap_err().to_string();
        assert!(both.contains("several services on ports"), "{both}");
        let own = port("octane", Some(&settings(OCTANE)), "http://127.0.0.1:8001").unwrap_err().to_string();
        assert!(own.contains("gives to a slot"), "{own}");
    }

    #[test]
    fn what_a_program_could_not_take_over_whole_is_a_person_s() {
        const HOST: &str = "proxy_set_header Host $http_host;";
        let of = |servers: &str| {
            let nginx = crate::check::parse_nginx(Path::new("/s"), &format!("http {{\n{servers}\n}}"));
            let site = crate::check::sites(&nginx).remove(0);
            let served = site.php.clone().unwrap();
            only_this(&site, &served, &crate::check::passes(&nginx)).map_err(|error| error.to_string())
        };
        let server = |inside: &str| format!("server {{ root /srv/shop/current/public;\n{HOST}\n{inside} }}");
        let octane = "location @octane { proxy_pass http://127.0.0.1:8000$suffix; }";
        assert_eq!(of(&server(octane)), Ok(()));
        assert_eq!(
            of(&format!("{}\nserver {{ location / {{ proxy_pass http://127.0.0.1:9; }} }}", server(octane))),
            Ok(())
        );
        for (text, why) in [
            (server(&format!("location /app {{ proxy_pass http://127.0.0.1:8080; }}\n{octane}")), "and, here, "),
            (
                format!("{}\nserver {{ {} }}", server(octane), octane.replace("127.0.0.1", "localhost")),
                "another server block",
            ),
            (server(octane).replace(HOST, ""), "Host"),
            (server("location /a { rewrite ^ /x break; proxy_pass http://127.0.0.1:8000; }"), "a rewrite"),
            (
                format!(
                    "upstream o {{ server 127.0.0.1:8000; server 127.0.0.1:8001; }}\n{}",
                    server("location / { proxy_pass http://o; }")
                ),
                "several servers",
            ),
        ] {
            let refused = of(&text).unwrap_err();
            assert!(refused.contains(why) && refused.contains("by hand"), "{refused}");
        }
    }
}
