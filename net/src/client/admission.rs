//! How many connections one address, and all of them, may have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// Counts connections of every core. Asked once a connection, so a lock is cheap enough.
pub struct Admission {
    per_address: u32,
    in_all: u32,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl Admission {
    /// Zero is no limit.
    pub fn new(per_address: u32, in_all: u32) -> Self {
        Admission { per_address, in_all, counts: Mutex::default() }
    }

    /// A connection came.
    ///
    /// # Errors
    /// Why it is one too many.
    pub fn enter(&self, address: IpAddr) -> Result<(), String> {
        let mut counts = self.counts.lock().expect("no holder panics");
        let all = counts.all;
        if self.in_all > 0 && all >= self.in_all {
            return Err(format!("there are {all} connections, maxCnxns is {}", self.in_all));
        }
        let count = counts.by_address.entry(address).or_default();
        if self.per_address > 0 && *count >= self.per_address {
            return Err(format!("{address} has {count}, maxClientCnxns is {}", self.per_address));
        }
        *count += 1;
        counts.all += 1;
        Ok(())
    }

    /// A connection that was let in went.
    pub fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock().expect("no holder panics");
        if let Some(count) = counts.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
            counts.all -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_share_and_gets_it_back() {
        let admission = Admission::new(2, 3);
        let [a, b] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        assert!(admission.enter(a).is_ok());
        assert!(admission.enter(a).is_ok());
        assert!(admission.enter(a).is_err());
        assert!(admission.enter(b).is_ok());
        assert!(admission.enter(b).is_err(), "three in all");
        admission.leave(a);
        assert!(admission.enter(b).is_ok());
    }
}
