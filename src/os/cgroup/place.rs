//! Where the control group of this process lies in each mounted hierarchy (`cgroups(7)`, `proc_pid_mountinfo(5)`).

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Controller;

/// A hierarchy: the one of version 2, or one of version 1 with this controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    Unified,
    Of(Controller),
}

/// The folder of the control group this process is in. `None`: this hierarchy is not mounted, or shows another part of it.
pub(super) fn own(hierarchy: Hierarchy) -> Option<PathBuf> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let groups = fs::read("/proc/self/cgroup").ok()?;
    find(&String::from_utf8_lossy(&mounts), &String::from_utf8_lossy(&groups), hierarchy)
}

fn find(mounts: &str, groups: &str, hierarchy: Hierarchy) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let fits = match hierarchy {
            Hierarchy::Unified => line.starts_with("0::"),
            Hierarchy::Of(controller) => names(controllers, controller),
        };
        fits.then_some(path)
    })?;
    // The newest mount covers older ones at the same place, and is the last.
    mounts.lines().rev().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let fits = match hierarchy {
            Hierarchy::Unified => kind == "cgroup2",
            Hierarchy::Of(controller) => kind == "cgroup" && names(options, controller),
        };
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let below = Path::new(group).strip_prefix(unescaped(root)).ok().filter(|_| fits)?;
        // A group outside of this process' cgroup namespace is shown as "/../x".
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| Path::new(&unescaped(point)).join(below))
    })
}

fn names(list: &str, controller: Controller) -> bool {
    list.split(',').any(|name| name == controller.name())
}

/// Spaces and the like stand as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw";

    fn at(mounts: &str, groups: &str, hierarchy: Hierarchy) -> Option<String> {
        find(mounts, groups, hierarchy).map(|path| path.display().to_string())
    }

    #[test]
    fn a_hybrid_host_has_one_place_for_each() {
        let groups = "5:cpu,cpuacct:/\n4:memory:/api/7\n0::/user.slice";
        let at = |hierarchy| at(HYBRID, groups, hierarchy);
        assert_eq!(at(Hierarchy::Unified).unwrap(), "/sys/fs/cgroup/uni fied/user.slice");
        assert_eq!(at(Hierarchy::Of(Controller::Memory)).unwrap(), "/sys/fs/cgroup/memory/api/7");
        assert_eq!(at(Hierarchy::Of(Controller::Cpu)).unwrap(), "/sys/fs/cgroup/cpu,cpuacct/");
        assert_eq!(at(Hierarchy::Of(Controller::Pids)), None);
    }

    #[test]
    fn a_container_sees_its_own_part() {
        let mount = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(at(mount, "0::/docker/abc/x", Hierarchy::Unified).unwrap(), "/sys/fs/cgroup/x");
        assert_eq!(at(mount, "0::/elsewhere", Hierarchy::Unified), None);
        let namespace = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(at(namespace, "0::/../other", Hierarchy::Unified), None);
        assert_eq!(at("", "", Hierarchy::Unified), None);
    }
}
