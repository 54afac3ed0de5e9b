//! Which instances of a template move next, so that enough of them serve at every moment. Pure.
//!
//! It looks at what is there, not at what was done: an update that was interrupted, or paused, or is taken back, is the
//! same question with another answer to what the wanted release is.

use crate::config::Rolling;

/// An instance as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `2` of `web@2.service`.
    pub name: String,
    /// It runs.
    pub active: bool,
    /// It runs the wanted release.
    pub wanted: bool,
}

/// What is done at once, and then proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lot {
    /// Each is restarted, or started, and must answer.
    Restart(Vec<String>),
    /// Each is started beside the others, and must answer.
    Start(Vec<String>),
    /// Each is stopped: others serve in its place.
    Stop(Vec<String>),
}

/// The next lot; none when every instance that runs runs the wanted release, and as many run as should.
pub fn next(rolling: &Rolling, instances: &[Instance]) -> Option<Lot> {
    let most = usize::try_from(rolling.parallel).unwrap_or(1).max(1);
    if rolling.start_first { start_first(most, instances) } else { stop_first(most, instances) }
}

/// All run. Who does not run serves nobody: it comes first, and costs nothing.
fn stop_first(most: usize, instances: &[Instance]) -> Option<Lot> {
    let idle = pick(instances, most, |one| !one.active);
    let old = pick(instances, most, |one| one.active && !one.wanted);
    [idle, old].into_iter().find(|lot| !lot.is_empty()).map(Lot::Restart)
}

/// All but `most` run. The new are started in the place of those that do not, then as many of the old are stopped.
fn start_first(most: usize, instances: &[Instance]) -> Option<Lot> {
    let resting = instances.len().saturating_sub(most);
    let active = instances.iter().filter(|one| one.active).count();
    let wanted = instances.iter().filter(|one| one.active && one.wanted).count();
    let old = pick(instances, most.min(active.saturating_sub(resting)), |one| one.active && !one.wanted);
    if !old.is_empty() {
        return Some(Lot::Stop(old));
    }
    let idle = pick(instances, most.min(resting.saturating_sub(wanted)), |one| !one.active);
    (!idle.is_empty()).then_some(Lot::Start(idle))
}

fn pick(instances: &[Instance], most: usize, fits: impl Fn(&Instance) -> bool) -> Vec<String> {
    instances.iter().filter(|one| fits(one)).take(most).map(|one| one.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::OnFailure;

    fn rolling(parallel: u32, start_first: bool) -> Rolling {
        Rolling {
            instances: Vec::new(),
            parallel,
            delay: Duration::ZERO,
            start_first,
            probe: None,
            start: Duration::ZERO,
            on_failure: OnFailure::Rollback,
        }
    }

    /// `o` runs the old release, `w` the wanted one, `-` does not run.
    fn instances(text: &str) -> Vec<Instance> {
        let one = |(at, c): (usize, char)| Instance { name: at.to_string(), active: c != '-', wanted: c == 'w' };
        text.chars().enumerate().map(one).collect()
    }

    /// What the instances are like after each lot.
    fn run(rolling: &Rolling, from: &str) -> Vec<String> {
        let mut now = instances(from);
        let mut seen = Vec::new();
        while let Some(lot) = next(rolling, &now) {
            let (names, active) = match &lot {
                Lot::Restart(names) | Lot::Start(names) => (names, true),
                Lot::Stop(names) => (names, false),
            };
            for one in now.iter_mut().filter(|one| names.contains(&one.name)) {
                (one.active, one.wanted) = (active, active);
            }
            let as_text = |one: &Instance| {
                if one.wanted {
                    'w'
                } else if one.active {
                    'o'
                } else {
                    '-'
                }
            };
            seen.push(now.iter().map(as_text).collect());
            assert!(seen.len() < 1000, "it never ends: {seen:?}");
        }
        seen
    }

    #[test]
    fn stop_first_takes_them_in_order_so_many_at_a_time() {
        assert_eq!(run(&rolling(1, false), "ooo"), ["woo", "wwo", "www"]);
        assert_eq!(run(&rolling(2, false), "oooo"), ["wwoo", "wwww"]);
        assert_eq!(run(&rolling(1, false), "o-o"), ["owo", "wwo", "www"], "who does not run comes first");
        assert_eq!(run(&rolling(1, false), "www"), [""; 0]);
    }

    #[test]
    fn start_first_always_has_one_more() {
        assert_eq!(run(&rolling(1, true), "oo-"), ["oow", "-ow", "wow", "w-w"]);
        assert_eq!(run(&rolling(1, true), "---"), ["w--", "ww-"], "the first time");
        assert_eq!(run(&rolling(1, true), "ooo"), ["-oo", "woo", "w-o", "wwo", "ww-"], "somebody had started all");
    }

    #[test]
    fn what_was_interrupted_goes_on_or_back() {
        assert_eq!(run(&rolling(1, true), "wo-"), ["wow", "w-w"]);
        // Back: what was new is what is not wanted.
        assert_eq!(run(&rolling(1, true), "wwo"), ["ww-"]);
        assert_eq!(run(&rolling(1, false), "ow"), ["ww"]);
    }

    proptest! {
        #[test]
        fn enough_serve_at_every_moment(text in "[ow-]{2,9}", parallel in 1usize..4, start_first: bool) {
            prop_assume!(text.len() > parallel);
            let rolling = rolling(parallel as u32, start_first);
            let serving = |now: &[Instance]| now.iter().filter(|one| one.active).count();
            let mut now = instances(&text);
            let least = serving(&now).min(text.len() - parallel);
            for _ in 0..100 {
                let Some(lot) = next(&rolling, &now) else { break };
                let (Lot::Restart(names) | Lot::Start(names) | Lot::Stop(names)) = &lot;
                // While they are restarted they serve nobody.
                now.iter_mut().filter(|one| names.contains(&one.name)).for_each(|one| one.active = false);
                prop_assert!(serving(&now) >= least, "{text}: {lot:?}");
                let runs = !matches!(lot, Lot::Stop(_));
                for one in now.iter_mut().filter(|one| names.contains(&one.name)) {
                    (one.active, one.wanted) = (runs, runs);
                }
            }
            prop_assert_eq!(next(&rolling, &now), None);
            prop_assert!(now.iter().all(|one| one.wanted || !one.active), "{}: {:?}", text, now);
        }
    }
}
