//! `ringkeeper serve`: loads the configuration, says what is worth saying about it, and runs the server.

mod ensemble;

use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU32, NonZeroU64};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ringkeeper_engine::id::ServerId;
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{self, SyncMode};
use ringkeeper_net::background::CheckpointPolicy;
use ringkeeper_net::client::commands::{Facts, Whitelist};
use ringkeeper_net::listen::ListenOptions;
use ringkeeper_net::ring::Runtime;
use ringkeeper_net::serve::Options;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{self, ServeArgs};
use crate::config::{Config, FourLetterWords, HostPort, LogSync, Purge, RingRuntime};
use crate::ensemble::end_with;

/// The configuration cannot be used; ZooKeeper exits with the same code.
const BAD_CONFIGURATION: u8 = 2;

/// Runs a server as the command line asks. Notices and errors go to standard error.
pub fn main(args: &ServeArgs) -> ExitCode {
    if let Some(Err(text)) = args.end_with.map(end_with) {
        eprintln!("error: {text}");
        return ExitCode::FAILURE;
    }
    let overrides = match args.overrides() {
        Ok(overrides) => overrides,
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let config = match cli::load_config(args.file.as_deref(), &overrides) {
        Ok((config, notices)) => {
            // Standard error has no buffer: each piece of a notice would be a write of its own.
            let lines = notices.iter().map(|notice| format!("{notice}\n"));
            eprint!("{}", lines.collect::<String>());
            config
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if !config.unservable.is_empty() {
        config.unservable.iter().for_each(|error| eprintln!("{error}"));
        return ExitCode::from(BAD_CONFIGURATION);
    }
    start_messages();
    raise_open_files();
    ringkeeper_net::serve::end_on_panic();
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The server's messages go to standard error; the variable `RUST_LOG` filters them, by default to `info`.
fn start_messages() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
}

/// As many files may be open as whoever started the server allows at most: each client is one, and the soft
/// limit is for programs that cannot take higher numbers. Java does the same.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let shown = |files: Option<u64>| files.map_or("any number of".to_owned(), |files| files.to_string());
    let (before, after) = (shown(limit.current), shown(limit.maximum));
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => debug!("{after} files may be open, no longer {before}"),
        Err(error) => warn!("no more than {before} files may be open: {error}"),
    }
}

/// The number of a standalone server, in the high byte of its session ids, as ZooKeeper's.
const STANDALONE_SERVER: ServerId = ServerId(1);
/// Connections that wait to be accepted, where nobody says how many: as many as Linux lets wait by default
/// (`net.core.somaxconn`, which also bounds what is asked for). ZooKeeper asks for 50, Java's default: where more
/// clients come at once, as they do when a server is back, the kernel forgets the rest, and each of them tries
/// again after a second or more. They cost nothing until they come.
const BACKLOG: u32 = 4096;

/// Serves until the process is told to stop.
///
/// # Errors
///
/// Why the server could not start or had to end.
pub fn run(config: &Config) -> Result<(), String> {
    let options = server_options(config)?;
    let data = options.data_dir.clone();
    let ready = |address| {
        println!("serving ZooKeeper clients on {address}, data in {}, stop with Ctrl-C", data.display());
    };
    ringkeeper_net::serve::serve(options, ready).map_err(|error| error.to_string())
}

/// What the network layer is told of the configuration.
fn server_options(config: &Config) -> Result<Options, String> {
    for directory in [&config.storage.data_dir, &config.storage.data_log_dir] {
        if !config.storage.directories_created && !directory.is_dir() {
            return Err(format!("{} is missing, and datadir.autocreate is false", directory.display()));
        }
    }
    let settings = settings(config);
    Ok(Options {
        listen: resolve(&config.listen.address)?,
        listening: ListenOptions {
            backlog: config.listen.backlog.map_or(BACKLOG, NonZeroU32::get) as i32,
            keep_alive: config.listen.tcp_keep_alive,
        },
        cores: u16::try_from(config.cores.get())
            .map_err(|_| format!("{} cores are too many", config.cores))?,
        runtime: match config.runtime {
            RingRuntime::Own => Runtime::Own,
            RingRuntime::TokioUring => Runtime::TokioUring,
        },
        spin: Duration::from_micros(config.spin_us.into()),
        stage_trace: config.stage_trace,
        data_dir: config.storage.data_dir.clone(),
        data_log_dir: config.storage.data_log_dir.clone(),
        server: ensemble::own_number(config)?.unwrap_or(STANDALONE_SERVER),
        ensemble: ensemble::options(config)?,
        settings: settings.clone(),
        log: log::Settings {
            sync: match config.log.sync {
                LogSync::Fdatasync => SyncMode::Fdatasync,
                LogSync::Dsync => SyncMode::Dsync,
                LogSync::Direct => SyncMode::Direct,
                LogSync::None => SyncMode::None,
            },
            max_delay_us: config.log.group_delay_us_max,
            max_batch_bytes: config.log.group_bytes_max,
            segment_bytes: config.log.segment_bytes,
            ..log::Settings::default()
        },
        slow_sync_ms: config.log.slow_sync_ms,
        checkpoints: CheckpointPolicy {
            bytes_per_second_max: config.checkpoint.bytes_per_second_max.map_or(0, NonZeroU64::get),
            keep: match config.retention.purge {
                Purge::Never => None,
                Purge::Default | Purge::EveryHours(_) => Some(config.retention.checkpoints_kept as usize),
            },
        },
        facts: Facts {
            whitelist: match &config.four_letter_words {
                FourLetterWords::All => Whitelist::All,
                FourLetterWords::Only(words) => Whitelist::Only(words.clone()),
            },
            settings: Arc::new(settings),
            listen_backlog: config.listen.backlog.map(NonZeroU32::get),
            ..Facts::default()
        },
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        // No log takes a transaction that is longer, and no server's peers a request.
        jute_max_buffer: (config.limits.request_bytes_max as usize).min(log::ENTRY_BYTES_MAX),
        transaction_bytes_max: config.limits.request_bytes_max as usize
            + config.limits.transaction_extra_bytes_max as usize,
        tick_ms: config.sessions.tick_ms,
        min_session_timeout_ms: config.sessions.timeout_min_ms,
        max_session_timeout_ms: config.sessions.timeout_max_ms,
        extended_types_enabled: config.nodes.extended_types,
        skip_acl: config.access.acl_skipped,
        enforce_quota: config.nodes.quota_enforced,
        reconfig_enabled: config.ensemble.reconfig_enabled,
        leader_serves: config.ensemble.leader_serves,
        digest_enabled: config.ensemble.digest,
        local_sessions_enabled: config.ensemble.local_sessions,
        local_sessions_upgrading_enabled: config.ensemble.local_sessions_upgraded,
        read_only_mode_enabled: config.ensemble.read_only_mode,
        super_digest: config.access.super_digest.as_ref().map(|secret| secret.expose().to_owned()),
        digest_auth_enabled: config.access.digest_scheme,
        container_check_interval_ms: config.nodes.container_check_interval_ms,
        container_max_per_minute: config.nodes.container_removals_per_minute_max,
        container_max_never_used_ms: config.nodes.container_unused_ms_max.map_or(0, NonZeroU64::get),
        global_outstanding_limit: config.limits.outstanding_requests_max,
        max_client_cnxns: config.listen.connections_per_address_max.map_or(0, NonZeroU32::get),
        max_cnxns: config.listen.connections_max.map_or(0, NonZeroU32::get),
        snap_count: config.checkpoint.transactions_max.map_or(0, NonZeroU32::get),
        snap_log_bytes: config.checkpoint.log_bytes_max.map_or(0, NonZeroU64::get),
    }
}

/// The first address of a name; no name is every address of the machine.
fn resolve(address: &HostPort) -> Result<SocketAddr, String> {
    let Some(host) = &address.host else {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port)));
    };
    let mut found = (host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(|error| format!("clientPortAddress {host} cannot be resolved: {error}"))?;
    found.next().ok_or_else(|| format!("clientPortAddress {host} has no address"))
}
