//! A service's weight beside its siblings where processors are short, changed while it runs and until the next boot.

use zbus::Variant;

use super::{UnitError, Units, answer::answer, load};
use crate::model::UnitName;

/// `CPUWeight=` of what starts or ends beside live services; those have 100, unless an administrator says otherwise. A
/// number that nobody writes by hand: it is taken back wherever it is found.
const YIELDING: u64 = 21;
/// No `CPUWeight=`.
const UNSET: u64 = u64::MAX;

/// What a service weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Little, where processors are short.
    Yielding,
    /// As much as others have.
    Full,
}

impl Units {
    /// Gives a service its weight (`systemctl set-property --runtime`). One whose weight an administrator has set keeps
    /// that. Where the host has no controller of the processors nothing changes. Without it somebody waits longer: a
    /// failure is told and passed over. Of a unit that is not loaded PID 1 reads the files anew for each of the calls.
    pub async fn weigh(&self, unit: &UnitName, weight: Weight) {
        if let Err(error) = self.set_weight(unit, weight).await {
            tracing::warn!("{error}, ignoring");
        }
    }

    async fn set_weight(&self, unit: &UnitName, weight: Weight) -> Result<(), UnitError> {
        let what = &format!("set the weight of {unit}");
        self.ask(|link| async move {
            let path = load(&link, unit).await?;
            answer(what, async {
                let now = link.service(&path).await?.cpu_weight().await?;
                let Some(weight) = change(now, weight) else { return Ok(()) };
                let weight = [("CPUWeight", Variant::from(weight))];
                link.manager.set_unit_properties(unit.as_str(), true, &weight).await
            })
            .await
        })
        .await
    }
}

/// The weight to set, if any, where this one is.
fn change(now: u64, weight: Weight) -> Option<u64> {
    match (now, weight) {
        (UNSET, Weight::Yielding) => Some(YIELDING),
        (YIELDING, Weight::Full) => Some(UNSET),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_has_set_stays() {
        assert_eq!(change(UNSET, Weight::Yielding), Some(YIELDING));
        assert_eq!(change(YIELDING, Weight::Full), Some(UNSET));
        for now in [UNSET, 20, 100, 500] {
            assert_eq!(change(now, Weight::Full), None);
        }
        for now in [YIELDING, 20, 100, 500] {
            assert_eq!(change(now, Weight::Yielding), None);
        }
    }
}
