//! The ensemble of the configuration, as the network layer is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use ringkeeper_engine::id::ServerId;
use ringkeeper_net::serve::EnsembleOptions;
use ringkeeper_quorum::election::ElectionTiming;
use ringkeeper_quorum::members::{self, Members};
use ringkeeper_quorum::reconfig::Rules;
use ringkeeper_quorum::zab::Timing;

use crate::config::{self, Config, Membership, PeerAddress, Proposed, Role};

/// This server's number in its ensemble.
///
/// # Errors
/// It is none that a server can have.
pub fn own_number(config: &Config) -> Result<Option<ServerId>, String> {
    let id = config.ensemble.my_id.filter(|_| config.ensemble.is_distributed());
    id.map(server_id).transpose()
}

fn server_id(id: config::ServerId) -> Result<ServerId, String> {
    u8::try_from(id.0).map(ServerId).map_err(|_| format!("server.{id}: a server's number is 255 at most"))
}

/// The ensemble that the configuration names, unless it is a standalone server's.
///
/// # Errors
/// What of it no ensemble can have.
pub fn options(config: &Config) -> Result<Option<EnsembleOptions>, String> {
    let ensemble = &config.ensemble;
    if !ensemble.is_distributed() {
        return Ok(None);
    }
    let tick_ms = u64::from(config.sessions.tick_ms);
    let ticks = |ticks: u32| Duration::from_millis(tick_ms * u64::from(ticks));
    Ok(Some(EnsembleOptions {
        members: members(&ensemble.membership, ensemble.version)?,
        next_members: ensemble.proposed.as_ref().map(proposed).transpose()?,
        timing: Timing {
            tick_ms,
            init_limit: u64::from(ensemble.init_ticks_max),
            sync_limit: u64::from(ensemble.sync_ticks_max),
            election: ElectionTiming {
                resend_ms_min: u64::from(ensemble.notification_interval_min_ms),
                resend_ms_max: u64::from(ensemble.notification_interval_max_ms),
                ..ElectionTiming::default()
            },
            ..Timing::default()
        },
        epoch_transactions_max: ensemble.epoch_transactions_max,
        listen_on_all_ips: ensemble.listen_on_all,
        listen_attempts_max: ensemble.listen_attempts_max,
        keep_alive: ensemble.tcp_keep_alive,
        election_timeout: Duration::from_millis(u64::from(ensemble.election_connect_ms_max)),
        leader_timeout: ticks(ensemble.connect_ticks_max),
        rules: Rules {
            standalone_enabled: ensemble.standalone_enabled,
            multi_address: ensemble.multi_address,
        },
        // What is written must name it wherever the server is started the next time.
        config_file: config.file.as_deref().and_then(|file| std::path::absolute(file).ok()),
    }))
}

fn proposed(Proposed { file, text }: &Proposed) -> Result<Members, String> {
    Members::parse(text).map_err(|error| format!("{file}: {error}"))
}

fn members(membership: &Membership, version: u64) -> Result<Members, String> {
    let mut servers = BTreeMap::new();
    for member in membership.members.values() {
        let address = |address: &PeerAddress| members::PeerAddress {
            host: address.host.clone(),
            quorum_port: address.quorum_port,
            election_port: address.election_port,
        };
        let client = member.client.as_ref().map(|client| members::HostPort {
            host: client.host.clone().unwrap_or_else(|| "0.0.0.0".to_owned()),
            port: client.port,
        });
        let role = match member.role {
            Role::Participant => members::Role::Participant,
            Role::Observer => members::Role::Observer,
        };
        let addresses = member.addresses.iter().map(address).collect();
        servers.insert(server_id(member.id)?, members::Member { addresses, role, client });
    }
    let by_number = |of: &BTreeMap<config::ServerId, u64>| {
        of.iter().map(|(id, value)| Ok((server_id(*id)?, *value))).collect::<Result<BTreeMap<_, _>, String>>()
    };
    let (groups, weights) = (by_number(&membership.groups)?, by_number(&membership.weights)?);
    Members::new(servers, groups, weights, version).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::num::NonZeroUsize;
    use std::path::Path;

    /// Each value is another one than any other key's here, and none is what it is without the key.
    const FILE: &str = "dataDir=/d\nclientPort=2181\ntickTime=100\ninitLimit=70\nsyncLimit=30\n\
        connectToLearnerMasterLimit=40\nquorumListenOnAllIPs=true\nelectionPortBindRetry=9\ntcpKeepAlive=true\n\
        cnxTimeout=1234\nfastleader.minNotificationInterval=150\nfastleader.maxNotificationInterval=1500\n\
        leader.epochTransactionsMax=5000\nmultiAddress.enabled=true\nserver.1=a:1:2;5\n\
        server.2=[::1]:3:4|b:3:4\nserver.3=c:5:6:observer\ngroup.1=1\ngroup.2=2\nweight.2=3\n";

    fn load(more: &str) -> Config {
        let read = |path: &Path| match path == Path::new("/d/myid") {
            true => Ok(b"2".to_vec()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let text = format!("{FILE}{more}");
        let input = config::Input {
            file: Some(config::File { name: "zoo.cfg", bytes: text.as_bytes() }),
            environment: &BTreeMap::new(),
            overrides: &[],
            cores_available: NonZeroUsize::MIN,
            read: &read,
        };
        config::load(&input).expect("it is sound").0
    }

    #[test]
    fn each_key_of_an_ensemble_arrives_where_it_counts() {
        let config = load("");
        assert_eq!(own_number(&config), Ok(Some(ServerId(2))));
        let told = options(&config).expect("an ensemble can have it").expect("it is one");
        let members = "server.1=a:1:2:participant;0.0.0.0:5\nserver.2=[::1]:3:4|b:3:4:participant\n\
            server.3=c:5:6:observer\ngroup.1=1\ngroup.2=2\nweight.1=1\nweight.2=3\nversion=0";
        assert_eq!(told.members.to_string(), members);
        let election =
            ElectionTiming { resend_ms_min: 150, resend_ms_max: 1500, ..ElectionTiming::default() };
        let timing = Timing { tick_ms: 100, init_limit: 70, sync_limit: 30, election, ..Timing::default() };
        assert_eq!(told.timing, timing);
        assert_eq!((told.epoch_transactions_max, told.listen_attempts_max), (5000, 9));
        assert_eq!((told.listen_on_all_ips, told.keep_alive), (true, true));
        let timeouts = [told.election_timeout, told.leader_timeout].map(|timeout| timeout.as_millis());
        assert_eq!(timeouts, [1234, 4000]);
        assert_eq!(told.rules, Rules { standalone_enabled: true, multi_address: true });
        let alone = options(&load("standaloneEnabled=false")).expect("it can").expect("it is one");
        assert!(!alone.rules.standalone_enabled);
    }
}
