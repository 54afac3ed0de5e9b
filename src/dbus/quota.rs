//! How much one user may have going on at once, so that nobody keeps the service from others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Error;

/// A limit for each user.
#[derive(Debug, Clone)]
pub struct Quota {
    what: &'static str,
    limit: usize,
    taken: Arc<Mutex<HashMap<u32, usize>>>,
}

/// One of a user's share, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    uid: u32,
    taken: Arc<Mutex<HashMap<u32, usize>>>,
}

impl Quota {
    /// At most `limit` of `what` (a plural, for the message) for each user.
    pub fn new(what: &'static str, limit: usize) -> Self {
        Self { what, limit, taken: Arc::default() }
    }

    /// Takes one.
    pub fn take(&self, uid: u32) -> Result<Ticket, Error> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(uid).or_default();
        if *count >= self.limit {
            return Err(Error::LimitsExceeded(format!(
                "user {uid} has {} {} already, which is the most; wait for one to end",
                self.limit, self.what
            )));
        }
        *count += 1;
        Ok(Ticket { uid, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_share_harms_no_other_user_and_is_given_back() {
        let quota = Quota::new("requests", 2);
        let held = [quota.take(1).unwrap(), quota.take(1).unwrap()];
        assert!(matches!(quota.take(1), Err(Error::LimitsExceeded(_))));
        assert!(quota.take(2).is_ok());
        drop(held);
        assert!(quota.take(1).is_ok());
        drop(quota.take(1));
        assert!(quota.taken.lock().unwrap().is_empty());
    }
}
