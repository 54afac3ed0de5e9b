//! The change of an nginx site, as text: its root, and who answers for PHP. Nothing else of it is touched. Pure.

use std::path::Path;

use super::target::Target;
use crate::{
    check::Site,
    model::{AppName, Paths},
};

/// What must stand after the address behind `fastcgi_pass`: the release behind `current`, read once, so that all of a
/// request is one release's.
const PARAMS: [&str; 2] = [
    "fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;",
    "fastcgi_param DOCUMENT_ROOT $realpath_root;",
];
/// What must stand before `proxy_pass`, after the names: by which nginx tells that it is at the new slot.
const PROOF: &str = "include snippets/deployd-upstream.conf;";

/// Why a site cannot be changed by a program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of {file} is not a line of its own for `{wanted}` with a plain value: change it by hand")]
pub struct NotPlain {
    /// The line.
    pub line: usize,
    /// The file.
    pub file: String,
    /// What stands there.
    pub wanted: String,
}

/// The text of the site's file as it shall be, asking the app's target; without one only its root changes. `text`: the
/// file in which the site stands.
pub(super) fn edited(
    text: &str,
    site: &Site,
    public: &Path,
    (app, target): (&AppName, Option<&Target>),
) -> Result<String, NotPlain> {
    let mut lines: Lines<'_> = Lines { lines: text.lines().map(str::to_owned).collect(), file: &site.at.file };
    if let Some(at) = site.root_at.as_ref().filter(|at| at.file == site.at.file && site.root != public) {
        lines.set(at.line, "root", |_| Some(public.display().to_string()), (&[], &[]))?;
    }
    let asked = site.php.iter().flat_map(|served| &served.at).filter(|at| at.file == site.at.file);
    for (at, target) in asked.filter_map(|at| Some((at, target?))) {
        match target {
            Target::Fpm { .. } => {
                let link = format!("unix:{}", Paths::default().fpm_link(app).display());
                lines.set(at.line, "fastcgi_pass", |_| Some(link.clone()), (&[], &PARAMS))?;
            }
            Target::Port { service, .. } => {
                let names = [format!("set $deployd_app {app};"), format!("set $deployd_service {service};")];
                let before = [&names[..], &[PROOF.to_owned()]].concat();
                lines.set(at.line, "proxy_pass", by_upstream, (&before, &[]))?;
            }
        }
    }
    let end = if text.ends_with('\n') { "\n" } else { "" };
    Ok(format!("{}{end}", lines.lines.join("\n")))
}

/// The same by the app's upstream: what follows the address stays. A path there would be taken otherwise behind variables.
fn by_upstream(old: &str) -> Option<String> {
    let rest = old.strip_prefix("http://")?;
    let (authority, after) = rest.split_at(rest.find(['/', '$']).unwrap_or(rest.len()));
    let as_it_was = after.is_empty() || after.starts_with('$');
    (as_it_was && !authority.is_empty()).then(|| format!("http://$deployd_app-$deployd_service{after}"))
}

/// The lines of a site's file.
struct Lines<'f> {
    lines: Vec<String>,
    file: &'f Path,
}

impl Lines<'_> {
    /// Gives a directive that has a line of its own another value, with lines before it and after it.
    fn set(
        &mut self,
        line: usize,
        name: &str,
        value: impl Fn(&str) -> Option<String>,
        (before, after): (&[String], &[&str]),
    ) -> Result<(), NotPlain> {
        let file = self.file.display().to_string();
        let refused = |wanted: String| NotPlain { line, file: file.clone(), wanted };
        let following: Vec<_> = self.lines.iter().skip(line).take(after.len()).map(|it| it.trim().to_owned()).collect();
        let old = line.checked_sub(1).and_then(|at| self.lines.get_mut(at)).ok_or_else(|| refused(name.into()))?;
        let words = old.trim_start();
        let plain = words.starts_with(name) && words.matches(';').count() == 1 && !words.contains(['{', '}']);
        let (directive, rest) = words.split_once(';').unwrap_or((words, ""));
        let value = value(directive.strip_prefix(name).unwrap_or_default().trim());
        let Some(value) = value.filter(|_| plain) else {
            return Err(refused(format!("{name} …;")));
        };
        let indent: String = old.chars().take_while(|c| c.is_whitespace()).collect();
        let before: String = before.iter().map(|line| format!("{indent}{line}\n")).collect();
        // After a site was led back by hand they are there.
        let there = following.iter().map(String::as_str).eq(after.iter().copied());
        let after: String = after.iter().filter(|_| !there).map(|line| format!("\n{indent}{line}")).collect();
        *old = format!("{before}{indent}{name} {value};{rest}{after}");
        Ok(())
    }
}

/// The lines that differ, as `diff -u0` shows them; both texts have the same lines but for those that were changed.
pub fn difference(file: &Path, before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut out = format!("--- {0}\n+++ {0}", file.display());
    let mut rest = &new[..];
    for (index, line) in old.iter().enumerate() {
        if rest.first() == Some(line) {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        out.push_str(&format!("\n@@ line {} @@\n-{line}", index + 1));
        // Up to where the next old line goes on.
        let next = old.get(index + 1);
        while let Some((first, tail)) = rest.split_first() {
            if Some(first) == next {
                break;
            }
            out.push_str(&format!("\n+{first}"));
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{parse_nginx, sites};

    const SITE: &str = "server {\n    listen 80;\n    root /var/www/shop/public;  # here\n    location ~ \\.php$ {\n        \
                        include snippets/fastcgi-php.conf;\n        fastcgi_pass unix:/run/php/shop.sock;\n    }\n}\n";

    fn site(text: &str) -> Site {
        let parsed = parse_nginx(Path::new("/s"), &format!("http {{{text}}}"));
        sites(&parsed).remove(0)
    }

    const PROXIED: &str = "server {\n    root /srv/shop/current/public;\n    location @octane {\n        set $suffix '';\n        \
                           proxy_http_version 1.1;\n        proxy_pass http://127.0.0.1:8000$suffix;\n    }\n}\n";

    fn change(text: &str, public: &str, target: &Target) -> Result<String, NotPlain> {
        edited(text, &site(text), Path::new(public), (&"shop".parse().unwrap(), Some(target)))
    }

    #[test]
    fn root_and_pass_are_changed_and_nothing_else() {
        let change = |text| change(text, "/var/www/shop/current/public", &Target::Fpm { before: "/x".into() });
        let after = change(SITE).unwrap();
        assert!(after.contains("    root /var/www/shop/current/public;  # here\n"), "{after}");
        let pass = "        fastcgi_pass unix:/run/deployd/shop/fpm.sock;\n        fastcgi_param SCRIPT_FILENAME $realpath_root";
        assert!(after.contains(pass), "{after}");
        assert_eq!(after.lines().count(), SITE.lines().count() + 2);
        let shown = difference(Path::new("/s"), SITE, &after);
        assert_eq!(shown.matches("\n-").count(), 2, "{shown}");
        assert_eq!(shown.matches("\n+").count(), 5, "{shown}");
        let led_back = after.replace("unix:/run/deployd/shop/fpm.sock", "unix:/run/php/shop.sock");
        assert_eq!(change(&led_back).unwrap(), after, "as after a disown");
        let odd = SITE.replace("    root", "    autoindex off; root");
        assert_eq!(change(&odd).unwrap_err().line, 3);
    }

    #[test]
    fn a_program_s_address_gives_way_to_the_upstream_and_what_follows_it_stays() {
        let target = Target::Port { service: "octane".into(), before: 8000 };
        let change = |text: &str| change(text, "/srv/shop/current/public", &target);
        let after = change(PROXIED).unwrap();
        let lines = "        set $deployd_app shop;\n        set $deployd_service octane;\n        \
                     include snippets/deployd-upstream.conf;\n        \
                     proxy_pass http://$deployd_app-$deployd_service$suffix;\n    }\n";
        assert!(after.contains(lines), "{after}");
        assert_eq!(after.lines().count(), PROXIED.lines().count() + 3);
        assert_eq!(site(&after).php.unwrap().name, "shop-octane");
        // A path behind the address is taken otherwise when it stands behind a variable.
        assert_eq!(change(&PROXIED.replace("8000$suffix", "8000/")).unwrap_err().line, 6);
    }
}
