//! The arguments that EAL is started with: the configuration's, and what it leaves out.

/// What decides about the arguments.
#[derive(Clone, Debug, Default)]
pub struct EalPlan {
    /// From the configuration and the command line, in this order.
    pub given: Vec<String>,
    /// Devices of the ports, as configured.
    pub devices: Vec<String>,
    /// The CPU of each worker.
    pub worker_cpus: Vec<u32>,
    /// CPUs that the process may use; the management thread floats over them.
    pub cpus: Vec<u32>,
    /// Whether free hugepages exist.
    pub hugepages: bool,
    /// Bytes that the packet buffers take.
    pub buffer_bytes: u64,
}

/// Memory beside the packet buffers in MiB: rings, device queues, EAL itself.
const OTHER_MIB: u64 = 128;

impl EalPlan {
    /// The whole argument list. Whatever was given stands; only what is missing is added.
    pub fn arguments(&self) -> Vec<String> {
        let mut args = self.given.clone();
        if !self.has(&["-l", "--lcores", "-c", "--coremask"]) {
            args.push(format!("--lcores={}", self.lcores()));
        }
        let no_huge = self.has(&["--no-huge"]) || !self.hugepages;
        if no_huge {
            self.add(&mut args, &["--no-huge"], "--no-huge".into());
            let mib = self.buffer_bytes.div_ceil(1 << 20) + OTHER_MIB;
            if !self.has(&["-m", "--socket-mem"]) {
                args.extend(["-m".to_owned(), mib.to_string()]);
            }
            // Without shared files several instances run side by side and nothing is left behind.
            if !self.has(&["--file-prefix", "--proc-type"]) {
                self.add(&mut args, &["--no-shconf"], "--no-shconf".into());
                self.add(&mut args, &["--no-telemetry", "--telemetry"], "--no-telemetry".into());
            }
        } else if !self.has(&["--file-prefix", "--huge-dir", "--proc-type", "--legacy-mem"]) {
            self.add(&mut args, &["--in-memory"], "--in-memory".into());
        }
        if !self.has(&["--no-pci", "-a", "--allow", "-b", "--block"]) {
            // Only the devices named are touched, whatever else is bound to a driver that DPDK could take.
            let pci: Vec<&String> = self.devices.iter().filter(|d| is_pci(d)).collect();
            if pci.is_empty() {
                args.push("--no-pci".into());
            }
            for device in pci {
                args.extend(["-a".to_owned(), device.clone()]);
            }
        }
        if !self.has(&["--log-level"]) {
            args.push("--log-level=lib.*:warning".into());
        }
        args
    }

    fn lcores(&self) -> String {
        // What the management side does, such as building tables on all its CPUs, must not be a worker's loss.
        let free = || self.cpus.iter().filter(|cpu| !self.worker_cpus.contains(cpu));
        let own: Vec<_> = if free().next().is_some() { free().collect() } else { self.cpus.iter().collect() };
        let own = own.into_iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut parts = vec![format!("0@({own})")];
        parts.extend(self.worker_cpus.iter().enumerate().map(|(i, cpu)| format!("{}@{cpu}", i + 1)));
        parts.join(",")
    }

    fn add(&self, args: &mut Vec<String>, unless: &[&str], arg: String) {
        if !self.has(unless) {
            args.push(arg);
        }
    }

    /// Whether one of the options was given, as a word of its own, with `=`, or with its value glued on (`-m512`).
    fn has(&self, options: &[&str]) -> bool {
        self.given.iter().any(|arg| {
            options.iter().any(|&option| {
                let long = option.starts_with("--");
                arg == option
                    || arg.strip_prefix(option).is_some_and(|rest| if long { rest.starts_with('=') } else { true })
                        && (long || !arg.starts_with("--"))
            })
        })
    }
}

/// True for a PCI address such as `0000:03:00.0` or `03:00.0`, with or without device arguments.
pub fn is_pci(device: &str) -> bool {
    let address = device.split(',').next().unwrap_or_default();
    let parts: Vec<&str> = address.split([':', '.']).collect();
    let hex = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_hexdigit());
    address.contains('.') && matches!(parts.len(), 3 | 4) && parts.iter().all(hex)
}

/// The CPUs for `count` workers out of those that the process may use: the first is left to the management thread
/// while there are enough.
pub fn worker_cpus(count: usize, cpus: &[u32]) -> Vec<u32> {
    let skip = usize::from(cpus.len() > count);
    let usable = cpus.get(skip..).unwrap_or(cpus);
    usable.iter().copied().cycle().take(if usable.is_empty() { 0 } else { count }).collect()
}

/// The CPUs that the process may run on.
pub fn allowed_cpus() -> Vec<u32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(given: &[&str], hugepages: bool) -> Vec<String> {
        EalPlan {
            given: given.iter().map(|s| (*s).to_owned()).collect(),
            devices: vec!["net_pcap0,rx_pcap=x".into()],
            worker_cpus: vec![1, 1],
            cpus: vec![0, 1],
            hugepages,
            buffer_bytes: 100 << 20,
        }
        .arguments()
    }

    #[test]
    fn fills_in_what_is_missing() {
        let args = plan(&[], false).join(" ");
        assert_eq!(
            args,
            "--lcores=0@(0),1@1,2@1 --no-huge -m 228 --no-shconf --no-telemetry --no-pci --log-level=lib.*:warning"
        );
        let args = plan(&[], true).join(" ");
        assert_eq!(args, "--lcores=0@(0),1@1,2@1 --in-memory --no-pci --log-level=lib.*:warning");
    }

    #[test]
    fn what_is_given_stands() {
        let given = ["--no-huge", "-m512", "--no-pci", "-l", "0-1", "--log-level=debug", "--file-prefix=x"];
        assert_eq!(plan(&given, true), given);
    }

    #[test]
    fn pci_devices_are_allowed_by_name() {
        let mut plan = EalPlan { devices: vec!["0000:03:00.1".into()], hugepages: true, ..EalPlan::default() };
        plan.cpus = vec![0];
        assert!(plan.arguments().windows(2).any(|w| w == ["-a", "0000:03:00.1"]));
        assert!(is_pci("03:00.0,opt=1"));
        for vdev in ["net_pcap0,rx_pcap=a.b", "net_af_xdp0,iface=eth0.5", "eth0", ""] {
            assert!(!is_pci(vdev), "{vdev}");
        }
    }

    #[test]
    fn workers_leave_a_cpu_to_the_rest_where_they_can() {
        assert_eq!(worker_cpus(1, &[0, 1]), [1]);
        assert_eq!(worker_cpus(2, &[0, 1]), [0, 1]);
        assert_eq!(worker_cpus(3, &[4, 6]), [4, 6, 4]);
        assert_eq!(worker_cpus(2, &[0, 1, 2, 3]), [1, 2]);
        assert_eq!(worker_cpus(2, &[]), [0u32; 0]);
    }
}
