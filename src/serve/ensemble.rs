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
