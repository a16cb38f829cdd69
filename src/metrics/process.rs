//! What the system says about the process, by the names that all programs have for it.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::observed::Page;

/// The field of `/proc/self/stat` behind the program's name from which on they are counted here.
const STATE: usize = 3;
const USER_TICKS: usize = 14;
const SYSTEM_TICKS: usize = 15;
const VIRTUAL_BYTES: usize = 23;
/// In how many parts of a second Linux counts there, whatever its own clock.
const USER_HZ: f64 = 100.0;

/// Writes it down; nothing where the system has no `/proc`.
pub(super) fn show(page: &mut Page<'_>) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else {
        return;
    };
    // The program's name may hold spaces and parentheses.
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return;
    };
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| -> u64 {
        let text = fields.get(number - STATE);
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    let ticks = field(USER_TICKS) + field(SYSTEM_TICKS);
    #[expect(clippy::cast_precision_loss, reason = "a float is what is shown")]
    let seconds = ticks as f64 / USER_HZ;
    page.cpu(
        "process_cpu",
        "CPU time in user space and in the kernel",
        seconds,
    );
    page.memory(
        "process_resident_memory",
        "Memory that is in use",
        resident_bytes(),
    );
    let size = field(VIRTUAL_BYTES);
    page.memory("process_virtual_memory", "Memory that is addressed", size);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them reads the folder.
        let open = (open.count() as u64).saturating_sub(1);
        page.gauge(
            "process_open_fds",
            "File descriptors that are open",
            [(vec![], open)],
        );
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.gauge(
            "process_max_fds",
            "File descriptors that may be open",
            [(vec![], most)],
        );
    }
}

/// Reads the memory in use from where it is not in pages, whose size differs.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let kibibytes = lines.find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    kibibytes.and_then(|text| text.parse().ok()).unwrap_or(0) * 1024
}
