//! Volumes of data on a laptop: a directory of the node is a directory of this machine, and others are not here.

use braid_crds::Workflow;

/// Makes paths of data whose volume is a directory. The name of the first data whose volume cannot be had here.
pub(super) fn bring_home(workflow: &mut Workflow) -> Result<(), String> {
    for data in &mut workflow.spec.data {
        let Some(volume) = data.files.volume.take() else {
            continue;
        };
        let directory = volume.host_path.ok_or_else(|| data.name.clone())?.path;
        // The directory is a name, whatever it looks like; only what is below it may be an expression or a pattern.
        let mut literal = String::new();
        for letter in directory.trim_end_matches('/').chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
                literal.push('\\');
            }
            literal.push(letter);
        }
        let literal = literal.replace("$(", "$$(");
        data.files.url = format!("{literal}/{}", data.files.url);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn with(files: &serde_json::Value) -> Workflow {
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "a"},
            "spec": {"data": [{"name": "texts", "files": files}], "steps": []},
        }))
        .unwrap()
    }

    #[test]
    fn a_directory_of_the_node_is_one_of_this_machine() {
        let mut workflow =
            with(&json!({"url": "$(params.year)/*.csv", "volume": {"hostPath": {"path": "/srv/a$(b) [1]/"}}}));
        bring_home(&mut workflow).unwrap();
        let files = &workflow.spec.data[0].files;
        assert_eq!(files.url, "/srv/a$$(b) \\[1\\]/$(params.year)/*.csv");
        assert_eq!(files.volume, None);
    }

    #[test]
    fn what_only_a_cluster_has_is_told_by_name() {
        let mut workflow = with(&json!({"url": "*", "volume": {"persistentVolumeClaim": {"claimName": "lake"}}}));
        assert_eq!(bring_home(&mut workflow), Err("texts".to_owned()));
        let mut workflow = with(&json!({"url": "*.csv"}));
        bring_home(&mut workflow).unwrap();
        assert_eq!(workflow.spec.data[0].files.url, "*.csv");
    }
}
