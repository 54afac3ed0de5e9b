//! nginx: whether every request of the app is one release's, and reaches the services that a deployment moves. Pure.
//!
//! A directive that is not written at a level is inherited from the one above; `fastcgi_param` as a whole: one at a
//! level replaces all of above (ngx_http_fastcgi_module).

use std::{collections::BTreeMap, path::Path};

use super::{
    Directive, Facts,
    found::{Found, Words},
    place,
    variables::{Variables, expand, set_at},
};
use crate::{
    config::{Settings, SlotKind},
    model::Severity,
};

const GROUP: &str = "nginx";

/// What holds at one level.
#[derive(Clone, Default)]
struct Scope<'a> {
    root: Option<String>,
    params: Vec<&'a Directive>,
    variables: Variables<'a>,
    file_cache: Option<&'a Directive>,
}

struct Look<'a> {
    settings: &'a Settings,
    link: Option<String>,
    upstreams: BTreeMap<&'a str, &'a Directive>,
}

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    let slots = settings.services.iter().any(|service| matches!(service.slots(), Some(SlotKind::PhpFpm(_))));
    let link = facts.fpm_link.as_deref().filter(|_| slots).map(|link| format!("unix:{}", link.display()));
    for http in facts.nginx.iter().filter(|directive| directive.name == "http") {
        let upstreams = http.inner().iter().filter(|d| d.name == "upstream").map(|d| (d.arg(0), d)).collect();
        let look = Look { settings, link: link.clone(), upstreams };
        let outer = Scope::default().within(http.inner());
        for server in http.inner().iter().filter(|d| d.name == "server" && is_of(settings, d, &outer)) {
            look.level(server, &outer, found);
        }
    }
}

/// Whether any server of the configuration is the app's.
pub fn mentions_app(settings: &Settings, nginx: &[Directive]) -> bool {
    nginx.iter().filter(|d| d.name == "http").any(|http| {
        let outer = Scope::default().within(http.inner());
        http.inner().iter().any(|d| d.name == "server" && is_of(settings, d, &outer))
    })
}

/// Whether a server is the app's: a root in its tree, or its name given to the snippet.
fn is_of(settings: &Settings, server: &Directive, outer: &Scope<'_>) -> bool {
    let scope = outer.within(server.inner());
    let names = |d: &Directive| d.name == "set" && d.arg(0) == "$deployd_app" && d.arg(1) == settings.app.as_str();
    let rooted =
        |d: &Directive| matches!(d.name.as_str(), "root" | "alias") && in_tree(settings, &scope.expand(d.arg(0)));
    let to_slot = |d: &Directive| d.name == "proxy_pass" && slot_port(settings, &scope.expand(d.arg(0))).is_some();
    server
        .inner()
        .iter()
        .any(|d| names(d) || rooted(d) || to_slot(d) || (d.name == "location" && is_of(settings, d, &scope)))
}

/// The service and the port, when an address is that of one of its slots.
fn slot_port<'s>(settings: &'s Settings, url: &str) -> Option<(&'s str, u16)> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let (host, port) = authority.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let local = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    let services = settings.services.iter().filter(|_| local);
    services
        .filter_map(|s| Some((s.name.as_str(), s.slots()?.web()?)))
        .find_map(|(name, web)| web.ports.contains(&port).then_some((name, port)))
}

fn in_tree(settings: &Settings, path: &str) -> bool {
    Path::new(path).starts_with(&settings.root)
}

impl<'a> Scope<'a> {
    fn within(&self, inner: &'a [Directive]) -> Self {
        let mut scope = self.clone();
        scope.variables.extend(set_at(inner));
        let params: Vec<_> = inner.iter().filter(|d| d.name == "fastcgi_param").collect();
        if !params.is_empty() {
            scope.params = params;
        }
        if let Some(root) = inner.iter().rfind(|d| d.name == "root") {
            scope.root = Some(scope.expand(root.arg(0)));
        }
        if let Some(cache) = inner.iter().rfind(|d| d.name == "open_file_cache") {
            scope.file_cache = Some(cache).filter(|cache| cache.arg(0) != "off");
        }
        scope
    }

    /// A value with the variables that are set there.
    fn expand(&self, value: &str) -> String {
        expand(value, &self.variables)
    }

    /// The last value of a parameter: the one that PHP sees.
    fn param(&self, name: &str) -> Option<(&'a Directive, String)> {
        let param = self.params.iter().rfind(|d| d.arg(0) == name)?;
        Some((param, self.expand(param.arg(1))))
    }
}

impl<'a> Look<'a> {
    fn level(&self, level: &'a Directive, outer: &Scope<'a>, found: &mut Found) {
        let scope = outer.within(level.inner());
        for directive in level.inner() {
            match directive.name.as_str() {
                "location" | "if" | "limit_except" => self.level(directive, &scope, found),
                "fastcgi_pass" => self.fastcgi(directive, &scope, found),
                "proxy_pass" => self.proxy(directive, &scope, found),
                _ => {}
            }
        }
        if let Some(cache) = scope.file_cache {
            let words = Words {
                thing: "open_file_cache".into(),
                place: place(&cache.at),
                happens: "nginx goes on with the old release's files for a while after the switch".into(),
                remedy: "write `open_file_cache off;` in the app's server block".into(),
            };
            found.add(GROUP, "nginx-open-file-cache", Severity::Warning, words);
        }
    }

    /// What PHP is handed, and who the PHP is.
    fn fastcgi(&self, pass: &Directive, scope: &Scope<'a>, found: &mut Found) {
        let to = scope.expand(pass.arg(0));
        let ours = self.link.as_deref() == Some(to.as_str());
        if !ours && !scope.root.as_deref().is_some_and(|root| in_tree(self.settings, root)) {
            // Another program's corner of the site: phpMyAdmin and the like.
            return;
        }
        self.script(scope, found);
        self.document_root(scope, found);
        let upstream = self.upstreams.get(to.as_str());
        if let Some(keepalive) = upstream.and_then(|u| u.inner().iter().rfind(|d| d.name == "keepalive")) {
            let words = Words {
                thing: format!("keepalive in upstream {to}"),
                place: place(&keepalive.at),
                happens: "nginx's kept connections stay with the old release, which then cannot be drained".into(),
                remedy: format!("remove `keepalive {};`", keepalive.arg(0)),
            };
            found.add(GROUP, "nginx-upstream-keepalive", Severity::Breaks, words);
        }
        if let Some(link) = &self.link
            && !ours
            && !upstream.is_some_and(|u| u.inner().iter().any(|d| d.name == "server" && d.arg(0) == link))
        {
            let words = Words {
                thing: format!("fastcgi_pass {to}"),
                place: place(&pass.at),
                happens: "PHP is served by what no deployment moves".into(),
                remedy: format!("write `fastcgi_pass {link};`, or include snippets/deployd-php.conf"),
            };
            found.add(GROUP, "nginx-fastcgi-pass", Severity::Breaks, words);
        }
    }

    /// A program behind nginx: through the upstream that deployd writes, not at one slot's own port.
    fn proxy(&self, pass: &Directive, scope: &Scope<'a>, found: &mut Found) {
        let to = scope.expand(pass.arg(0));
        let Some((service, port)) = slot_port(self.settings, &to) else { return };
        let words = Words {
            thing: format!("proxy_pass {to}"),
            place: place(&pass.at),
            happens: format!("port {port} is one slot's of {service}: after the switch nobody listens there"),
            remedy: format!("write `proxy_pass http://{}-{service};`", self.settings.app),
        };
        found.add(GROUP, "nginx-proxy-pass", Severity::Breaks, words);
    }

    fn script(&self, scope: &Scope<'a>, found: &mut Found) {
        let Some((param, value)) = scope.param("SCRIPT_FILENAME") else { return };
        let current = format!("{}/", self.settings.root.join("current").display());
        if through_link(&value) || value.starts_with(&current) {
            let words = Words {
                thing: "SCRIPT_FILENAME through the link `current`".into(),
                place: place(&param.at),
                happens: "PHP's caches know the file by its old name and go on with the old release after the switch"
                    .into(),
                remedy: "write `fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;`".into(),
            };
            found.add(GROUP, "nginx-document-root", Severity::Breaks, words);
        }
    }

    fn document_root(&self, scope: &Scope<'a>, found: &mut Found) {
        let Some((param, value)) = scope.param("DOCUMENT_ROOT") else { return };
        if through_link(&value) && scope.param("SCRIPT_FILENAME").is_some_and(|(_, script)| !through_link(&script)) {
            let words = Words {
                thing: "DOCUMENT_ROOT through the link `current`".into(),
                place: place(&param.at),
                happens: "a request that uses it during the switch has files of both releases".into(),
                remedy: "after the include of fastcgi_params write `fastcgi_param DOCUMENT_ROOT $realpath_root;`"
                    .into(),
            };
            found.add(GROUP, "nginx-document-root-param", Severity::Warning, words);
        }
    }
}

fn through_link(value: &str) -> bool {
    value.contains("$document_root") || value.contains("${document_root}")
}
