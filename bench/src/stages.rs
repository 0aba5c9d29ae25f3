//! How long batches were at each stage inside each server, as this project's say it in `mntr` (`zk_stage_`).
//! Several servers are never one: a leader and its followers do different work, and percentiles do not add.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
const PREFIX: &str = "zk_stage_";
const ROLE: &str = "zk_server_state";

/// A stage of a server over a run and its warm-up.
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

/// The stages of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStages {
    /// Its client port.
    pub server: SocketAddr,
    /// What it calls itself at the end: standalone, leader, follower, observer.
    pub role: String,
    /// In the order in which it says them.
    pub stages: Vec<StageReport>,
}

/// What servers counted until a moment.
pub struct Counted(Vec<Counts>);

/// One server's part of it.
struct Counts {
    server: SocketAddr,
    role: String,
    stages: Vec<(String, BTreeMap<String, f64>)>,
}

impl Counted {
    /// Of each server; nothing of one that counts no stages, is another, or may not be asked `mntr`.
    pub fn ask(servers: &[SocketAddr]) -> Counted {
        let ask = |&server: &SocketAddr| Counts::parse(server, &mntr(server).unwrap_or_default());
        Counted(servers.iter().map(ask).collect())
    }

    /// What happened since `before`; stages that nothing came to are left out, and servers without any.
    pub fn since(&self, before: &Counted) -> Vec<ServerStages> {
        let of = |now: &Counts| {
            let then = before.0.iter().find(|then| then.server == now.server);
            let (server, role) = (now.server, now.role.clone());
            ServerStages { server, role, stages: now.since(then) }
        };
        self.0.iter().map(of).filter(|of| !of.stages.is_empty()).collect()
    }
}

impl Counts {
    fn parse(server: SocketAddr, answer: &str) -> Counts {
        let mut stages: Vec<(String, BTreeMap<String, f64>)> = Vec::new();
        let mut role = String::new();
        for (key, value) in answer.lines().filter_map(|line| line.split_once('\t')) {
            if key == ROLE {
                role = value.to_owned();
            }
            let kinds = ["count", "sum_us", "p50_us", "p99_us"];
            let Some(stage) = key.strip_prefix(PREFIX) else { continue };
            let Some(kind) = kinds.into_iter().find(|kind| stage.ends_with(&format!("_{kind}"))) else {
                continue;
            };
            let (name, Ok(value)) = (&stage[..stage.len() - kind.len() - 1], value.parse()) else { continue };
            if stages.last().is_none_or(|(last, _)| last != name) {
                stages.push((name.to_owned(), BTreeMap::new()));
            }
            stages.last_mut().expect("just added").1.insert(kind.to_owned(), value);
        }
        Counts { server, role, stages }
    }

    fn since(&self, before: Option<&Counts>) -> Vec<StageReport> {
        let value = |of: &BTreeMap<String, f64>, kind| of.get(kind).copied().unwrap_or(0.0);
        let report = |(name, now): &(String, BTreeMap<String, f64>)| {
            let mut known = before.into_iter().flat_map(|before| &before.stages);
            let then = known.find(|(known, _)| known == name).map(|(_, then)| then);
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
        self.stages.iter().filter_map(report).collect()
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

impl fmt::Display for ServerStages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerStages { server, role, stages } = self;
        writeln!(f, "in {server}, {role}:")?;
        writeln!(f, "{:<11}{:>12}{:>11}{:>11}{:>11}", "stage", "batches", "mean µs", "p50 µs", "p99 µs")?;
        stages.iter().try_for_each(|stage| writeln!(f, "{stage}"))
    }
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
    use std::net::TcpListener;
    use std::thread;

    /// A server's answer, of batches that are as long as it has written.
    fn answer(role: &str, count: u64, sum_us: u64) -> String {
        format!(
            "zk_version\t3.9.5\nzk_server_state\t{role}\nzk_stage_log_wait_count\t{count}\n\
             zk_stage_log_wait_sum_us\t{sum_us}\nzk_stage_log_wait_avg_us\t1.5\nzk_stage_log_wait_p50_us\t7\n\
             zk_stage_log_wait_p99_us\t9\nzk_stage_read_count\t0\nzk_stage_read_sum_us\t0\nzk_uptime\t5\n"
        )
    }

    /// Answers so often, each time with the next text.
    fn serve(answers: [String; 2]) -> (SocketAddr, thread::JoinHandle<std::io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            answers.into_iter().try_for_each(|answer| {
                let (mut stream, _) = listener.accept()?;
                stream.read_exact(&mut [0; 4])?;
                stream.write_all(answer.as_bytes())
            })
        });
        (address, serving)
    }

    #[test]
    fn a_mean_is_of_the_run_and_percentiles_are_of_all() {
        let server = "127.0.0.1:1".parse().unwrap();
        let counted = |answer: &str| Counted(vec![Counts::parse(server, answer)]);
        let before = counted(&answer("standalone", 10, 100));
        let found = counted(&answer("standalone", 14, 130)).since(&before);
        let stage = StageReport { name: "log_wait".into(), count: 4, mean_us: 7.5, p50_us: 7, p99_us: 9 };
        assert_eq!(found, [ServerStages { server, role: "standalone".into(), stages: vec![stage] }]);
        let refused = counted("mntr is not executed because it is not in the whitelist.\n");
        assert!(refused.since(&before).is_empty());
    }

    #[test]
    fn each_server_of_an_ensemble_is_told_by_itself_with_its_role() {
        let (leader, leading) = serve([answer("leader", 0, 0), answer("leader", 2, 40)]);
        let (follower, following) = serve([answer("follower", 5, 50), answer("follower", 8, 56)]);
        let before = Counted::ask(&[leader, follower]);
        let found = Counted::ask(&[leader, follower]).since(&before);
        let told: Vec<_> = found
            .iter()
            .map(|of| (of.server, &of.role[..], of.stages[0].count, of.stages[0].mean_us))
            .collect();
        assert_eq!(told, [(leader, "leader", 2, 20.0), (follower, "follower", 3, 2.0)]);
        for serving in [leading, following] {
            serving.join().unwrap().unwrap();
        }
        let printed: String = found.iter().map(ToString::to_string).collect();
        for of in [format!("in {leader}, leader:"), format!("in {follower}, follower:")] {
            assert!(printed.contains(&of), "{printed}");
        }
    }
}
