//! The plan's decisions, as values in and values out.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::*;
use crate::{
    check::{Facts, FpmFacts},
    config::{
        GitSource, Http, OnFailure, PhpFpm, Pool, Program, Rolling, Service, ServiceKind, Settings, Shared, SlotKind,
        Source, Step, Strategy, Web,
    },
    model::{
        Actor, Allow, AppState, DeploymentId, Hold, Kind, LiveSlot, MadeFrom, Migrating, MigrationRun, ReleaseId,
        ReleaseRecord, ReleaseState, Request, Slot, StepRun,
    },
    observe::{InstanceObserved, Observed, Resolved, ServiceObserved},
    worker::order::{SharedFound, SharedKind},
};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn settings() -> Settings {
    let fpm = PhpFpm {
        version: "8.2".into(),
        binary: "/usr/sbin/php-fpm8.2".into(),
        pool: Pool::Directives(BTreeMap::new()),
        probe: "/".into(),
        public: "public".into(),
        strict: false,
        memory_mib: 480,
    };
    let step = |name: &str, need: &str| Step { needs: vec![need.into()], ..Step::new(name, vec![name.into()]) };
    Settings {
        app: "shop".parse().unwrap(),
        root: "/srv/shop".into(),
        user: "shop".into(),
        run_as: "shop".into(),
        web_user: Some("www-data".into()),
        web_unit: "nginx.service".parse().unwrap(),
        source: Source::Git(GitSource {
            url: "/srv/git/shop".into(),
            reference: "main".into(),
            ..GitSource::default()
        }),
        shared: vec![Shared { path: ".env".into(), from: ".env".into(), directory: false, required: true }],
        writable: Vec::new(),
        build_writable: Vec::new(),
        services: vec![Service {
            name: "php-fpm".into(),
            kind: ServiceKind::Slots(SlotKind::PhpFpm(fpm)),
            drain: Duration::from_secs(30),
        }],
        steps: vec![step("composer-install", "composer.json"), step("npm-ci", "package.json")],
        build: Default::default(),
        drop: Vec::new(),
        environment: BTreeMap::new(),
        health: Vec::new(),
        successes: 1,
        interval: Duration::ZERO,
        bake: Duration::ZERO,
        keep: 5,
        share: crate::model::Share::default(),
        gates: Default::default(),
        notify: Vec::new(),
        webhook: None,
        fleet: None,
        access: Default::default(),
        carry: vec![],
        assets: Default::default(),
        safety: Default::default(),
        inferred: Vec::new(),
        files: vec!["/etc/deployd/apps/shop.toml".into()],
        origins: BTreeMap::new(),
    }
}

fn record(seq: u64, revision: &str, state: ReleaseState, live_at: Option<i64>) -> ReleaseRecord {
    ReleaseRecord {
        id: format!("2026010{seq}T000000Z-{}", &revision[..8]).parse().unwrap(),
        seq,
        revision: revision.into(),
        reference: "main".into(),
        state,
        manifest: String::new(),
        files: 1,
        bytes: 1,
        made_from: made_from("1"),
        markers: Vec::new(),
        deployment: DeploymentId::from_bits(seq),
        sealed_at: 0,
        live_at,
        replaced: None,
    }
}

fn made_from(env: &str) -> MadeFrom {
    MadeFrom { settings: "s".into(), php: "8.2".into(), shared: BTreeMap::from([(".env".into(), env.into())]) }
}

/// An app whose release of revision A is live in slot a, with the one before it confirmed.
fn observed() -> Observed {
    let releases =
        vec![record(1, B, ReleaseState::Confirmed, Some(10)), record(2, A, ReleaseState::Confirmed, Some(20))];
    let live = releases[1].id.clone();
    let slots = Slot::ALL.map(|slot| (slot, if slot == Slot::A { "active" } else { "inactive" }.to_owned()));
    Observed {
        stamp: "20260201T000000Z".into(),
        on_disk: releases.iter().map(|release| release.id.clone()).collect(),
        state: AppState {
            seq: 2,
            releases,
            live: BTreeMap::from([("php-fpm".into(), LiveSlot { slot: Slot::A, release: live.clone() })]),
            ..AppState::default()
        },
        held: None,
        current: Some(live),
        source: Some(Resolved { revision: A.into(), markers: vec!["composer.json".into()], tag: None }),
        lacking: Vec::new(),
        missed: None,
        shared: vec![SharedFound { kind: Some(SharedKind::File), digest: Some("1".into()), modified: Some(0) }],
        maintenance: false,
        settings_digest: "s".into(),
        php: "8.2".into(),
        services: BTreeMap::from([("php-fpm".into(), ServiceObserved::Slots(slots.into()))]),
        web_blocked: None,
        root_writable: true,
        slot_memory_mib: BTreeMap::from([("php-fpm".into(), 480)]),
        memory_available_mib: 4096,
        facts: Facts::default(),
    }
}

fn request(kind: Kind) -> Request {
    Request {
        app: "shop".parse().unwrap(),
        id: DeploymentId::from_bits(9),
        kind,
        reference: None,
        release: None,
        force: false,
        allow: Default::default(),
        upload: false,
        actor: Actor::Systemd,
    }
}

fn go(observed: &Observed, request: &Request) -> Plan {
    match plan(&settings(), observed, request).unwrap() {
        Decision::Go(plan) => *plan,
        Decision::Unchanged { message, .. } => panic!("unchanged: {message}"),
    }
}

fn only_handover(plan: &Plan) -> &Handover {
    match plan.live.as_ref().unwrap().moves.as_slice() {
        [Move::Handover(handover)] => handover,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_new_changes_nothing() {
    let Decision::Unchanged { release, message } = plan(&settings(), &observed(), &request(Kind::Deploy)).unwrap()
    else {
        panic!("a plan")
    };
    assert_eq!(Some(release), observed().current);
    assert!(message.starts_with("nothing is new: 20260102T000000Z-aaaaaaaa"), "{message}");
}

#[test]
fn a_held_app_takes_nothing_new_and_is_still_set_right() {
    let hold = Hold { actor: "user:anna".into(), since: 1, reason: "the sale is on".into() };
    let mut held = Observed { held: Some(hold), ..observed() };
    assert!(matches!(plan(&settings(), &held, &request(Kind::Deploy)), Ok(Decision::Unchanged { .. })));
    let back = request(Kind::Rollback);
    let refusal = plan(&settings(), &held, &back).unwrap_err();
    assert_eq!(refusal.reason, "shop is held by user:anna: the sale is on");
    assert!(refusal.remedy.unwrap().contains("`deployctl unhold shop`"));
    // What bakes and fails goes back all the same, and a service that stands still is brought to what is live.
    assert!(plan(&settings(), &held, &Request { actor: Actor::Deployd, ..back }).is_ok());
    held.services.insert("php-fpm".into(), ServiceObserved::Slots(Slot::ALL.map(|s| (s, "inactive".into())).into()));
    assert!(matches!(plan(&settings(), &held, &request(Kind::Deploy)), Ok(Decision::Go(_))));
    for kind in [Kind::Deploy, Kind::Stage] {
        held.source.as_mut().unwrap().revision = B.into();
        assert!(plan(&settings(), &held, &request(kind)).unwrap_err().reason.contains("held by"), "{kind}");
    }
}

#[test]
fn each_difference_makes_a_release_and_is_named() {
    type Change = fn(&mut Observed);
    let cases: [(Change, &str); 4] = [
        (|o| o.source.as_mut().unwrap().revision = B.into(), "the revision is bbbbbbbb (was aaaaaaaa)"),
        (|o| o.settings_digest = "t".into(), "the settings changed"),
        (|o| o.php = "8.4".into(), "PHP is 8.4 (was 8.2)"),
        (|o| o.shared[0].digest = Some("2".into()), "shared/.env changed"),
    ];
    for (change, reason) in cases {
        let mut world = observed();
        change(&mut world);
        let plan = go(&world, &request(Kind::Deploy));
        assert_eq!(plan.reasons, [reason]);
        assert!(plan.stage.is_some() && plan.live.is_some());
        assert!(!world.on_disk.contains(&plan.release));
    }
}

#[test]
fn the_newest_tag_is_named() {
    let mut world = observed();
    let source = world.source.as_mut().unwrap();
    (source.revision, source.tag) = (B.into(), Some("v1.10.0".into()));
    let mut settings = settings();
    settings.source = crate::config::Source::Git(crate::config::GitSource {
        reference: "tag:v*".into(),
        ..crate::config::GitSource::default()
    });
    let Decision::Go(plan) = plan(&settings, &world, &request(Kind::Deploy)).unwrap() else { panic!("unchanged") };
    assert_eq!(plan.reasons, ["the newest tag is v1.10.0, the revision is bbbbbbbb (was aaaaaaaa)"]);
    assert_eq!(plan.stage.unwrap().reference, "v1.10.0");
}

/// What failed after activate would make the site go there and back with each turn of the timer.
#[test]
fn a_timer_does_not_try_again_what_failed_and_a_person_may() {
    let mut world = observed();
    let failed = "c".repeat(40);
    let release = record(3, &failed, ReleaseState::Unconfirmed, Some(30));
    world.state.releases.push(release.clone());
    world.state.fail(&release.id);
    // Its tree and its record may be gone.
    world.state.releases.pop();
    world.source.as_mut().unwrap().revision = failed;
    let timer = Request { actor: Actor::Timer, ..request(Kind::Deploy) };
    let refused = plan(&settings(), &world, &timer).unwrap_err();
    assert!(refused.reason.contains("(cccccccc), which failed its checks"), "{refused}");
    assert!(refused.remedy.unwrap().contains("deployctl deploy"));
    go(&world, &request(Kind::Deploy));
    world.shared[0].digest = Some("2".into());
    go(&world, &timer);
}

#[test]
fn steps_apply_by_what_the_source_has() {
    let plan = go(&observed(), &Request { force: true, ..request(Kind::Deploy) });
    let stage = plan.stage.unwrap();
    assert_eq!(stage.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["composer-install"]);
    assert_eq!(stage.skipped["npm-ci"], "the source has no package.json");
}

#[test]
fn a_handover_takes_an_idle_slot_and_keeps_the_live_one() {
    let plan = go(&observed(), &Request { force: true, ..request(Kind::Deploy) });
    let handover = only_handover(&plan);
    assert_eq!((handover.to, handover.start), (Slot::B, Start::Idle { smaller: false }));
    assert_eq!(handover.from.as_ref().unwrap().slot, Slot::A);
}

#[test]
fn a_handover_waits_when_every_other_slot_is_busy() {
    let mut world = observed();
    let busy = Slot::ALL.map(|slot| (slot, "active".to_owned()));
    world.services.insert("php-fpm".into(), ServiceObserved::Slots(busy.into()));
    let plan = go(&world, &Request { force: true, ..request(Kind::Deploy) });
    assert_eq!((only_handover(&plan).to, only_handover(&plan).start), (Slot::B, Start::Draining));
}

#[test]
fn a_root_that_systemd_does_not_know_yet_is_said() {
    let mut world = observed();
    assert_eq!(go(&world, &Request { force: true, ..request(Kind::Deploy) }).warnings, [""; 0]);
    world.root_writable = false;
    let warned = go(&world, &Request { force: true, ..request(Kind::Deploy) }).warnings;
    assert!(warned[0].contains("daemon-reload"), "{warned:?}");
}

#[test]
fn with_two_slots_what_is_kept_for_a_rollback_gives_way() {
    let mut config = settings();
    let web = Web { ports: vec![3000, 3001], probe: "/".into(), start: Duration::from_secs(1) };
    let program = Program::Run { run: vec!["node".into()], strict: false };
    config.services[0].kind = ServiceKind::Slots(SlotKind::Http(Http { program, web }));
    let mut world = observed();
    let before = world.state.releases[0].id.clone();
    world.state.fallback.insert("php-fpm".into(), LiveSlot { slot: Slot::B, release: before });
    let both = [Slot::A, Slot::B].map(|slot| (slot, "active".to_owned()));
    world.services.insert("php-fpm".into(), ServiceObserved::Slots(both.into()));
    let wanted = Request { force: true, ..request(Kind::Deploy) };
    let Decision::Go(plan) = plan(&config, &world, &wanted).unwrap() else { panic!("unchanged") };
    assert_eq!((only_handover(&plan).to, only_handover(&plan).start), (Slot::B, Start::Draining));
}

#[test]
fn short_memory_is_said_and_starts_the_slot_smaller() {
    let mut world = observed();
    world.memory_available_mib = 100;
    let plan = go(&world, &Request { force: true, ..request(Kind::Deploy) });
    assert_eq!(only_handover(&plan).start, Start::Idle { smaller: true });
    assert!(plan.warnings[0].contains("480 MiB and 100 MiB are available"), "{:?}", plan.warnings);
}

#[test]
fn a_rollback_re_points_to_a_slot_that_still_runs_the_release() {
    let mut world = observed();
    let before = world.state.releases[0].id.clone();
    world.state.fallback.insert("php-fpm".into(), LiveSlot { slot: Slot::B, release: before.clone() });
    let Some(ServiceObserved::Slots(slots)) = world.services.get_mut("php-fpm") else { panic!("slots") };
    slots.insert(Slot::B, "active".into());
    let plan = go(&world, &request(Kind::Rollback));
    assert_eq!((plan.release.clone(), plan.stage.is_none()), (before, true));
    assert_eq!((only_handover(&plan).to, only_handover(&plan).start), (Slot::B, Start::Running));
}

#[test]
fn a_rollback_goes_to_releases_that_were_proved_live() {
    let mut world = observed();
    world.state.releases[0].state = ReleaseState::Failed;
    let refusal = plan(&settings(), &world, &request(Kind::Rollback)).unwrap_err();
    assert_eq!(refusal.reason, "there is no older release to roll back to");
    let named = Request { release: Some(world.state.releases[0].id.clone()), ..request(Kind::Rollback) };
    let refusal = plan(&settings(), &world, &named).unwrap_err();
    assert!(refusal.reason.contains("is failed, and a rollback goes to releases that were proved live"), "{refusal}");
}

#[test]
fn a_rollback_prefers_a_confirmed_release_to_a_newer_one_that_was_replaced_while_it_baked() {
    let mut world = observed();
    let mut replaced = record(3, B, ReleaseState::Unconfirmed, Some(25));
    replaced.seq = 3;
    let live = record(4, A, ReleaseState::Unconfirmed, Some(30));
    world.on_disk.extend([replaced.id.clone(), live.id.clone()]);
    world.current = Some(live.id.clone());
    world.state.releases.extend([replaced.clone(), live]);
    assert_eq!(go(&world, &request(Kind::Rollback)).release, world.state.releases[1].id);
    // Without a confirmed one it is better than none, and when it is named.
    for release in &mut world.state.releases[..2] {
        release.state = ReleaseState::Failed;
    }
    let plan = go(&world, &request(Kind::Rollback));
    assert_eq!(plan.release, replaced.id);
    assert!(plan.reasons[1].contains("replaced before its bake time"), "{:?}", plan.reasons);
}

#[test]
fn a_rollback_goes_to_what_was_live_before_not_to_what_was_left_by_an_earlier_rollback() {
    let mut world = observed();
    // Release 2 was live, 1 was rolled back to, then 3 was deployed.
    let live = ReleaseRecord {
        replaced: Some(world.state.releases[0].id.clone()),
        ..record(3, A, ReleaseState::Unconfirmed, Some(30))
    };
    world.on_disk.push(live.id.clone());
    world.current = Some(live.id.clone());
    world.state.releases.push(live);
    assert_eq!(go(&world, &request(Kind::Rollback)).release, world.state.releases[0].id);
}

#[test]
fn a_second_rollback_does_not_return_to_what_the_first_one_left() {
    let mut world = observed();
    world.current = Some(world.state.releases[0].id.clone());
    let refusal = plan(&settings(), &world, &request(Kind::Rollback)).unwrap_err();
    assert_eq!(refusal.reason, "there is no older release to roll back to");
}

#[test]
fn a_missing_env_is_refused_with_the_way_out() {
    let mut world = observed();
    world.shared[0] = SharedFound { kind: None, digest: None, modified: None };
    let refusal = plan(&settings(), &world, &request(Kind::Deploy)).unwrap_err();
    assert_eq!(refusal.reason, "/srv/shop/shared/.env is missing");
    assert_eq!(
        refusal.remedy.unwrap(),
        "put it there: `install -D -o shop -g shop -m 0640 .env /srv/shop/shared/.env`"
    );
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let mut config = settings();
    config.services.push(Service {
        name: "x.service".into(),
        kind: ServiceKind::Unit { unit: "x.service".parse().unwrap(), strategy: Strategy::Reload },
        drain: Duration::ZERO,
    });
    let mut world = observed();
    world
        .services
        .insert("x.service".into(), ServiceObserved::Unit { load: "not-found".into(), active: "inactive".into() });
    let refusal = plan(&config, &world, &request(Kind::Deploy)).unwrap_err();
    assert_eq!(refusal.reason, "/etc/deployd/apps/shop.toml: the unit x.service is not-found");

    let mut world = observed();
    world.web_blocked = Some(PathBuf::from("/home/deploy"));
    let refusal = plan(&settings(), &world, &request(Kind::Deploy)).unwrap_err();
    assert_eq!(refusal.remedy.unwrap(), "let it: `setfacl -m u:www-data:x /home/deploy`");

    let mut world = observed();
    world.maintenance = true;
    assert!(plan(&settings(), &world, &request(Kind::Deploy)).unwrap_err().reason.contains("maintenance mode"));
    assert!(plan(&settings(), &world, &request(Kind::Rollback)).is_ok());
}

#[test]
fn the_same_values_give_the_same_plan() {
    let wanted = Request { force: true, ..request(Kind::Deploy) };
    assert_eq!(plan(&settings(), &observed(), &wanted), plan(&settings(), &observed(), &wanted));
}

#[test]
fn a_service_that_does_not_run_the_live_release_is_brought_to_it_without_a_build() {
    let mut world = observed();
    let slots = Slot::ALL.map(|slot| (slot, "inactive".to_owned()));
    world.services.insert("php-fpm".into(), ServiceObserved::Slots(slots.into()));
    let plan = go(&world, &request(Kind::Deploy));
    assert_eq!(plan.reasons, ["php-fpm does not run the live release"]);
    assert!(plan.stage.is_none());
}

#[test]
fn a_staged_release_is_used_and_not_built_again() {
    let mut world = observed();
    let staged = record(3, B, ReleaseState::Sealed, None);
    world.on_disk.push(staged.id.clone());
    world.state.releases.push(staged.clone());
    world.source.as_mut().unwrap().revision = B.into();
    let plan = go(&world, &request(Kind::Deploy));
    assert_eq!((plan.release, plan.stage), (staged.id, None));
}

#[test]
fn staging_migrates_nothing_and_activating_does_what_it_left() {
    let mut settings = settings();
    let migrate = Step::new("migrate", ["php", "artisan", "migrate", "--force"].map(str::to_owned).to_vec());
    settings.steps.insert(1, migrate);
    let decide = |world: &Observed, kind| match plan(&settings, world, &request(kind)).unwrap() {
        Decision::Go(plan) => *plan,
        Decision::Unchanged { message, .. } => panic!("unchanged: {message}"),
    };
    let names = |steps: &[Step]| steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    let mut world = observed();
    world.source.as_mut().unwrap().revision = B.into();
    let stage = decide(&world, Kind::Stage).stage.unwrap();
    assert_eq!(names(&stage.steps), ["composer-install"]);
    assert!(stage.skipped["migrate"].contains("when the release is activated"));
    let deploy = decide(&world, Kind::Deploy);
    assert_eq!(names(&deploy.stage.unwrap().steps), ["composer-install", "migrate"]);
    assert_eq!(deploy.live.unwrap().staged, None);

    let staged = ReleaseRecord { markers: vec!["artisan".into()], ..record(3, B, ReleaseState::Sealed, None) };
    world.on_disk.push(staged.id.clone());
    world.state.releases.push(staged);
    for kind in [Kind::Activate, Kind::Deploy] {
        let left = decide(&world, kind).live.unwrap().staged.unwrap();
        assert_eq!((names(&left.steps), left.markers), (vec!["migrate".to_owned()], vec!["artisan".to_owned()]));
    }
    // One that was live has migrated; a rollback undoes nothing and does nothing more.
    assert_eq!(decide(&world, Kind::Rollback).live.unwrap().staged, None);
}

/// A host with an nginx that goes through the link.
fn trapped() -> Observed {
    let text = "http { server { root /srv/shop/current/public; location / { fastcgi_pass unix:/x; \
                fastcgi_param SCRIPT_FILENAME $document_root/index.php; } } }";
    let nginx = crate::check::parse_nginx(std::path::Path::new("/etc/nginx/nginx.conf"), text);
    Observed { facts: Facts { nginx, ..Facts::default() }, ..changed_source() }
}

fn changed_source() -> Observed {
    Observed { source: Some(Resolved { revision: B.replace('b', "c"), markers: vec![], tag: None }), ..observed() }
}

#[test]
fn what_the_check_finds_is_a_warning_or_with_require_a_refusal() {
    let mut settings = settings();
    let Ok(Decision::Go(warned)) = plan(&settings, &trapped(), &request(Kind::Deploy)) else { panic!() };
    assert!(warned.warnings.iter().any(|line| line.contains("[nginx-document-root]")), "{:?}", warned.warnings);
    settings.safety.zero_downtime = true;
    let refused = plan(&settings, &trapped(), &request(Kind::Deploy)).unwrap_err();
    assert!(refused.reason.contains("nginx-document-root (/etc/nginx/nginx.conf:1)"), "{refused}");
    assert!(refused.remedy.unwrap().contains("$realpath_root"));
    assert!(plan(&settings, &changed_source(), &request(Kind::Deploy)).is_ok(), "nothing is found");
    // The way out, and what touches nothing live.
    for kind in [Kind::Rollback, Kind::Stage] {
        assert!(matches!(plan(&settings, &trapped(), &request(kind)), Ok(Decision::Go(_))), "{kind}");
    }
}

/// The service as an existing unit that moves so.
fn existing(unit: &str, strategy: Strategy) -> Settings {
    let mut settings = settings();
    settings.services[0].name = unit.into();
    settings.services[0].kind = ServiceKind::Unit { unit: unit.parse().unwrap(), strategy };
    settings
}

fn rolling(instances: &[&str], parallel: u32) -> Strategy {
    Strategy::Rolling(Rolling {
        instances: instances.iter().map(|&name| name.to_owned()).collect(),
        parallel,
        delay: Duration::ZERO,
        start_first: false,
        probe: None,
        start: Duration::ZERO,
        on_failure: OnFailure::Rollback,
    })
}

/// Instances with what systemd says of them and the release that each runs.
fn with_instances(found: &[(&str, &str, Option<ReleaseId>)]) -> Observed {
    let mut world = observed();
    let instance = |(name, active, release): &(&str, &str, Option<ReleaseId>)| {
        let load = if *active == "not-found" { "not-found" } else { "loaded" };
        ((*name).into(), InstanceObserved { load: load.into(), active: (*active).into(), release: release.clone() })
    };
    world.services =
        BTreeMap::from([("web@.service".into(), ServiceObserved::Instances(found.iter().map(instance).collect()))]);
    world.source.as_mut().unwrap().revision = B.into();
    world
}

#[test]
fn a_rolling_update_takes_the_instances_that_are_there() {
    let world = with_instances(&[("1", "active", None), ("2", "active", None)]);
    let Decision::Go(plan) = plan(&existing("web@.service", rolling(&[], 1)), &world, &request(Kind::Deploy)).unwrap()
    else {
        panic!("there is something to do")
    };
    let Move::Unit { strategy: Strategy::Rolling(rolling), .. } = &plan.live.unwrap().moves[0] else {
        panic!("rolling")
    };
    assert_eq!(rolling.instances, ["1", "2"]);
}

#[test]
fn a_rolling_update_that_leaves_nobody_or_knows_nobody_is_refused() {
    let settings = existing("web@.service", rolling(&[], 2));
    let refused = |world: &Observed| plan(&settings, world, &request(Kind::Deploy)).unwrap_err().reason;
    assert!(refused(&with_instances(&[])).contains("no instance of web@.service runs"));
    let two = with_instances(&[("1", "active", None), ("2", "active", None)]);
    assert!(refused(&two).contains("parallel = 2 stops every instance of web@.service at once"));
    let unknown = with_instances(&[("1", "not-found", None), ("2", "active", None)]);
    assert!(refused(&unknown).contains("the instance 1 of web@.service is not-found"));
    // The first time nobody serves yet.
    let idle = with_instances(&[("1", "inactive", None), ("2", "inactive", None)]);
    assert!(plan(&settings, &idle, &request(Kind::Deploy)).is_ok());
}

#[test]
fn an_update_that_paused_goes_on_with_the_next_deployment() {
    let settings = existing("web@.service", rolling(&[], 1));
    let live = observed().current;
    let other = observed().state.releases[0].id.clone();
    let decide = |other: Option<ReleaseId>| {
        let mut world = with_instances(&[("1", "active", live.clone()), ("2", "active", other)]);
        world.source.as_mut().unwrap().revision = A.into();
        plan(&settings, &world, &request(Kind::Deploy)).unwrap()
    };
    assert!(matches!(decide(live.clone()), Decision::Unchanged { .. }));
    let Decision::Go(plan) = decide(Some(other)) else { panic!("it goes on") };
    assert_eq!(plan.reasons, ["web@.service does not run the live release"]);
}

#[test]
fn nothing_is_done_only_where_that_is_proved_to_be_right() {
    let mut world = observed();
    let unit = ServiceObserved::Unit { load: "loaded".into(), active: "active".into() };
    world.services = ["node.service", "php8.2-fpm.service"].map(|name| (name.to_owned(), unit.clone())).into();
    world.source.as_mut().unwrap().revision = B.into();
    let refused = |unit: &str| plan(&existing(unit, Strategy::Warm), &world, &request(Kind::Deploy)).unwrap_err();
    assert!(refused("node.service").reason.contains("cannot be seen what they keep"));
    // nginx's configuration was not seen to pass $realpath_root.
    world.facts.fpm.insert("php8.2-fpm.service".into(), FpmFacts::default());
    let refused = plan(&existing("php8.2-fpm.service", Strategy::Warm), &world, &request(Kind::Deploy)).unwrap_err();
    assert!(refused.reason.contains("strategy = \"warm\" of php8.2-fpm.service is not proved"), "{refused:?}");
}

#[test]
fn a_rollback_lists_the_migrations_that_it_does_not_undo() {
    let mut world = observed();
    let run =
        |name: &str, seq, at| MigrationRun { name: name.into(), seq, deployment: DeploymentId::from_bits(seq), at };
    // Written before it was noted when.
    world.state.migrations = vec![run("first", 1, 0), run("second", 2, 0), run("third", 3, 0)];
    assert_eq!(go(&world, &request(Kind::Rollback)).migrated_since, ["second", "third"]);
    // What counts is when it ran, not when its release was made: release 1 was live at 10, and again at 25.
    world.state.migrations = vec![run("own", 1, 9), run("later", 2, 19), run("staged long before", 0, 30)];
    assert_eq!(go(&world, &request(Kind::Rollback)).migrated_since, ["later", "staged long before"]);
    world.state.releases[0].live_at = Some(25);
    assert_eq!(go(&world, &request(Kind::Rollback)).migrated_since, ["staged long before"]);
}

#[test]
fn what_runs_once_for_a_release_is_not_run_again_unasked() {
    let mut settings = settings();
    let once =
        |name: &str, words: &str| Step { once: true, ..Step::new(name, words.split(' ').map(str::to_owned).collect()) };
    settings.steps = vec![
        once("migrate", "php artisan migrate"),
        Step { after_activate: true, ..once("greet", "greet") },
        Step { after_activate: true, ..Step::new("always", vec!["always".into()]) },
    ];
    let staged = record(3, B, ReleaseState::Sealed, None);
    let mut world = observed();
    world.on_disk.push(staged.id.clone());
    world.state.releases.push(staged.clone());
    let ran = |step: &str, release: &ReleaseId, ended| StepRun {
        step: step.into(),
        release: release.clone(),
        deployment: DeploymentId::from_bits(7),
        ended,
    };
    let run_again = |run_again| Request { allow: Allow { run_again, ..Allow::default() }, ..request(Kind::Activate) };
    let live = |world: &Observed, again| match plan(&settings, world, &run_again(again)).unwrap() {
        Decision::Go(plan) => plan.live.unwrap(),
        Decision::Unchanged { message, .. } => panic!("unchanged: {message}"),
    };
    let names = |live: &GoLive| {
        let before = live.staged.iter().flat_map(|staged| &staged.steps);
        before.chain(&live.steps).map(|step| step.name.clone()).collect::<Vec<_>>()
    };
    world.state.once = vec![ran("migrate", &world.state.releases[0].id, true)];
    assert_eq!(names(&live(&world, false)), ["migrate", "greet", "always"], "it ran for another release");
    world.state.once = ["migrate", "greet", "always"].map(|step| ran(step, &staged.id, true)).into();
    let left = live(&world, false);
    assert_eq!(names(&left), ["always"]);
    assert!(left.skipped["migrate"].contains("--run-again") && left.skipped.len() == 2, "{left:?}");
    assert_eq!(names(&live(&world, true)), ["migrate", "greet", "always"]);

    // Cut off: of migrations that are known the application tells, of anything else nobody can.
    world.state.once = vec![ran("migrate", &staged.id, false)];
    let migrating = |deployment, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Some(Migrating { deployment: DeploymentId::from_bits(deployment), names })
    };
    for unknown in [None, migrating(7, &[]), migrating(8, &["add"])] {
        world.state.migrating = unknown;
        let refused = plan(&settings, &world, &run_again(false)).unwrap_err();
        assert!(refused.reason.contains("whether the step migrate has run"), "{refused:?}");
    }
    world.state.migrating = migrating(7, &["add"]);
    assert_eq!(names(&live(&world, false)), ["migrate", "greet", "always"]);
    world.state.once = vec![ran("greet", &staged.id, false)];
    let refused = plan(&settings, &world, &run_again(false)).unwrap_err();
    assert!(
        refused.reason.contains("whether the step greet has run") && refused.reason.contains("unknown"),
        "{refused:?}"
    );
    assert!(refused.remedy.unwrap().contains(&format!("`deployctl activate shop {} --run-again`", staged.id)));
    assert_eq!(names(&live(&world, true)), ["migrate", "greet", "always"]);
}

#[test]
fn all_that_is_lacking_is_told_at_once() {
    let lack = |what: &str, remedy: &str| crate::observe::Lack { what: what.into(), remedy: Some(remedy.into()) };
    let one = Observed { lacking: vec![lack("no composer", "install it")], ..changed_source() };
    let refusal = plan(&settings(), &one, &request(Kind::Deploy)).unwrap_err();
    assert_eq!((refusal.reason.as_str(), refusal.remedy.as_deref()), ("no composer", Some("install it")));
    let missing = SharedFound { kind: None, digest: None, modified: None };
    let lacking = vec![lack("cannot fetch", "check the url"), lack("no npm", "install npm")];
    let several = Observed { lacking, shared: vec![missing], source: None, ..observed() };
    let refusal = plan(&settings(), &several, &request(Kind::Stage)).unwrap_err();
    for told in ["3 things", "cannot fetch", "no npm", "/srv/shop/shared/.env is missing"] {
        assert!(refusal.reason.contains(told), "{told}: {}", refusal.reason);
    }
    assert!(refusal.remedy.as_deref().unwrap().contains("check the url; install npm; put it there"), "{refusal:?}");
    assert_eq!(refusal.lacking.len(), 3);
    assert!(plan(&settings(), &several, &request(Kind::Rollback)).is_ok(), "a way out is never refused for it");
    let missed = Some(lack("composer can unpack no archive", "install unzip"));
    let made = go(&Observed { missed, ..changed_source() }, &request(Kind::Deploy));
    assert!(made.warnings.contains(&"composer can unpack no archive: install unzip".to_owned()), "{:?}", made.warnings);
    let same = Observed { lacking: one.lacking, ..observed() };
    let nothing = plan(&settings(), &same, &request(Kind::Deploy));
    assert!(matches!(nothing, Ok(Decision::Unchanged { .. })), "nothing is built: {nothing:?}");
}
