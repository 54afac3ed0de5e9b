//! A service's share of the processors beside its siblings, changed while it runs and until the next boot.

use zbus::Variant;

use super::{UnitError, Units, answer::answer, load};
use crate::model::UnitName;

/// `CPUWeight=` of what starts or ends beside live services; those have 100, unless an administrator says otherwise.
const YIELDING: u64 = 20;
/// No `CPUWeight=`.
const UNSET: u64 = u64::MAX;

/// What share a service is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Little, where processors are short.
    Yielding,
    /// As much as others have.
    Full,
}

impl Units {
    /// Gives a service its share (`systemctl set-property --runtime`). One whose weight an administrator has set keeps
    /// that. Where the host has no controller of the processors nothing changes.
    pub async fn give_share(&self, unit: &UnitName, share: Share) -> Result<(), UnitError> {
        let what = &format!("set the weight of {unit}");
        self.ask(|link| async move {
            let path = load(&link, unit).await?;
            answer(what, async {
                let now = link.service(&path).await?.cpu_weight().await?;
                let Some(weight) = change(now, share) else { return Ok(()) };
                let weight = [("CPUWeight", Variant::from(weight))];
                link.manager.set_unit_properties(unit.as_str(), true, &weight).await
            })
            .await
        })
        .await
    }
}

/// The weight to set, if any, where this one is.
fn change(now: u64, share: Share) -> Option<u64> {
    match (now, share) {
        (UNSET, Share::Yielding) => Some(YIELDING),
        (YIELDING, Share::Full) => Some(UNSET),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_has_set_stays() {
        assert_eq!(change(UNSET, Share::Yielding), Some(YIELDING));
        assert_eq!(change(YIELDING, Share::Full), Some(UNSET));
        for now in [UNSET, 100, 500] {
            assert_eq!(change(now, Share::Full), None);
        }
        for now in [YIELDING, 100, 500] {
            assert_eq!(change(now, Share::Yielding), None);
        }
    }
}
