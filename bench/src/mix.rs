//! Chance in a load: which operation comes next, and of which node.

use crate::failure::Failure;
use crate::workload::{Distribution, Operation, Settings};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The largest weight of an operation.
const WEIGHT_MAX: u32 = 1_000_000;
/// Spreads neighbours in popularity over the directories. A prime above every count of nodes, so that no
/// two of them fall together.
const SPREAD: u64 = 2_654_435_761;

/// Operations and how often each comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mix {
    /// At least one; weights above 0, no operation twice.
    parts: Vec<(Operation, u32)>,
    total: u32,
}

impl Mix {
    /// Of one operation alone.
    pub fn one(operation: Operation) -> Mix {
        Mix { parts: vec![(operation, 1)], total: 1 }
    }

    /// getData and setData.
    ///
    /// # Errors
    /// A share above 100 %.
    pub fn read_write(read_percent: u8) -> Result<Mix, Failure> {
        let write_percent = 100u8.checked_sub(read_percent);
        let write_percent = write_percent
            .ok_or_else(|| Failure::Option(format!("--read-percent {read_percent}: expected 0 to 100")))?;
        let parts = [(Operation::Get, u32::from(read_percent)), (Operation::Set, u32::from(write_percent))];
        Ok(Mix { parts: parts.into_iter().filter(|&(_, weight)| weight > 0).collect(), total: 100 })
    }

    /// The operations, in the order in which they were given.
    pub fn operations(&self) -> impl Iterator<Item = Operation> + '_ {
        self.parts.iter().map(|&(operation, _)| operation)
    }

    /// Whether any operation is like that.
    pub fn any(&self, is: impl Fn(Operation) -> bool) -> bool {
        self.operations().any(is)
    }

    /// The next one.
    fn choose(&self, rng: &mut fastrand::Rng) -> Operation {
        if let [(operation, _)] = self.parts[..] {
            return operation;
        }
        let mut at = rng.u32(..self.total);
        for &(operation, weight) in &self.parts {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return operation,
            }
        }
        unreachable!("the weights add up to the total")
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `set`, or several with their weights: `get=80,set=20`.
    fn from_str(text: &str) -> Result<Mix, String> {
        let names = Operation::MEASURED.map(Operation::name).join(", ");
        let mut parts: Vec<(Operation, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let operation = Operation::MEASURED.into_iter().find(|operation| operation.name() == name);
            let operation =
                operation.ok_or_else(|| format!("`{name}` is no operation; expected {names}, or mix"))?;
            let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
            let weight = weight.ok_or_else(|| format!("the weight of {name}: expected 1 to {WEIGHT_MAX}"))?;
            if parts.iter().any(|&(other, _)| other == operation) {
                return Err(format!("{name} comes twice"));
            }
            parts.push((operation, weight));
        }
        let total = parts.iter().map(|&(_, weight)| weight).sum();
        Ok(Mix { parts, total })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(operation, _)] = self.parts[..] {
            return write!(f, "{}", operation.name());
        }
        for (number, (operation, weight)) in self.parts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}={weight}", operation.name())?;
        }
        Ok(())
    }
}

impl From<Mix> for String {
    fn from(mix: Mix) -> String {
        mix.to_string()
    }
}

impl TryFrom<String> for Mix {
    type Error = String;

    fn try_from(text: String) -> Result<Mix, String> {
        text.parse()
    }
}

/// Chooses operations and nodes, from a seed.
pub struct Chooser {
    mix: Mix,
    keys: u64,
    rng: fastrand::Rng,
    zipf: Option<(Zipf<f64>, SmallRng)>,
}

impl Chooser {
    /// Of checked settings.
    pub fn new(settings: &Settings) -> Chooser {
        let zipf = || {
            let zipf = Zipf::new(settings.keys as f64, settings.zipf_exponent).expect("checked");
            (zipf, SmallRng::seed_from_u64(settings.seed))
        };
        Chooser {
            mix: settings.mix.clone(),
            keys: settings.keys,
            rng: fastrand::Rng::with_seed(settings.seed),
            zipf: (settings.distribution == Distribution::Zipf).then(zipf),
        }
    }

    /// The next operation.
    pub fn operation(&mut self) -> Operation {
        self.mix.choose(&mut self.rng)
    }

    /// The next node.
    pub fn node(&mut self) -> u64 {
        match &mut self.zipf {
            None => self.rng.u64(..self.keys),
            Some((zipf, rng)) => {
                let rank = zipf.sample(rng) as u64 - 1;
                rank * SPREAD % self.keys
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::settings;
    use std::collections::BTreeMap;

    fn any_settings() -> Settings {
        settings("127.0.0.1:1".parse().unwrap())
    }

    #[test]
    fn a_mix_is_read_as_it_is_written() {
        for text in ["set", "get=80,set=20", "create=1,delete=1,ephemeral=3"] {
            let mix: Mix = text.parse().unwrap();
            assert_eq!(mix.to_string(), text);
        }
        assert_eq!(Mix::read_write(80).unwrap().to_string(), "get=80,set=20");
        assert_eq!(Mix::read_write(100).unwrap().to_string(), "get");
    }

    #[test]
    fn what_is_wrong_with_a_mix_is_named() {
        for (text, part) in [
            ("gte", "`gte` is no operation"),
            ("", "`` is no operation"),
            ("close", "`close` is no operation"),
            ("get=0", "the weight of get"),
            ("get=1000001,set=1", "the weight of get"),
            ("get=1,get=2", "get comes twice"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.starts_with(part), "{error}");
        }
    }

    #[test]
    fn operations_come_as_often_as_their_weights_say() {
        let mut chooser =
            Chooser::new(&Settings { mix: "get=70,set=20,multi=10".parse().unwrap(), ..any_settings() });
        let mut counts: BTreeMap<Operation, u32> = BTreeMap::new();
        (0..10_000).for_each(|_| *counts.entry(chooser.operation()).or_default() += 1);
        for (operation, expected) in
            [(Operation::Get, 7000), (Operation::Set, 2000), (Operation::Multi, 1000)]
        {
            assert!(counts[&operation].abs_diff(expected) < 200, "{counts:?}");
        }
    }

    #[test]
    fn zipfs_law_holds_and_every_node_can_come() {
        let settings =
            Settings { distribution: Distribution::Zipf, zipf_exponent: 1.0, keys: 50, ..any_settings() };
        let mut chooser = Chooser::new(&settings);
        let mut counts = vec![0u32; 50];
        (0..100_000).for_each(|_| counts[chooser.node() as usize] += 1);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // 1, 1/2, 1/3 … of the most popular.
        for (place, count) in counts.iter().enumerate().take(10) {
            let expected = f64::from(counts[0]) / (place + 1) as f64;
            assert!((f64::from(*count) / expected - 1.0).abs() < 0.15, "{counts:?}");
        }
    }

    #[test]
    fn uniform_nodes_come_alike() {
        let mut chooser = Chooser::new(&Settings { keys: 10, ..any_settings() });
        let mut counts = [0u32; 10];
        (0..10_000).for_each(|_| counts[chooser.node() as usize] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    }
}
