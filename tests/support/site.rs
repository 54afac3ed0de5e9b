//! What an administrator writes for a site beside deployd's own configuration: nginx and, for the script, a pool.

use super::host::Host;

/// How nginx reaches an app's PHP.
#[derive(Debug, Clone)]
pub enum Php {
    /// By the snippet that the package ships.
    Snippet,
    /// By the proxy snippet that the package ships, to this service on a port.
    Upstream(&'static str),
    /// By this socket, written out by hand, for a host without the package.
    Socket(String),
    /// It is no PHP: by an upstream of these ports, which nginx asks one after the other.
    Ports(Vec<u16>),
}

/// An nginx site that serves `<root>/current/public`. It listens as the welcome page did: a reload that narrows
/// `*:80` to one address fails, because the old listener holds the port.
fn nginx(name: &str, root: &str, php: &Php) -> String {
    let inside = match php {
        Php::Snippet => format!("    set $deployd_app {name};\n    include snippets/deployd-php.conf;\n"),
        Php::Ports(_) => format!("    location / {{\n        proxy_pass http://{name};\n    }}\n"),
        Php::Upstream(service) => format!(
            "    location / {{\n        set $deployd_app {name};\n        set $deployd_service {service};\n        \
             include snippets/deployd-proxy.conf;\n    }}\n"
        ),
        Php::Socket(socket) => format!(
            r#"    location / {{
        try_files $uri /index.php$is_args$args;
    }}
    location = /index.php {{
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;
        fastcgi_param DOCUMENT_ROOT $realpath_root;
        fastcgi_pass unix:{socket};
    }}
"#
        ),
    };
    let upstream = match php {
        Php::Ports(ports) => {
            let servers = ports.iter().map(|port| format!("    server 127.0.0.1:{port} max_fails=0;\n"));
            format!("upstream {name} {{\n{}}}\n", servers.collect::<String>())
        }
        _ => String::new(),
    };
    format!(
        "{upstream}server {{\n    listen 80;\n    server_name {name}.example.org;\n    root {root}/current/public;\n    \
         access_log off;\n{inside}}}\n"
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

/// The pool of a slot as TOML, of the same size as the script's.
pub fn pool_toml() -> String {
    let lines = POOL_SIZE.map(|(key, value)| format!("\"{key}\" = \"{value}\"\n")).concat();
    format!("[[service]]\nkind = \"php-fpm\"\n[service.pool]\n{lines}")
}

/// The size of the pools under load: 6 slow requests at once, the fast ones, and what piles up behind a reload.
pub const POOL_SIZE: [(&str, &str); 2] = [("pm", "static"), ("pm.max_children", "16")];

/// Writes the nginx site, removes Debian's welcome page, has nginx read it.
pub fn install(host: &Host, name: &str, root: &str, php: &Php) {
    host.write(&format!("/etc/nginx/sites-enabled/{name}"), nginx(name, root, php));
    host.sh("rm -f /etc/nginx/sites-enabled/default; nginx -q -t; systemctl reload-or-restart nginx");
}

/// A text for this host: `8.2` in it becomes the host's version of PHP.
pub fn of_php(host: &Host, text: &str) -> String {
    text.replace("8.2", &php_version(host))
}

/// The host's PHP version, as `8.2`.
pub fn php_version(host: &Host) -> String {
    host.ok(&["php", "-r", "echo PHP_MAJOR_VERSION, '.', PHP_MINOR_VERSION;"])
}
