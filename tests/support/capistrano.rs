//! Debian's Capistrano, which deploys a host's app to that host over ssh, as a person's machine would.

use super::{host::Host, root::Root, shop::Shop};

/// What Capistrano does to a Laravel app, by the recipe that its users write.
const RECIPE: &str = r#"
set :application, "shop"
set :repo_url, "/srv/git/shop.git"
set :branch, "main"
set :deploy_to, "ROOT"
set :keep_releases, 5
set :ssh_options, keys: ["/root/.ssh/id_rsa"], verify_host_key: :never
append :linked_files, ".env"
append :linked_dirs, "storage", "public/uploads"

namespace :deploy do
  after :updated, :build do
    on roles(:app) do
      within release_path do
        execute :composer, "install", "--quiet", "--no-dev", "--no-interaction"
        execute :php, "artisan", "migrate", "--force", "--quiet"
        execute :php, "artisan", "config:cache", "--quiet"
        execute :php, "artisan", "route:cache", "--quiet"
      end
    end
  end
end
"#;
const CAPFILE: &str = "require \"capistrano/setup\"\nrequire \"capistrano/deploy\"\nrequire \"capistrano/scm/git\"\n\
                       install_plugin Capistrano::SCM::Git\n";

/// A root that has Capistrano.
pub fn root() -> Root {
    Root::with(&["capistrano"])
}

/// Sets it up on the host: its recipe below /root/cap, and a key that the app's user takes, in the one form that Debian's
/// net-ssh reads.
pub fn set_up(host: &Host, shop: &Shop) {
    let user = shop.user();
    host.write("/root/cap/Capfile", CAPFILE);
    host.write("/root/cap/config/deploy.rb", RECIPE.replace("ROOT", shop.root()));
    host.write(
        "/root/cap/config/deploy/production.rb",
        format!("server \"127.0.0.1\", user: \"{user}\", roles: %w[app]\n"),
    );
    host.sh(&format!(
        "install -d -m 700 /root/.ssh; ssh-keygen -q -t rsa -m PEM -N '' -f /root/.ssh/id_rsa
         install -d -m 700 -o {user} /home/{user}/.ssh
         install -m 600 -o {user} /root/.ssh/id_rsa.pub /home/{user}/.ssh/authorized_keys
         systemctl start ssh
         root={root}; install -d -o {user} $root/shared/storage/framework $root/shared/public/uploads
         cd $root/shared/storage; install -d -o {user} framework/sessions framework/views framework/cache/data logs app/public",
        root = shop.root(),
    ));
}

/// `cap production deploy`: the newest of main; the name of the release that it made.
pub fn deploy(host: &Host, shop: &Shop) -> String {
    host.sh("cd /root/cap; cap production deploy");
    let link = host.ok(&["readlink", &format!("{}/current", shop.root())]);
    link.trim().rsplit('/').next().unwrap_or_default().to_owned()
}
