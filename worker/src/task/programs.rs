//! Programs that are more than a process for each partition: how a card's words become one.

use std::time::Duration;

use braid_crds::{
    worker::{Card, Fatal},
    workflow::Protocol,
};

use crate::{
    ground::Ground,
    runner::{Http, Program, Serve},
};

/// What calls functions: a program that serves lines.
const HOST: &str = include_str!("../runner/function.py");
/// Where the code of functions is in a pod.
const CODE: &str = "/braid/code";
/// How long a program may take to be ready, where nobody says otherwise.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How partitions reach the program.
pub(super) fn serve(card: &Card) -> Option<Serve> {
    if card.function.is_some() {
        return Some(Serve::Lines { ahead: true });
    }
    let serve = card.serve.as_ref()?;
    Some(match serve.protocol {
        Protocol::Lines => Serve::Lines { ahead: false },
        Protocol::Http => Serve::Http(Box::new(Http {
            port: serve.port.and_then(|port| u16::try_from(port).ok()),
            path: serve.path.clone().unwrap_or_else(|| "/".to_owned()),
            ready_path: serve.ready_path.clone(),
            ready_within: serve
                .ready_timeout
                .as_ref()
                .map_or(READY_WITHIN, braid_crds::Duration::get),
        })),
    })
}

/// Makes the program of a function: an interpreter, and what calls the function as its script.
pub(super) fn host_function(program: &mut Program, card: &Card, ground: &Ground) {
    let Some(function) = &card.function else { return };
    if program.command.is_empty() {
        program.command.push("python3".to_owned());
    }
    program.script = Some(HOST.to_owned());
    program.args = vec![function.clone()];
    program
        .env
        .push(("BRAID_CONCURRENCY".to_owned(), card.concurrency.max(1).to_string()));
    let Some(code) = &card.code else { return };
    let place = match &code.path {
        Some(path) => ground.base().join(path).to_string_lossy().into_owned(),
        None => CODE.to_owned(),
    };
    program.env.push(("BRAID_CODE".to_owned(), place));
}

/// Why the program cannot run here.
pub(super) fn refuse(card: &Card, ground: &Ground) -> Option<Fatal> {
    let code = card.code.as_ref()?;
    let message = match (&code.path, ground) {
        (Some(path), Ground::Confined(_)) => format!(
            "code.path {path:?} is a directory of a laptop: `braid submit` makes a ConfigMap of it, which code.configMapRef names"
        ),
        (None, Ground::Open(_)) => {
            "code.configMapRef names an object of a cluster: on a laptop code.path is the directory".to_owned()
        }
        _ => return None,
    };
    Some(Fatal {
        reason: "NotRunnable".to_owned(),
        message,
    })
}
