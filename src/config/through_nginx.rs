//! Whether a switch can be seen through nginx: by the pages of this host that health checks name. Pure.

use super::{Check, Health, Settings, SlotKind};

/// Hosts of a URL that are this very machine; a name may lead to another one.
const HERE: [&str; 4] = ["127.0.0.1", "localhost", "[::1]", "::1"];

impl Settings {
    /// The health checks over HTTP that ask this very machine.
    pub fn local_checks(&self) -> impl Iterator<Item = &Health> {
        self.health.iter().filter(|health| match &health.check {
            Check::Http { url, .. } => is_here(url),
            Check::Run { .. } => false,
        })
    }

    /// What `deployctl show` says of it; none where no service is behind nginx by deployd's own means.
    pub(super) fn seen_through_nginx(&self) -> Option<String> {
        let behind = |kind: &SlotKind| matches!(kind, SlotKind::PhpFpm(_)) || kind.web().is_some();
        self.services.iter().find(|service| service.slots().is_some_and(behind))?;
        Some(match self.local_checks().next() {
            Some(health) => format!(
                "a switch is also seen through nginx, by the health check {}, where the site uses deployd's snippets",
                health.name
            ),
            None => "a switch is not also seen through nginx: no health check asks http://127.0.0.1/".to_owned(),
        })
    }
}

fn is_here(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    HERE.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_very_machine_is_asked() {
        for here in ["http://127.0.0.1/up", "http://localhost:8080/", "https://[::1]/up?x=1", "http://127.0.0.1"] {
            assert!(is_here(here), "{here}");
        }
        for other in ["https://shop.example.org/up", "http://10.0.0.1/", "http://127.0.0.1.example.org/", "/up"] {
            assert!(!is_here(other), "{other}");
        }
    }
}
