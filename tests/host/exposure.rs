//! How exposed deployd, the engine, workers and steps are on a booted host, in systemd's own measure.

use crate::{
    common::{installed, slow_step_begun},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

const MORE: &str = "shared = [\"storage/\"]\n[[step]]\nname = \"slow\"\nshared = \"rw\"\nnetwork = NETWORK\n\
                    run = [\"sh\", \"-c\", \"touch storage/step-began; sleep 5\"]\n";

/// Whether a unit's exposure is at most so many tenths.
fn is_below(host: &Host, unit: &str, tenths: u32) -> bool {
    let threshold = format!("--threshold={tenths}");
    let said = host.run(&["systemd-analyze", "security", "--no-pager", &threshold, unit]);
    let overall = said.stdout.lines().find(|line| line.contains("Overall exposure level")).map(str::trim);
    println!("{}", overall.unwrap_or_else(|| panic!("{unit} was not measured: {said}")));
    said.status == 0
}

#[test]
fn deployd_and_steps_are_below_two_and_the_engine_as_it_was() {
    let host = installed();
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") });
    for (network, step) in [("false", 20), ("true", 20)] {
        shop.configure(&host, &MORE.replace("NETWORK", network));
        host.ok(&["rm", "-f", "/srv/shop/shared/storage/step-began"]);
        shop.ctl(&host, "deploy", &["--no-block"]).ok();
        slow_step_begun(&host, &shop);
        let unit = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "deploy-step-shop-*-slow.service"]);
        let unit = unit.split_whitespace().next().expect("the step runs").to_owned();
        assert!(is_below(&host, &unit, step), "{unit}");
        assert!(!is_below(&host, &unit, 1), "the measure fails where it should");
        // Two directives stand in other words there, which the measure does not count.
        assert!(is_below(&host, "deployd.service", 7));
        let run = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "deploy-run@shop:*"]);
        let run = run.split_whitespace().next().expect("the engine runs").to_owned();
        assert!(is_below(&host, &run, 26), "{run}");
        host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
        let over = || !host.run(&["systemctl", "is-active", &run]).stdout.starts_with("activ");
        crate::common::eventually("it has ended", std::time::Duration::from_secs(30), over);
    }
}
