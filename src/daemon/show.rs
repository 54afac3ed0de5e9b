//! Settings for everyone who asks: values of environment variables are hidden, they may be secrets.

use std::collections::BTreeMap;

use crate::config::{Address, Pool, ServiceKind, Settings, SlotKind, Way};

/// What stands for a hidden value.
const HIDDEN: &str = "(hidden)";

/// Settings as JSON, without secrets.
pub fn json(settings: Settings) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&hidden(settings))
}

/// Settings without secrets.
pub fn hidden(mut settings: Settings) -> Settings {
    hide(&mut settings.environment);
    settings.steps.iter_mut().for_each(|step| hide(&mut step.environment));
    for one in &mut settings.notify {
        if let Way::Slack(Address::Url(url)) | Way::Webhook(Address::Url(url)) = &mut one.way {
            *url = HIDDEN.into();
        }
    }
    for service in &mut settings.services {
        if let ServiceKind::Slots(SlotKind::PhpFpm(fpm)) = &mut service.kind
            && let Pool::Directives(directives) = &mut fpm.pool
        {
            directives.iter_mut().filter(|(key, _)| key.starts_with("env[")).for_each(|(_, v)| *v = HIDDEN.into());
        }
    }
    settings.inferred.retain(|i| !is_secret(&i.key));
    settings
}

fn hide(environment: &mut BTreeMap<String, String>) {
    environment.values_mut().for_each(|value| *value = HIDDEN.into());
}

fn is_secret(key: &str) -> bool {
    key.contains("environment") || key.contains("env[")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Inferred, Origin, Source};

    /// Of an app that is like any.
    pub fn settings() -> Settings {
        let file = std::path::PathBuf::from("/etc/deployd/apps/shop.toml");
        let inferred =
            |key: &str, value: &str, why: &str| Inferred { key: key.into(), value: value.into(), why: why.into() };
        Settings {
            app: "shop".parse().unwrap(),
            root: "/srv/shop".into(),
            user: "shop".into(),
            run_as: "shop".into(),
            web_user: Some("www-data".into()),
            web_unit: "nginx.service".parse().unwrap(),
            source: Source::Directory { path: "/srv/build".into(), exclude: Vec::new() },
            shared: vec![],
            writable: vec!["storage".into()],
            build_writable: vec![],
            services: vec![],
            steps: vec![],
            build: Default::default(),
            drop: vec![],
            environment: BTreeMap::from([("API_KEY".into(), "canary-secret".into())]),
            health: vec![],
            successes: 3,
            interval: Duration::from_millis(200),
            bake: Duration::from_secs(20),
            keep: 5,
            share: Default::default(),
            gates: Default::default(),
            notify: Vec::new(),
            webhook: None,
            fleet: None,
            access: Default::default(),
            carry: vec![],
            assets: Default::default(),
            safety: Default::default(),
            inferred: vec![
                inferred("run_as", "\"shop\"", "not written: the same as user"),
                inferred("step[0].run", "[\"php\"]", "composer.json is there"),
                inferred("environment.API_KEY", "\"canary-secret\"", "made up"),
            ],
            files: vec![file.clone()],
            origins: BTreeMap::from([("root".into(), Origin { file, line: 2 })]),
        }
    }

    #[test]
    fn keeps_secrets() {
        for shown in [crate::config::show(&hidden(settings())), json(settings()).unwrap()] {
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert!(json(settings()).unwrap().contains("API_KEY"), "that there is one is no secret");
    }
}
