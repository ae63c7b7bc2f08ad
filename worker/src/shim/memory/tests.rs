#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::{Cgroup, LONGEST, Level, OomKills, SHORTEST, Version, limit, number, places, used};

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

/// A cgroup of files, and what changes how many the kernel has killed in it.
fn killing(version: Version) -> (tempfile::TempDir, impl Fn(u64), Cgroup) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    fs::write(path.join("memory.stat"), "anon 1\ntotal_rss 1\n").unwrap();
    if version == Version::One {
        fs::write(path.join("memory.limit_in_bytes"), "100\n").unwrap();
    }
    let kills = move |kills: u64| {
        let (file, text) = match version {
            Version::One => (
                "memory.oom_control",
                format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"),
            ),
            Version::Two => (
                "memory.events",
                format!("low 0\nhigh 0\nmax 17\noom 2\noom_kill {kills}\noom_group_kill 0\n"),
            ),
        };
        fs::write(path.join(file), text).unwrap();
    };
    kills(3);
    let cgroup = Cgroup::find(Some(dir.path())).unwrap();
    assert_eq!(cgroup.version, version);
    (dir, kills, cgroup)
}

#[test]
fn the_kernels_kills_are_answered_for_once() {
    for version in [Version::One, Version::Two] {
        let (_dir, kernel_has_killed, cgroup) = killing(version);
        let mut kills = OomKills::watch(Some(&cgroup));
        let start = kills.count();
        assert_eq!(start, 3);
        assert!(!kills.answers(start), "those before are nobody's here");
        kernel_has_killed(5);
        assert!(kills.answers(start) && kills.answers(start), "two at once");
        assert!(!kills.answers(start));
    }
}

#[test]
fn a_kill_before_its_start_is_not_an_attempts() {
    for version in [Version::One, Version::Two] {
        let (_dir, kernel_has_killed, cgroup) = killing(version);
        let mut kills = OomKills::watch(Some(&cgroup));
        // Of a process whose attempt has lived on.
        kernel_has_killed(4);
        let start = kills.count();
        assert!(!kills.answers(start));
        kernel_has_killed(5);
        assert!(kills.answers(start) && !kills.answers(start));
        assert!(
            !kills.answers(3),
            "an older attempt cannot have been hit by what was answered for"
        );
    }
}

#[test]
fn kernels_that_do_not_count_are_no_error() {
    assert_eq!(OomKills::watch(None).count(), 0);
    let (dir, _, cgroup) = killing(Version::One);
    fs::write(
        dir.path().join("memory.oom_control"),
        "oom_kill_disable 0\nunder_oom 0\n",
    )
    .unwrap();
    let mut kills = OomKills::watch(Some(&cgroup));
    assert!(!kills.answers(0));
    assert_eq!(number("low 0\n", "oom_kill"), None);
}

/// The files of this machine's own kernel, where it has them.
#[test]
fn the_kernels_own_files_are_understood() {
    let Some(cgroup) = Cgroup::find(None) else {
        eprintln!("nothing accounts for this process's memory");
        return;
    };
    let Some(file) = cgroup.kills() else {
        eprintln!("{cgroup:?} is the root of all cgroups");
        return;
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &file, &mut text).unwrap();
    let told = number(&text, "oom_kill");
    assert!(told.is_some(), "{cgroup:?}: {text:?}");
    let kills = OomKills::watch(Some(&cgroup));
    assert!(Some(kills.count()) >= told, "{cgroup:?}");
}

#[test]
fn what_grows_fast_is_looked_at_sooner() {
    let level = Level {
        used: 100 << 20,
        limit: 256 << 20,
    };
    let look = |grown, millis| level.look_after(grown, Duration::from_millis(millis));
    assert_eq!(look(0, 100), LONGEST);
    assert_eq!(look(1 << 20, 100), LONGEST, "14 seconds are left");
    // 143 MiB are left at a gigabyte a second.
    assert!(
        (60..80).contains(&look(100 << 20, 100).as_millis()),
        "{:?}",
        look(100 << 20, 100)
    );
    assert_eq!(look(1 << 40, 1), SHORTEST);
    let full = Level {
        used: 256 << 20,
        limit: 256 << 20,
    };
    assert_eq!(full.look_after(100 << 20, LONGEST), LONGEST);
}

proptest! {
    #[test]
    fn a_steady_growth_is_never_overlooked(
        used in 0_u64..=900, pace in 1_u64..=20, limit in Just(1000_u64),
    ) {
        // In units of 1 MiB, and of 1 MiB a millisecond: at a pace that it knows, the next look comes before the limit.
        let (used, limit) = (used << 20, limit << 20);
        let level = Level { used, limit };
        let after = level.look_after(pace << 20, Duration::from_millis(1));
        let millis = u64::try_from(after.as_micros()).unwrap() / 1000;
        prop_assert!(level.is_high() || after <= SHORTEST || used + (pace << 20) * millis <= limit);
    }
}
