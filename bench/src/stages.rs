//! How long batches were at each stage inside the server, as this project's says it in `mntr` (`zk_stage_`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
const PREFIX: &str = "zk_stage_";

/// A stage over a run and its warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Its name in `mntr`.
    pub name: String,
    /// Batches of the run.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// Half took no longer, since the server's counters began.
    pub p50_us: u64,
    /// 99 of 100 took no longer, since then.
    pub p99_us: u64,
}

/// What a server counted until a moment, in the order in which it says it.
#[derive(Default)]
pub struct Counted(Vec<(String, BTreeMap<String, f64>)>);

impl Counted {
    /// Of one server; nothing if it counts no stages, is another, or may not be asked `mntr`. Several
    /// servers are not one: whose percentiles would it be?
    pub fn ask(servers: &[SocketAddr]) -> Counted {
        let [server] = servers else { return Counted::default() };
        Counted::parse(&mntr(*server).unwrap_or_default())
    }

    fn parse(answer: &str) -> Counted {
        let mut stages: Vec<(String, BTreeMap<String, f64>)> = Vec::new();
        for line in answer.lines() {
            let Some((key, value)) = line.strip_prefix(PREFIX).and_then(|line| line.split_once('\t')) else {
                continue;
            };
            let kinds = ["count", "sum_us", "p50_us", "p99_us"];
            let Some(kind) = kinds.into_iter().find(|kind| key.ends_with(&format!("_{kind}"))) else {
                continue;
            };
            let (name, Ok(value)) = (&key[..key.len() - kind.len() - 1], value.parse()) else { continue };
            if stages.last().is_none_or(|(last, _)| last != name) {
                stages.push((name.to_owned(), BTreeMap::new()));
            }
            stages.last_mut().expect("just added").1.insert(kind.to_owned(), value);
        }
        Counted(stages)
    }

    /// What happened since `before`; stages that nothing came to are left out.
    pub fn since(&self, before: &Counted) -> Vec<StageReport> {
        let value = |of: &BTreeMap<String, f64>, kind| of.get(kind).copied().unwrap_or(0.0);
        let report = |(name, now): &(String, BTreeMap<String, f64>)| {
            let then = before.0.iter().find(|(known, _)| known == name).map(|(_, then)| then);
            let grown = |kind| value(now, kind) - then.map_or(0.0, |then| value(then, kind));
            let count = grown("count");
            (count > 0.0).then(|| StageReport {
                name: name.clone(),
                count: count as u64,
                mean_us: grown("sum_us") / count,
                p50_us: value(now, "p50_us") as u64,
                p99_us: value(now, "p99_us") as u64,
            })
        };
        self.0.iter().filter_map(report).collect()
    }
}

fn mntr(server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"mntr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StageReport { name, count, mean_us, p50_us, p99_us } = self;
        write!(f, "{name:<11}{count:>12}{mean_us:>11.1}{p50_us:>11}{p99_us:>11}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_of_the_run_and_percentiles_are_of_all() {
        let answer = |count: u64, sum: u64| {
            format!(
                "zk_version\t3.9.5\nzk_stage_log_wait_count\t{count}\nzk_stage_log_wait_sum_us\t{sum}\n\
                 zk_stage_log_wait_avg_us\t1.5\nzk_stage_log_wait_p50_us\t7\nzk_stage_log_wait_p99_us\t9\n\
                 zk_stage_read_count\t0\nzk_stage_read_sum_us\t0\nzk_uptime\t5\n"
            )
        };
        let (before, after) = (Counted::parse(&answer(10, 100)), Counted::parse(&answer(14, 130)));
        let expected = StageReport { name: "log_wait".into(), count: 4, mean_us: 7.5, p50_us: 7, p99_us: 9 };
        assert_eq!(after.since(&before), [expected]);
        assert!(Counted::parse("mntr is not executed because it is not in the whitelist.\n").0.is_empty());
    }
}
