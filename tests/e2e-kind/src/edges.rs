//! Every way on which Braid's parts meet over the API server, and how each is made to be gone while other work is in flight.

use crate::proxy::{Edge, Moment, Verb, Who};

/// What makes a request come that does not come by itself all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It comes all the time.
    Itself,
    /// Another run begins in the namespace, over a list: it gets a pool, pods, desks and a plan of its own, and gives them back.
    OtherRun,
    /// Another run begins, whose only program takes longer than a Lease: its worker has nothing to commit meanwhile.
    OtherRunSlow,
    /// Another run begins, over files: one of its workers makes the plan.
    OtherRunOverFiles,
    /// Another run is suspended twice, which is the same event again.
    OtherRunSuspended,
    /// The first process of user code's container is killed: the pod ends, and another takes its place.
    PodEnds,
    /// The Job of another run runs out of time.
    JobEnds,
    /// The Lease by which operators elect is deleted.
    LeaseDeleted,
    /// The time is over for which another run that has ended is kept.
    RunExpires,
    /// A run of another namespace is deleted, which was on a standing pool of this one.
    GuestGoes,
    /// A run is created that takes over from another one, which was cancelled in its midst.
    RunTakesOver,
}

/// A cell of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Which requests.
    pub edge: Edge,
    /// When the fault strikes.
    pub moment: Moment,
    /// What makes such a request come.
    pub cause: Cause,
}

const WRITES: [(Who, Verb, &str, Cause); 24] = [
    (Who::Operator, Verb::Update, "workflows/status", Cause::Itself),
    (Who::Operator, Verb::Update, "workers", Cause::Itself),
    (Who::Operator, Verb::Update, "leases/leader", Cause::Itself),
    (Who::Operator, Verb::Create, "leases/leader", Cause::LeaseDeleted),
    (Who::Operator, Verb::Create, "workers", Cause::PodEnds),
    (Who::Operator, Verb::Create, "leases", Cause::PodEnds),
    (Who::Operator, Verb::Delete, "workers", Cause::PodEnds),
    (Who::Operator, Verb::Delete, "pods", Cause::PodEnds),
    (Who::Operator, Verb::Update, "workerpools/status", Cause::OtherRun),
    (Who::Operator, Verb::Create, "workerpools", Cause::OtherRun),
    (Who::Operator, Verb::Create, "rolebindings", Cause::OtherRun),
    (Who::Operator, Verb::Create, "jobs", Cause::OtherRun),
    (Who::Operator, Verb::Create, "plans", Cause::OtherRun),
    (Who::Operator, Verb::Create, "events", Cause::OtherRun),
    (Who::Operator, Verb::Update, "workerpools", Cause::OtherRun),
    (Who::Operator, Verb::Patch, "jobs", Cause::OtherRun),
    (Who::Operator, Verb::Delete, "jobs", Cause::JobEnds),
    (Who::Operator, Verb::Patch, "events", Cause::OtherRunSuspended),
    (Who::Operator, Verb::Delete, "workflows", Cause::RunExpires),
    (Who::Operator, Verb::Update, "workflows", Cause::RunTakesOver),
    (Who::Operator, Verb::Delete, "plans", Cause::GuestGoes),
    (Who::Worker, Verb::Update, "workers/status", Cause::Itself),
    (Who::Worker, Verb::Update, "leases", Cause::OtherRunSlow),
    (Who::Worker, Verb::Create, "plans", Cause::OtherRunOverFiles),
];

const READS: [(Who, Verb, &str, Cause); 8] = [
    (Who::Operator, Verb::Watch, "workflows", Cause::Itself),
    (Who::Operator, Verb::Watch, "workers", Cause::Itself),
    (Who::Operator, Verb::Watch, "workerpools", Cause::Itself),
    (Who::Operator, Verb::Watch, "pods", Cause::Itself),
    (Who::Operator, Verb::List, "leases", Cause::Itself),
    (Who::Operator, Verb::Get, "jobs", Cause::OtherRun),
    (Who::Worker, Verb::Watch, "workers", Cause::Itself),
    (Who::Worker, Verb::Get, "plans", Cause::OtherRun),
];

/// When a write can be broken.
const OF_WRITES: [Moment; 4] = [Moment::Before, Moment::After, Moment::Lost, Moment::Late];
/// When a read can.
const OF_READS: [Moment; 2] = [Moment::Lost, Moment::Stalled];

/// All cells of requests: every write and every watch, at all its moments.
pub fn cells() -> Vec<Cell> {
    let with = |edges: &[(Who, Verb, &str, Cause)], moments: &[Moment]| -> Vec<Cell> {
        let cell = |(who, verb, resource, cause): &(Who, Verb, &str, Cause), moment: &Moment| Cell {
            edge: Edge::new(*who, *verb, resource),
            moment: *moment,
            cause: *cause,
        };
        let of = |edge| moments.iter().map(move |moment| cell(edge, moment));
        edges.iter().flat_map(of).collect()
    };
    [with(&WRITES, &OF_WRITES), with(&READS, &OF_READS)].concat()
}

/// The cells of an edge.
pub fn cells_of(who: Who, verb: Verb, resource: &str) -> Vec<Cell> {
    let edge = Edge::new(who, verb, resource);
    cells().into_iter().filter(|cell| cell.edge == edge).collect()
}

/// Whether a write is one of the table's.
pub fn is_known(edge: &Edge) -> bool {
    let mut all = WRITES.iter();
    all.any(|(who, verb, resource, _)| *who == edge.who && *verb == edge.verb && *resource == edge.resource)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    /// The chart's roles as they are rendered: what they let Braid write is in the table.
    #[test]
    fn every_write_that_a_role_allows_is_a_cell() {
        let file = braid_e2e::root().join("tests/cluster/tests/chart/golden/default.yaml");
        let text = fs::read_to_string(file).unwrap();
        let mut seen = 0;
        for document in text.split("\n---") {
            let object: Value = serde_saphyr::from_str(document).unwrap_or_default();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let (who, elects) = match (object["kind"].as_str(), name) {
                (Some("ClusterRole"), "braid-operator") => (Who::Operator, false),
                (Some("Role"), "braid-operator-leader") => (Who::Operator, true),
                (Some("ClusterRole"), "braid-worker") => (Who::Worker, false),
                _ => continue,
            };
            seen += 1;
            for rule in object["rules"].as_array().unwrap() {
                let words = |key: &str| rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
                let verbs = words("verbs").filter_map(|verb| match verb {
                    "create" => Some(Verb::Create),
                    "update" => Some(Verb::Update),
                    "patch" => Some(Verb::Patch),
                    "delete" => Some(Verb::Delete),
                    _ => None,
                });
                for verb in verbs {
                    // Finalizers are no requests: they are asked for of whoever makes an owner hold up.
                    for resource in words("resources").filter(|resource| !resource.ends_with("/finalizers")) {
                        let resource = if elects { "leases/leader" } else { resource };
                        let edge = Edge::new(who, verb, resource);
                        assert!(is_known(&edge), "{edge} is allowed and never broken");
                    }
                }
            }
        }
        assert_eq!(3, seen, "the roles have other names by now");
    }

    #[test]
    fn cells_are_of_every_moment() {
        let all = cells();
        assert_eq!(WRITES.len() * 4 + READS.len() * 2, all.len());
        assert_eq!(4, cells_of(Who::Operator, Verb::Update, "workflows/status").len());
        assert!(cells_of(Who::Other, Verb::Update, "workflows/status").is_empty());
    }
}
