//! The change of an nginx site, as text: its root, and who answers for PHP. Nothing else of it is touched. Pure.

use std::path::Path;

use crate::check::{Served, Site};

/// What takes the place of the address behind `fastcgi_pass`, and what must stand after it: the release behind
/// `current`, read once, so that all of a request is one release's.
const PARAMS: [&str; 2] = [
    "fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;",
    "fastcgi_param DOCUMENT_ROOT $realpath_root;",
];

/// Why a site cannot be changed by a program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of {file} is not a line of its own for `{wanted}`: change it by hand")]
pub struct NotPlain {
    /// The line.
    pub line: usize,
    /// The file.
    pub file: String,
    /// What should stand there.
    pub wanted: String,
}

/// The text of the site's file as it shall be. `text`: the file in which the site stands.
pub fn edited(text: &str, site: &Site, public: &Path, link: &Path) -> Result<String, NotPlain> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let file = &site.at.file;
    let mut set = |line: usize, name: &str, value: &str, after: &[&str]| -> Result<(), NotPlain> {
        let wanted = format!("{name} {value};");
        let refused = || NotPlain { line, file: file.display().to_string(), wanted: wanted.clone() };
        let old = line.checked_sub(1).and_then(|at| lines.get_mut(at)).ok_or_else(refused)?;
        let words = old.trim_start();
        let plain = words.starts_with(name) && words.matches(';').count() == 1 && !words.contains(['{', '}']);
        if !plain {
            return Err(refused());
        }
        let indent: String = old.chars().take_while(|c| c.is_whitespace()).collect();
        let rest = words.split_once(';').map_or("", |(_, rest)| rest);
        let more: String = after.iter().map(|line| format!("\n{indent}{line}")).collect();
        *old = format!("{indent}{wanted}{rest}{more}");
        Ok(())
    };
    if let Some(at) = site.root_at.as_ref().filter(|at| at.file == *file && site.root != public) {
        set(at.line, "root", &public.display().to_string(), &[])?;
    }
    if let Some(Served { fastcgi: true, at, .. }) = &site.php {
        for at in at.iter().filter(|at| at.file == *file) {
            set(at.line, "fastcgi_pass", &format!("unix:{}", link.display()), &PARAMS)?;
        }
    }
    let end = if text.ends_with('\n') { "\n" } else { "" };
    Ok(format!("{}{end}", lines.join("\n")))
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

    #[test]
    fn root_and_pass_are_changed_and_nothing_else() {
        let change =
            |text| edited(text, &site(text), Path::new("/var/www/shop/current/public"), Path::new("/run/x.sock"));
        let after = change(SITE).unwrap();
        assert!(after.contains("    root /var/www/shop/current/public;  # here\n"), "{after}");
        assert!(
            after.contains(
                "        fastcgi_pass unix:/run/x.sock;\n        fastcgi_param SCRIPT_FILENAME $realpath_root"
            )
        );
        assert_eq!(after.lines().count(), SITE.lines().count() + 2);
        let shown = difference(Path::new("/s"), SITE, &after);
        assert_eq!(shown.matches("\n-").count(), 2, "{shown}");
        assert_eq!(shown.matches("\n+").count(), 5, "{shown}");
        let odd = SITE.replace("    root", "    autoindex off; root");
        assert_eq!(change(&odd).unwrap_err().line, 3);
    }
}
