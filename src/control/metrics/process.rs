//! Metrics of the process: what it is, its configuration, its API.

use super::basis::Basis;
use super::family::{Family, Samples, Source};

const fn few(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&Basis, &mut Samples<'_>),
) -> Family {
    Family { name, labels, help, source: Source::Few(write) }
}

/// Without a label, or with one of a few values.
pub(super) static FAMILIES: [Family; 16] = [
    few(
        "tidegate_build_info",
        &["version", "revision", "dpdk"],
        "1, with the program's version, the commit that it was built from and its DPDK",
        |_, samples| {
            let labels = [
                ("version", env!("TIDEGATE_VERSION")),
                ("revision", env!("GIT_REVISION")),
                ("dpdk", env!("DPDK_VERSION")),
            ];
            samples.put(&labels, 1_u64);
        },
    ),
    few("tidegate_start_time_seconds", &[], "When the process started, since 1970", |basis, samples| {
        samples.put(&[], basis.now.saturating_sub(basis.rest.uptime).as_secs_f64());
    }),
    few("tidegate_workers", &[], "How many workers there are", |basis, samples| {
        samples.put(&[], basis.workers().len() as u64);
    }),
    few("tidegate_config_generation", &[], "Number of the newest snapshot of the configuration", |basis, samples| {
        samples.put(&[], basis.rest.generation);
    }),
    few(
        "tidegate_config_loaded_time_seconds",
        &[],
        "When the running configuration was loaded, since 1970",
        |basis, samples| {
            samples.put(&[], basis.now.saturating_sub(basis.rest.loaded).as_secs_f64());
        },
    ),
    few(
        "tidegate_reloads_total",
        &["state"],
        "Reloads by what became of them: done, refused, or taken back after all",
        |basis, samples| {
            let reloads = &basis.rest.reloads;
            let counts = [("done", reloads.done), ("refused", reloads.refused), ("taken_back", reloads.taken_back)];
            counts.iter().for_each(|(state, count)| samples.put(&[("state", state)], *count));
        },
    ),
    few("tidegate_reload_last_failed", &[], "1 if the last reload was refused or taken back", |basis, samples| {
        samples.put(&[], basis.rest.has_reload_error);
    }),
    few(
        "tidegate_reload_last_time_seconds",
        &[],
        "When a reload was last tried, since 1970; none before the first",
        |basis, samples| {
            let since = |last: std::time::SystemTime| last.duration_since(std::time::UNIX_EPOCH).ok();
            if let Some(last) = basis.rest.reloads.last.and_then(since) {
                samples.put(&[], last.as_secs_f64());
            }
        },
    ),
    few("tidegate_reload_unconfirmed", &[], "1 while a reload waits for its confirmation", |basis, samples| {
        samples.put(&[], basis.rest.unconfirmed);
    }),
    few(
        "tidegate_backends_by_command",
        &[],
        "Backends that differ from the configuration by command",
        |basis, samples| {
            samples.put(&[], basis.rest.by_command as u64);
        },
    ),
    few(
        "tidegate_floods_total",
        &["reason"],
        "Floods that began: bursts of drops and the like that the log has a line about",
        |basis, samples| {
            basis.rest.floods.iter().for_each(|(reason, count)| samples.put(&[("reason", reason)], *count));
        },
    ),
    few("tidegate_mbufs", &[], "Packet buffers of the pool", |basis, samples| {
        samples.put(&[], basis.ports.first().map_or(0, |port| port.mbufs_total));
    }),
    few("tidegate_mbufs_in_use", &[], "Packet buffers out of the pool", |basis, samples| {
        samples.put(&[], basis.ports.first().map_or(0, |port| port.mbufs_in_use));
    }),
    few("tidegate_api_connections", &[], "TCP connections of the API's clients", |basis, samples| {
        samples.put(&[], basis.rest.door.connections);
    }),
    few(
        "tidegate_api_connections_closed_total",
        &[],
        "TCP connections of the API that were closed to make room for newer ones",
        |basis, samples| {
            samples.put(&[], basis.rest.door.evicted);
        },
    ),
    few("tidegate_api_refused_total", &["reason"], "Requests over TCP that were refused", |basis, samples| {
        basis.rest.door.refused.iter().for_each(|(reason, count)| samples.put(&[("reason", reason)], *count));
    }),
];
