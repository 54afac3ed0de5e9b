//! The name of one slot's unit: `app-octane@shop:a`. The link to its release and the instance of its drain are named
//! by it too, so that two services of one app in slots of the same letter stay apart.

use std::{fmt, str::FromStr};

use super::{AppName, BadName, Slot, SlotInstance, UnitName};

/// A slot's unit, without its suffix: `TEMPLATE@APP:SLOT`. The first `@` ends the template's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotUnit {
    template: String,
    instance: SlotInstance,
    unit: UnitName,
}

impl SlotUnit {
    /// The slot of an app's service with this template unit: `app-octane` (without `@.service`).
    pub fn new(template: &str, app: &AppName, slot: Slot) -> Result<Self, BadName> {
        let instance = SlotInstance { app: app.clone(), slot };
        let unit = format!("{template}@{instance}.service").parse()?;
        if template.is_empty() || template.contains('@') {
            return Err(BadName::slot_unit(template));
        }
        Ok(Self { template: template.into(), instance, unit })
    }

    /// The template's name, without `@.service`.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Whose.
    pub fn app(&self) -> &AppName {
        &self.instance.app
    }

    /// Which.
    pub fn slot(&self) -> Slot {
        self.instance.slot
    }

    /// `APP:SLOT`.
    pub fn instance(&self) -> &SlotInstance {
        &self.instance
    }

    /// `app-octane@shop:a.service`.
    pub fn unit(&self) -> &UnitName {
        &self.unit
    }
}

impl fmt::Display for SlotUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.template, self.instance)
    }
}

impl FromStr for SlotUnit {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (template, instance) = text.split_once('@').ok_or_else(|| BadName::slot_unit(text))?;
        let SlotInstance { app, slot } = instance.parse()?;
        Self::new(template, &app, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_unit_is_read_back_from_its_name() {
        for text in ["app-fpm@my-shop:a", "shop-web@shop:d"] {
            let unit: SlotUnit = text.parse().unwrap();
            assert_eq!(unit.to_string(), text);
            assert_eq!(unit.unit().as_str(), format!("{text}.service"));
        }
        for bad in ["app-fpm", "app-fpm@", "@shop:a", "app-fpm@shop", "app-fpm@shop:e", "a@b@shop:a", "a/b@shop:a", ""]
        {
            assert!(bad.parse::<SlotUnit>().is_err(), "{bad:?}");
        }
    }
}
