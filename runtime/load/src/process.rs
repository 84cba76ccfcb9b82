//! Processor time and memory of a process, from `/proc` (Linux).
//!
//! Processor time is the sum of its threads', to the nanosecond, with those of its children: a peer
//! may be started by a script. On other systems nothing is available, and reports omit it.

use std::fs;
use std::path::Path;

/// How long a tick of `/proc/PID/stat` is, in nanoseconds; Linux shows them at 100 a second.
const TICK: u64 = 10_000_000;

/// Processor time since the start of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Nanoseconds on a processor.
    pub(crate) cpu: u64,
    /// In user mode, in ticks of 10 ms.
    pub(crate) user: u64,
    /// In the kernel, in ticks of 10 ms.
    pub(crate) system: u64,
}

impl Usage {
    /// The difference to an earlier value.
    pub(crate) const fn since(self, then: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(then.cpu),
            user: self.user.saturating_sub(then.user),
            system: self.system.saturating_sub(then.system),
        }
    }
}

/// Processor time of a process and its children; `None` if not available.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let mut sum = Usage::default();
    for pid in family(pid) {
        // A child may have ended.
        if let Some(one) = usage_of_one(pid) {
            sum.cpu += one.cpu;
            sum.user += one.user;
            sum.system += one.system;
        }
    }
    (sum.cpu > 0).then_some(sum)
}

/// Processor time of this process, without children.
pub(crate) fn own_usage() -> Option<Usage> {
    usage_of_one(std::process::id())
}

/// The resident memory of a process and its children, in bytes.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let sum: u64 = family(pid).into_iter().filter_map(resident_of_one).sum();
    (sum > 0).then_some(sum)
}

fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        next += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    family
}

fn tasks(pid: u32) -> Vec<std::path::PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.map(|task| task.path()).collect()
}

fn usage_of_one(pid: u32) -> Option<Usage> {
    let on_cpu = |task: &Path| first_number(&fs::read_to_string(task.join("schedstat")).ok()?);
    let cpu = tasks(pid).iter().filter_map(|task| on_cpu(task)).sum();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (user, system) = times(&stat)?;
    Some(Usage {
        cpu,
        user: user * TICK,
        system: system * TICK,
    })
}

fn resident_of_one(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(first_number(line)? * 1_024)
}

/// User and system time of a line of `stat`; the name in front may have spaces and parentheses.
fn times(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "17 (a) b (c)) S 1 17 17 0 -1 4194560 500 0 0 0 42 23 0 0 20 0 1 0 100 0 0";
        assert_eq!(times(stat), Some((42, 23)));
        assert_eq!(times("17 (a) S 1"), None);
        assert_eq!(times(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something() {
        let pid = std::process::id();
        let before = usage(pid).expect("this process");
        let mut sum = 0_u64;
        while usage(pid).expect("this process").since(before).cpu == 0 {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        assert!(resident(pid).expect("this process") > 100_000, "{sum}");
        assert!(own_usage().expect("this process").cpu > before.cpu);
        assert_eq!(usage(u32::MAX), None);
    }
}
