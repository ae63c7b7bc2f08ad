//! A worker's object as an API server keeps it: versions, compare-and-swap, and the rules of its definition.

use super::*;

#[derive(Clone, Debug)]
pub struct Object {
    pub version: Version,
    pub desk: Desk<Small>,
    pub history: Vec<(Version, Desk<Small>)>,
}

impl Object {
    pub fn new() -> Self {
        let desk = Desk {
            start: None,
            next_id: ShardId(0),
            shards: Vec::new(),
            commits: Vec::new(),
        };
        Self {
            version: Version(1),
            history: vec![(Version(1), desk.clone())],
            desk,
        }
    }

    /// A write of the spec by the operator.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Desk<Small>)) {
        edit(&mut self.desk);
        self.changed();
    }

    fn changed(&mut self) {
        self.version.0 += 1;
        self.history.push((self.version, self.desk.clone()));
    }

    /// A write of the status by a worker. Whether it was carried out; breaks the test if a rule refuses it.
    pub fn put(&mut self, version: Version, sheet: &Sheet<Small>) -> bool {
        if version != self.version {
            return false;
        }
        let (desk, new) = (&self.desk, &sheet.commits);
        for old in &desk.commits {
            let assigned = desk.shard(old.id);
            match new.iter().find(|commit| commit.id == old.id) {
                None => assert!(assigned.is_none(), "an assigned shard's commit is removed: {old:?}"),
                Some(commit) if commit == old => {}
                Some(commit) => {
                    assert!(!old.sealed, "sealed is for ever: {old:?} -> {commit:?}");
                    assert!(commit.cursor >= old.cursor, "the cursor falls: {old:?} -> {commit:?}");
                    assert_eq!(commit.start_id, old.start_id, "a commit changes hands");
                    assert!(!assigned.expect("of an assigned shard").seal, "sealed by the operator");
                }
            }
        }
        for commit in new {
            let Some(shard) = desk.shard(commit.id) else {
                assert!(desk.commit(commit.id).is_some(), "a commit of no shard: {commit:?}");
                continue;
            };
            assert!(shard.range.start() <= commit.cursor.0 && commit.cursor.0 <= shard.range.end());
            let counted: Intervals = commit
                .content
                .times
                .keys()
                .map(|p| PartitionRange::new(*p, p + 1))
                .collect();
            assert!(commit.content.times.values().all(|times| *times == 1), "{commit:?}");
            assert_eq!(counted, commit.settles(shard), "content and cursor differ: {commit:?}");
        }
        self.desk.start = Some(sheet.start);
        self.desk.commits.clone_from(&sheet.commits);
        self.changed();
        true
    }
}
