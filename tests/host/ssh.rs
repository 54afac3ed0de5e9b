//! The door for CI: a key of ssh that may deploy, go back, ask and upload, of one app, and nothing else. A real sshd, and
//! the scripts of packaging/ci as they are.

use crate::{
    common::installed,
    support::{
        command::Ended,
        host::Host,
        shop::{Shop, Spec},
    },
};

const MORE: &str = "source.ref = \"main\"\n[access]\ndeploy = [\"ci-deploy\"]\nrollback = [\"ci-deploy\"]\n\
                    upload = [\"ci-deploy\"]\nread_logs = [\"ci-deploy\"]\n";
const OTHER: &str = "root = \"/srv/other\"\nuser = \"shop\"\nsource.directory = \"/srv/build/shop\"\n";
const README: &str = include_str!("../../packaging/ci/README.md");
const GITHUB: &str = include_str!("../../packaging/ci/github/action.yml");
const GITLAB: &str = include_str!("../../packaging/ci/gitlab/deployd.gitlab-ci.yml");

/// The block of a YAML file that begins at this line, as YAML takes it.
fn script(yaml: &str, begin: &str) -> String {
    let rest = yaml.split_once(&format!("{begin} |\n")).unwrap_or_else(|| panic!("there is no {begin}")).1;
    let indent = rest.len() - rest.trim_start_matches(' ').len();
    let inside = rest.lines().take_while(|line| line.is_empty() || line.starts_with(&" ".repeat(indent)));
    inside.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect()
}

/// A host with an app, a user whose keys are forced as README.md says, and a runner that has the private halves.
fn scene() -> (Host, Shop) {
    let host = installed();
    let spec = Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") }.more(MORE);
    let shop = Shop::make(&host, spec);
    host.write("/etc/deployd/apps/other.toml", OTHER);
    shop.deploy(&host);
    let add = README.lines().find(|line| line.contains("useradd")).expect("it makes a user").replace("sudo ", "");
    host.sh(&format!(
        "{add}; useradd --create-home runner
        for key in shop other; do runuser -u runner -- ssh-keygen -q -t ed25519 -N '' -f /home/runner/$key; done
        sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /home/runner/known
        ssh-keygen -q -t ed25519 -N '' -f /tmp/x; sed 's/^/127.0.0.1 /' /tmp/x.pub > /home/runner/unknown"
    ));
    let line = README.lines().find(|line| line.starts_with("restrict,")).expect("it shows the line");
    let of = |app: &str| {
        let public = host.read(&format!("/home/runner/{app}.pub"));
        line.replace("ssh shop", &format!("ssh {app}")).replace("ssh-ed25519 AAAA... ci of shop", public.trim()) + "\n"
    };
    host.write("/home/ci-deploy/.ssh/authorized_keys", of("shop") + &of("other"));
    (host, shop)
}

fn run(host: &Host, script: &str, set: &[(&str, &str)]) -> Ended {
    let defaults = [
        ("DEPLOY_HOST", "127.0.0.1"),
        ("DEPLOY_USER", "ci-deploy"),
        ("DEPLOY_PORT", "22"),
        ("DEPLOY_REF", ""),
        ("DEPLOY_ARCHIVE", ""),
    ];
    let set: Vec<String> = defaults.iter().chain(set).map(|(name, value)| format!("{name}={value}")).collect();
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let said = host.run_as("runner", &[&["env"], &set[..], &["bash", "-c", script]].concat());
    assert!(!said.said().contains("PRIVATE"), "the key is shown");
    said
}

/// The runner's ssh, with its own options and the command as it is.
fn ssh(host: &Host, key: &str, more: &[&str]) -> Ended {
    let key = format!("/home/runner/{key}");
    let base =
        ["ssh", "-T", "-F", "none", "-i", &key, "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=/home/runner/known"];
    host.run_as("runner", &[&base[..], more].concat())
}

#[test]
fn a_key_of_ci_s_deploys_goes_back_asks_and_uploads() {
    let (host, shop) = scene();
    let (github, gitlab) = (script(GITHUB, "run:"), script(GITLAB, "  -"));
    let key = host.read("/home/runner/shop");
    let known = host.read("/home/runner/known");
    let on_github = |set: &[(&str, &str)]| {
        run(&host, &github, &[&[("DEPLOY_KEY", key.trim()), ("DEPLOY_KNOWN_HOSTS", known.trim())], set].concat())
    };
    let on_gitlab = |set: &[(&str, &str)]| {
        let own = [("DEPLOY_KEY", "/home/runner/shop"), ("DEPLOY_KNOWN_HOSTS", "/home/runner/known")];
        run(&host, &gitlab, &[&own[..], set].concat())
    };
    let release = || host.read("/srv/shop/current/RELEASE");
    shop.commit(&host, "r2", &[]);
    let said = on_github(&[("DEPLOY_COMMAND", "deploy")]).ok();
    assert!(said.contains("shop") && release() == "r2\n", "{said}");
    on_github(&[("DEPLOY_COMMAND", "rollback")]).ok();
    assert_eq!(release(), "r1\n");
    assert!(on_github(&[("DEPLOY_COMMAND", "status")]).ok().contains("shop"));
    on_gitlab(&[("DEPLOY_COMMAND", "deploy")]).ok();
    assert_eq!(release(), "r2\n");
    host.sh("cd /srv/build/shop; echo r3 > RELEASE; tar -czf /home/runner/build.tar.gz --exclude=.git .; chmod a+r /home/runner/build.tar.gz");
    on_gitlab(&[("DEPLOY_COMMAND", "upload"), ("DEPLOY_ARCHIVE", "/home/runner/build.tar.gz")]).ok();
    assert_eq!(release(), "r3\n");
    assert_eq!(host.sh("ls /var/tmp | grep deployctl || true"), "", "the archive is left");

    // Another ref is polkit's to allow, and a host that is not the pinned one gets nothing.
    on_github(&[("DEPLOY_COMMAND", "deploy"), ("DEPLOY_REF", "r1")]).expect_status(7);
    on_github(&[("DEPLOY_COMMAND", "reboot")]).expect_status(2);
    let other = host.read("/home/runner/unknown");
    on_github(&[("DEPLOY_COMMAND", "deploy"), ("DEPLOY_KNOWN_HOSTS", other.trim())]).expect_status(255);
    on_gitlab(&[("DEPLOY_COMMAND", "deploy"), ("DEPLOY_KNOWN_HOSTS", "/home/runner/unknown")]).expect_status(255);
    let log = host.ok(&[
        "journalctl",
        "-o",
        "cat",
        "--output-fields=DEPLOYD_ACTOR",
        "-n",
        "1",
        "DEPLOYD_ACTOR=user:ci-deploy",
    ]);
    assert!(log.contains("user:ci-deploy"), "{log}");
    assert_eq!(release(), "r3\n");
}

#[test]
fn a_key_of_ci_s_is_good_for_nothing_else() {
    let (host, shop) = scene();
    let before = shop.current(&host);
    let to = ["ci-deploy@127.0.0.1"];
    for command in
        ["id", "deploy; id", "deploy && id", "$(id)", "deploy other", "sh -i", "logs -f", "deployctl deploy shop"]
    {
        let said = ssh(&host, "shop", &[&to[..], &[command]].concat()).expect_status(2);
        assert!(said.stderr.contains("this key may") && !said.said().contains("uid="), "{command}: {said}");
    }
    ssh(&host, "shop", &to).expect_status(2);
    let tty = ssh(&host, "shop", &["-tt", "ci-deploy@127.0.0.1"]).expect_failure();
    assert!(!tty.stdout.contains('$'), "{tty}");
    // Files, forwarding, and the variables of the client.
    ssh(&host, "shop", &["-s", "ci-deploy@127.0.0.1", "sftp"]).expect_status(2);
    ssh(&host, "shop", &["-W", "127.0.0.1:80", "ci-deploy@127.0.0.1"]).expect_failure();
    let forward = ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:80", "ci-deploy@127.0.0.1", "status"];
    ssh(&host, "shop", &forward).expect_failure();
    let set = ["-o", "SetEnv=SSH_ORIGINAL_COMMAND=rollback LC_ALL=x", "ci-deploy@127.0.0.1", "id"];
    ssh(&host, "shop", &set).expect_status(2);
    // The key of an app whose lists do not name the user: what the line says is not what polkit says.
    ssh(&host, "other", &["ci-deploy@127.0.0.1", "deploy"]).expect_status(7);
    assert_eq!(shop.current(&host), before);
}
