//! The events an operator cares about: one MESSAGE_ID each, with an entry in `units/deployd.catalog` (a test holds
//! the two together). Fields: DEPLOYD_APP, DEPLOYD_DEPLOYMENT, DEPLOYD_RELEASE, DEPLOYD_ACTOR, DEPLOYD_PHASE,
//! DEPLOYD_STEP, DEPLOYD_OUTCOME, DEPLOYD_UNIT, DEPLOYD_ACTION, DEPLOYD_GAP_MS.

/// One kind of event: the journal's MESSAGE_ID, 32 hexadecimal digits.
pub type EventId = &'static str;

/// A deployment has begun.
pub const DEPLOYMENT_STARTED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f01";
/// It ended well: the new release is live, or staged.
pub const DEPLOYMENT_SUCCEEDED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f02";
/// Nothing was new and nothing was changed.
pub const DEPLOYMENT_UNCHANGED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f03";
/// It was refused before anything was touched.
pub const DEPLOYMENT_REJECTED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f04";
/// It failed before activate; nothing live was changed.
pub const DEPLOYMENT_FAILED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f05";
/// It failed after activate and the old release is live again.
pub const DEPLOYMENT_ROLLED_BACK: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f06";
/// It was cancelled before activate.
pub const DEPLOYMENT_CANCELLED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f07";
/// It needs a person; the message says how to go on.
pub const DEPLOYMENT_STUCK: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f08";
/// A phase or a step was entered.
pub const PHASE: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f09";
/// `current` names another release.
pub const RELEASE_ACTIVATED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f0a";
/// A release passed its bake time and nothing of the old one is left.
pub const RELEASE_CONFIRMED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f0b";
/// A release was removed.
pub const RELEASE_PRUNED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f0c";
/// An interrupted deployment was found and settled.
pub const RECOVERED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f0d";
/// A caller of the bus was refused.
pub const ACCESS_DENIED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f0e";
/// A caller of the bus was allowed an action.
pub const ACCESS_ALLOWED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f0f";
/// The drain limit was reached, or the drain could not see; what was still running is told.
pub const DRAIN_INCOMPLETE: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f10";
/// An old slot was drained and stopped, or old workers are gone.
pub const DRAINED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f11";
/// A service was given its traffic in the new release, and proved; the next one's turn comes.
pub const SERVICE_LIVE: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f12";
/// A service that had been moved was given back to its old slot.
pub const SERVICE_BACK: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f13";
/// An app got a deploy key, or another one.
pub const KEY_MADE: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f14";
/// A forge's signed delivery was taken, and a deployment asked for.
pub const WEBHOOK_ASKED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f15";
/// A delivery was not signed with the app's secret.
pub const WEBHOOK_REFUSED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f16";
/// A tree of another tool's was taken over.
pub const ADOPTED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f21";
/// A tree was given back.
pub const DISOWNED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f22";
/// `init` has written an app's configuration.
pub const DESCRIBED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f23";
/// `init` has changed an app's site, and it answers as before.
pub const SITE_CHANGED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f24";
/// An app takes no new deployment from now on, or one of its releases is not pruned.
pub const HELD: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f61";
/// A hold has ended.
pub const UNHELD: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7f62";
/// Something that a deployment should be known to run into; it goes on.
pub const DEPLOYMENT_WARNED: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7fc1";
/// A step was not run, and why.
pub const STEP_LEFT_OUT: EventId = "0c58f6a9c7e14d3c9a1c5b6de35a7fc4";

/// Every event, with its constant's name.
pub const ALL: [(&str, EventId); 30] = [
    ("DEPLOYMENT_STARTED", DEPLOYMENT_STARTED),
    ("DEPLOYMENT_SUCCEEDED", DEPLOYMENT_SUCCEEDED),
    ("DEPLOYMENT_UNCHANGED", DEPLOYMENT_UNCHANGED),
    ("DEPLOYMENT_REJECTED", DEPLOYMENT_REJECTED),
    ("DEPLOYMENT_FAILED", DEPLOYMENT_FAILED),
    ("DEPLOYMENT_ROLLED_BACK", DEPLOYMENT_ROLLED_BACK),
    ("DEPLOYMENT_CANCELLED", DEPLOYMENT_CANCELLED),
    ("DEPLOYMENT_STUCK", DEPLOYMENT_STUCK),
    ("PHASE", PHASE),
    ("RELEASE_ACTIVATED", RELEASE_ACTIVATED),
    ("RELEASE_CONFIRMED", RELEASE_CONFIRMED),
    ("RELEASE_PRUNED", RELEASE_PRUNED),
    ("RECOVERED", RECOVERED),
    ("ACCESS_DENIED", ACCESS_DENIED),
    ("ACCESS_ALLOWED", ACCESS_ALLOWED),
    ("DRAIN_INCOMPLETE", DRAIN_INCOMPLETE),
    ("DRAINED", DRAINED),
    ("SERVICE_LIVE", SERVICE_LIVE),
    ("SERVICE_BACK", SERVICE_BACK),
    ("KEY_MADE", KEY_MADE),
    ("WEBHOOK_ASKED", WEBHOOK_ASKED),
    ("WEBHOOK_REFUSED", WEBHOOK_REFUSED),
    ("ADOPTED", ADOPTED),
    ("DISOWNED", DISOWNED),
    ("DESCRIBED", DESCRIBED),
    ("SITE_CHANGED", SITE_CHANGED),
    ("HELD", HELD),
    ("UNHELD", UNHELD),
    ("DEPLOYMENT_WARNED", DEPLOYMENT_WARNED),
    ("STEP_LEFT_OUT", STEP_LEFT_OUT),
];
