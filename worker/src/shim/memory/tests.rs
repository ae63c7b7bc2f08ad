#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::PathBuf};

use super::{Cgroup, Level, OomKills, Version, limit, number, places, used};

#[test]
fn a_process_finds_its_files() {
    let paths = |text: &str| -> Vec<String> { places(text).iter().map(|path| path.display().to_string()).collect() };
    assert_eq!(
        paths("0::/kubepods/pod1/c\n"),
        ["/sys/fs/cgroup/kubepods/pod1/c", "/sys/fs/cgroup"]
    );
    assert_eq!(paths("0::/\n"), ["/sys/fs/cgroup/", "/sys/fs/cgroup"]);
    let hybrid = "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/1\n1:name=systemd:/x\n0::/system.slice\n";
    assert_eq!(
        paths(hybrid),
        ["/sys/fs/cgroup/memory/docker/1", "/sys/fs/cgroup/memory"]
    );
    assert_eq!(paths("1:name=systemd:/x\n"), Vec::<String>::new());
    assert_eq!(paths("what is this"), Vec::<String>::new());
}

#[test]
fn page_cache_is_not_counted() {
    let two = "anon 700\nfile 90000\nkernel 5\nshmem 30\nanon_thp 600\ninactive_anon 1\n";
    assert_eq!(used(Version::Two, two), Some(730));
    let one =
        "cache 90000\nrss 1\nshmem 2\nhierarchical_memory_limit 9\ntotal_cache 90000\ntotal_rss 700\ntotal_shmem 30\n";
    assert_eq!(used(Version::One, one), Some(730));
    // Old kernels have no line for shared memory.
    assert_eq!(used(Version::One, "total_rss 700\n"), Some(700));
    assert_eq!(used(Version::Two, one), None);
    assert_eq!(used(Version::Two, "anon many\n"), None);
    assert_eq!(used(Version::Two, ""), None);
}

#[test]
fn no_limit_is_told_from_a_limit() {
    assert_eq!(limit("104857600\n"), Some(104_857_600));
    for none in [
        "max\n",
        "9223372036854771712\n",
        "",
        "-1\n",
        "99999999999999999999999\n",
    ] {
        assert_eq!(limit(none), None, "{none:?}");
    }
}

#[test]
fn a_level_is_high_from_95_hundredths_on() {
    let high = |used, limit| Level { used, limit }.is_high();
    assert!(!high(949, 1000) && high(950, 1000) && high(2000, 1000));
    assert!(high(u64::MAX, u64::MAX) && !high(0, u64::MAX));
}

#[test]
fn the_largest_is_blamed_unless_all_are_small() {
    let level = Level { used: 990, limit: 1000 };
    assert_eq!(level.blames(&[200, 500, 100]), Some(1));
    assert_eq!(level.blames(&[60, 0, 40]), Some(0), "together they hold a tenth");
    assert_eq!(level.blames(&[60, 0, 39]), None);
    assert_eq!(level.blames(&[0, 0]), None);
    assert_eq!(level.blames(&[]), None);
    assert_eq!(level.blames(&[u64::MAX, u64::MAX]), Some(1));
}

#[test]
fn both_versions_are_read_from_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    assert_eq!(Cgroup::find(Some(dir.path())), None);
    write("memory.stat", "anon 10\nshmem 1\ntotal_rss 20\ntotal_shmem 2\n");
    let two = Cgroup::find(Some(dir.path())).unwrap();
    // The root of all cgroups has no limit, and no file for one.
    assert!(!two.is_limited() && two.level().is_none());
    write("memory.max", "100\n");
    assert_eq!(two.level(), Some(Level { used: 11, limit: 100 }));
    write("memory.max", "max\n");
    assert!(!two.is_limited());
    write("memory.limit_in_bytes", "200\n");
    let one = Cgroup::find(Some(dir.path())).unwrap();
    assert_eq!(one.level(), Some(Level { used: 22, limit: 200 }));
    assert_eq!(one.directory, PathBuf::from(dir.path()));
}

#[test]
fn the_kernels_kills_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("memory.stat", "anon 1\n");
    write(
        "memory.events",
        "low 0\nhigh 0\nmax 17\noom 2\noom_kill 3\noom_group_kill 0\n",
    );
    let mut kills = OomKills::watch(Cgroup::find(Some(dir.path())));
    assert!(!kills.rose(), "those before are nobody's here");
    write("memory.events", "oom 2\noom_kill 4\n");
    assert!(kills.rose() && !kills.rose());
    write("memory.events", "");
    assert!(!kills.rose());
    assert!(!OomKills::watch(None).rose());
    assert_eq!(number("low 0\n", "oom_kill"), None);
}
