//! What an administrator writes for a site beside deployd's own configuration: nginx and, for the script, a pool.

use super::host::Host;

/// An nginx site that serves `<root>/current/public`, PHP through `socket`. It listens as the welcome page did: a reload
/// that narrows `*:80` to one address fails, because the old listener holds the port.
pub fn nginx(name: &str, root: &str, socket: &str) -> String {
    format!(
        r#"server {{
    listen 80;
    server_name {name}.example.org;
    root {root}/current/public;
    access_log off;
    location / {{
        try_files $uri /index.php$is_args$args;
    }}
    location = /index.php {{
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;
        fastcgi_param DOCUMENT_ROOT $realpath_root;
        fastcgi_pass unix:{socket};
    }}
}}
"#
    )
}

/// A php-fpm pool of Debian's own unit for `name`, listening on `/run/php/NAME.sock`: room for the whole load.
pub fn pool(name: &str, user: &str) -> String {
    format!(
        "[{name}]\nuser = {user}\ngroup = {user}\nlisten = /run/php/{name}.sock\nlisten.owner = www-data\n\
         listen.group = www-data\n{}",
        POOL_SIZE.map(|(key, value)| format!("{key} = {value}\n")).concat()
    )
}

/// The size of the pools under load: 6 slow requests at once, the fast ones, and what piles up behind a reload.
pub const POOL_SIZE: [(&str, &str); 2] = [("pm", "static"), ("pm.max_children", "16")];

/// Writes the nginx site, removes Debian's welcome page, has nginx read it.
pub fn install(host: &Host, name: &str, root: &str, socket: &str) {
    host.write(&format!("/etc/nginx/sites-enabled/{name}"), nginx(name, root, socket));
    host.sh("rm -f /etc/nginx/sites-enabled/default; nginx -q -t; systemctl reload-or-restart nginx");
}

/// The host's PHP version, as `8.2`.
pub fn php_version(host: &Host) -> String {
    host.ok(&["php", "-r", "echo PHP_MAJOR_VERSION, '.', PHP_MINOR_VERSION;"])
}
