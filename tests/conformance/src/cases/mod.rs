//! The cases, by subject.

mod kinds;
mod lacking;
mod lifecycle;
mod rules;
mod schema;
mod watching;
mod writing;

use crate::{Case, Support};

/// Builds a row whose name is the function's.
macro_rules! case {
    ($module:ident :: $name:ident, $claim:expr) => {
        Case {
            name: stringify!($name),
            claim: $claim,
            support: Support::Everywhere,
            run: |c| Box::pin($module::$name(c)),
        }
    };
    ($module:ident :: $name:ident, $claim:expr, instead: $instead:expr) => {
        Case {
            name: stringify!($name),
            claim: $claim,
            support: Support::RealOnly($instead),
            run: |c| Box::pin($module::$name(c)),
        }
    };
}

pub(crate) fn all() -> Vec<Case> {
    vec![
        case!(
            writing::create_sets_what_the_server_owns,
            "a create sets uid, creationTimestamp, generation 1 and a version, and takes no status"
        ),
        case!(
            writing::create_refuses_a_version,
            "a create with a resourceVersion is refused"
        ),
        case!(
            writing::create_refuses_a_taken_name,
            "a create of a taken name is AlreadyExists, not Conflict"
        ),
        case!(
            writing::create_generates_names,
            "generateName gives different names that begin with it"
        ),
        case!(
            writing::create_checks_names,
            "a name that is no DNS subdomain, and no name, are Invalid"
        ),
        case!(
            writing::replace_needs_the_version,
            "a PUT of a stale version is a Conflict that changes nothing"
        ),
        case!(
            writing::replace_needs_a_version,
            "a PUT of a custom resource without a version is Invalid; of a ConfigMap it overwrites"
        ),
        case!(writing::replace_checks_the_uid, "a PUT with another uid is a Conflict"),
        case!(
            writing::replace_checks_the_name,
            "a PUT whose name differs from the path is a BadRequest"
        ),
        case!(
            writing::replace_needs_an_object,
            "a PUT of what does not exist is NotFound"
        ),
        case!(
            writing::same_content_keeps_the_version,
            "a write that changes nothing keeps version and generation"
        ),
        case!(
            writing::generation_counts_spec,
            "generation grows with spec, not with status or metadata"
        ),
        case!(
            writing::status_and_spec_are_apart,
            "a status write changes only status, a main write everything else"
        ),
        case!(
            writing::system_fields_stay,
            "uid, creationTimestamp and generation cannot be written"
        ),
        case!(
            writing::merge_patch_merges,
            "a merge patch merges objects, replaces lists, removes by null"
        ),
        case!(
            writing::merge_patch_of_status,
            "a merge patch of status changes only status"
        ),
        case!(
            writing::merge_patch_checks_a_version,
            "a merge patch with a stale version is a Conflict, without one it is not"
        ),
        case!(
            writing::dry_run_changes_nothing,
            "dryRun answers as if, and writes nothing"
        ),
        case!(
            writing::maps_come_back_sorted,
            "a map comes back with its keys sorted, and a number without a fraction as a whole one, whatever was written"
        ),
        case!(
            writing::large_objects_are_refused,
            "an object above the server's limit is refused"
        ),
        case!(
            lifecycle::delete_answers,
            "a delete answers with a Status, then the object is NotFound"
        ),
        case!(
            lifecycle::delete_checks_preconditions,
            "delete preconditions on uid and version are Conflicts when they do not hold"
        ),
        case!(
            lifecycle::finalizers_hold,
            "a finalizer keeps a deleted object, marked, until it is taken out; no new one can be added"
        ),
        case!(
            lifecycle::finalizers_by_any_write,
            "an object whose last finalizer is taken out by a merge patch goes"
        ),
        case!(
            lifecycle::delete_collection_selects,
            "a deletecollection deletes what its selector selects"
        ),
        case!(
            lifecycle::dependents_follow,
            "an object goes after all of its owners are gone, not before"
        ),
        case!(
            lifecycle::dependents_of_nobody_go,
            "an object created with an owner that does not exist is collected"
        ),
        case!(
            lifecycle::owners_are_uids,
            "a new object of an owner's name is not the owner"
        ),
        case!(
            lifecycle::orphans_stay,
            "an orphaning delete leaves the dependents, without the reference"
        ),
        case!(
            lifecycle::foreground_waits,
            "a foreground delete waits for a blocking dependent"
        ),
        case!(
            watching::watch_tells_changes,
            "a watch from a version tells all later changes in order, with growing versions"
        ),
        case!(
            watching::watch_from_now_begins_with_what_is,
            "a watch without a version begins with the present objects"
        ),
        case!(watching::watch_by_name, "a watch of one name tells of no other"),
        case!(
            watching::watch_by_label_tells_transitions,
            "an object that enters a watch's selection is ADDED, one that leaves it DELETED"
        ),
        case!(watching::watch_times_out, "a watch ends after timeoutSeconds"),
        case!(
            watching::watch_streams_lists,
            "sendInitialEvents sends the present objects and a bookmark that ends them"
        ),
        case!(
            watching::watch_too_old_is_gone,
            "a watch from a version long gone is told 410"
        ),
        case!(
            watching::deleted_events_have_new_versions,
            "a DELETED event has the version of the deletion"
        ),
        case!(
            watching::lists_select,
            "lists select by labels (=, !=, in, notin, exists) and by name, in one namespace or in all"
        ),
        case!(
            watching::lists_have_versions,
            "a watch from a list's version misses nothing and repeats nothing"
        ),
        case!(
            watching::wrong_selectors_are_refused,
            "selectors that do not parse are BadRequests"
        ),
        case!(watching::metadata_only, "metadata can be asked for alone"),
        case!(
            schema::unknown_fields_are_pruned,
            "unknown fields are dropped, except where they are to be kept"
        ),
        case!(
            schema::strict_names_unknown_fields,
            "fieldValidation=Strict refuses unknown and duplicate fields and names them"
        ),
        case!(
            schema::defaults_are_filled,
            "defaults are filled in, nested ones and those of list items, too"
        ),
        case!(
            schema::types_are_checked,
            "a value of a wrong type is Invalid, and the cause names field and types"
        ),
        case!(
            schema::limits_are_checked,
            "minimum, maximum, enum, pattern, lengths and counts are checked"
        ),
        case!(
            schema::limits_are_told_one_by_one,
            "of a text's limits the first one is told; a value of a wrong type is held against the others, too"
        ),
        case!(
            schema::keyed_lists_have_unique_keys,
            "lists of type map and set have no duplicates"
        ),
        case!(schema::one_of_is_checked, "oneOf takes exactly one"),
        case!(
            schema::int_or_string_takes_both,
            "int-or-string takes an integer and a string"
        ),
        case!(
            schema::nulls,
            "a null stays where it may be; elsewhere it counts as absent, and in a list it is refused"
        ),
        case!(schema::all_causes_are_told, "one refusal tells all causes"),
        case!(schema::status_is_validated, "a status write is validated, too"),
        case!(
            schema::built_in_kinds_are_typed,
            "a built-in kind with a wrong type is a BadRequest"
        ),
        case!(
            rules::transitions_on_main,
            "a rule with oldSelf holds on writes of the object"
        ),
        case!(
            rules::transitions_on_status,
            "a rule with oldSelf holds on writes of status"
        ),
        case!(
            rules::items_correlate_by_key,
            "in a list of type map, oldSelf is the item of the same key, whatever the order"
        ),
        case!(
            rules::rules_across_spec_and_status,
            "a rule of the whole object sees spec and status, on either write"
        ),
        case!(
            rules::messages_and_paths,
            "messageExpression, reason and fieldPath are in the refusal"
        ),
        case!(rules::structure_first, "rules wait for a valid structure"),
        case!(
            kinds::commits_move_forward_and_end,
            "Worker: commits are of assigned shards, move forward, and end sealed"
        ),
        case!(
            kinds::assignments_are_immutable_but_for_budget_and_seal,
            "Worker: a shard changes in nothing but a budget that shrinks and a seal that comes"
        ),
        case!(
            kinds::specs_of_runs_are_immutable,
            "Workflow: what a run computes does not change, and the refusal names the field"
        ),
        case!(
            kinds::a_run_that_takes_over_gets_its_spec_once,
            "Workflow: what resumeFrom takes over comes in once, and then does not change"
        ),
        case!(
            kinds::runs_can_be_steered,
            "Workflow: suspend, cancel and maxFailedPartitions may change; a cancel is for ever"
        ),
        case!(kinds::outputs_may_be_null, "Workflow: an output that is null is kept"),
        case!(kinds::plans_are_immutable, "Plan: it does not change"),
        case!(
            kinds::refusals_name_fields_of_our_kinds,
            "Workflow: refusals name the field, its value and what may be there"
        ),
        case!(lacking::server_side_apply, "server-side apply", instead: "415; use merge patch or PUT"),
        case!(lacking::json_patch, "JSON patch", instead: "415; use merge patch or PUT"),
        case!(lacking::jobs, "Jobs and the other workload kinds", instead: "404: only Lease, ConfigMap, Secret, Event and Pod are built in, and no controller acts on them"),
        case!(lacking::namespaces, "Namespace objects", instead: "404: every namespace is there without being created"),
        case!(lacking::managed_fields, "ownership of fields (`metadata.managedFields`)", instead: "it is not kept"),
        case!(lacking::paged_lists, "paged lists (`limit`, `continue`)", instead: "lists are whole"),
        case!(lacking::scale, "the `scale` subresource", instead: "404"),
        case!(lacking::definitions_are_judged, "judgement of definitions: cost of rules, types within macros, defaults", instead: "404: definitions are built in, and proved on a real server by the project's tests"),
    ]
}
