//! The common deployment script, for comparison: clone, link what is shared, `mv -T`, reload php-fpm.

use super::{
    command::Ended,
    host::Host,
    shop::{Shop, Spec},
    site::{self, Php},
};

const SCRIPT: &str = include_str!("script.sh");
const PROGRAM: &str = "/usr/local/sbin/release-by-script";

/// An app that the script deploys, run by Debian's php-fpm in a pool of its own.
pub struct Scripted {
    /// The app; no deployd knows of it.
    pub shop: Shop,
    unit: String,
}

impl Scripted {
    /// Makes the app. With `timeout`, php-fpm's `process_control_timeout` is that.
    pub fn make(host: &Host, spec: Spec, timeout: Option<&str>) -> Self {
        let php = site::php_version(host);
        let shop = Shop::make(host, Spec { php: Php::Socket(format!("/run/php/{}.sock", spec.name)), ..spec });
        host.ok(&["rm", &shop.toml_path()]);
        host.write(&format!("/etc/php/{php}/fpm/pool.d/{}.conf", shop.name()), site::pool(shop.name(), shop.user()));
        if let Some(timeout) = timeout {
            let set = format!("s/^;?process_control_timeout *=.*/process_control_timeout = {timeout}/");
            host.ok(&["sed", "-E", "-i", &set, &format!("/etc/php/{php}/fpm/php-fpm.conf")]);
        }
        let unit = format!("php{php}-fpm.service");
        host.ok(&["systemctl", "restart", &unit]);
        host.write(PROGRAM, SCRIPT);
        host.ok(&["chmod", "0755", PROGRAM]);
        host.ok(&["install", "-d", "-o", shop.user(), shop.root()]);
        Self { shop, unit }
    }

    /// Deploys `main`, with the steps of a Laravel app when it is one.
    pub fn deploy(&self, host: &Host) -> Ended {
        self.call(host, if self.shop.spec.laravel { "laravel" } else { "plain" })
    }

    /// Goes back to the release before.
    pub fn rollback(&self, host: &Host) -> Ended {
        self.call(host, "rollback")
    }

    /// Moves the newest release away, which a rollback has left behind: the next rollback goes one back by name. It is
    /// not removed: on ext4 whoever makes files beside many that were just removed takes several times as long.
    pub fn forget_newest(&self, host: &Host) {
        let away = r#"cd "$1/releases"; mkdir -p ../gone; mv "$(ls -1 | sort | tail -n 1)" ../gone"#;
        host.ok(&["sh", "-euc", away, "sh", self.shop.root()]);
    }

    fn call(&self, host: &Host, what: &str) -> Ended {
        let shop = &self.shop;
        host.run(&[PROGRAM, what, shop.root(), &shop.repository(), shop.user(), &self.unit])
    }
}
