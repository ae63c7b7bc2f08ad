//! Processes of pods, seen from their nodes: what a fault needs is a process and a signal.

use crate::install::Suite;

/// Says for every process: its number, its parent's, the host that it takes itself to be on, and its words.
const LIST: &str = r#"cd /proc
for pid in $(pgrep -f "${BEGIN:-.}"); do
    words=$(tr '\0\n' '  ' <"$pid/cmdline" 2>/dev/null)
    [ -n "$words" ] || continue
    host=$(tr '\0' '\n' <"$pid/environ" 2>/dev/null | sed -n 's/^HOSTNAME=//p')
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "$pid/status" 2>/dev/null)
    printf '%s %s %s %s\n' "$pid" "${parent:-0}" "${host:--}" "$words"
done"#;

/// The same for those whose words begin so.
fn find(begin: &str) -> String {
    format!("BEGIN='^{begin}'\n{LIST}")
}

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End at once.
    Kill,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A process as its node numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The node.
    pub node: String,
    /// Its number there.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// The host that it takes itself to be on; a node's own process has `-`.
    pub host: String,
    /// Program and arguments.
    pub words: String,
}

impl Process {
    /// Whether it is in the pod of that name. A pod of an Indexed Job has its name without the random end as its host.
    pub fn is_of(&self, pod: &str) -> bool {
        self.host == pod || pod.rsplit_once('-').is_some_and(|(stem, _)| stem == self.host)
    }
}

fn read(node: &str, line: &str) -> Option<Process> {
    let mut words = line.splitn(4, ' ');
    Some(Process {
        node: node.to_owned(),
        pid: words.next()?.parse().ok()?,
        parent: words.next()?.parse().ok()?,
        host: words.next()?.to_owned(),
        words: words.next()?.trim().to_owned(),
    })
}

impl Suite {
    /// The processes of a node. Some of them may have ended already.
    pub fn processes(&self, node: &str) -> Vec<Process> {
        let list = self.docker(&["exec", node, "sh", "-c", LIST]);
        list.lines().filter_map(|line| read(node, line)).collect()
    }

    /// Sends a signal; false: the process is gone.
    pub fn signal(&self, process: &Process, signal: Signal) -> bool {
        let script = format!("kill -{} {} && echo sent || true", signal.name(), process.pid);
        self.docker(&["exec", &process.node, "sh", "-c", &script])
            .contains("sent")
    }

    /// The processes of all nodes whose words begin so.
    pub fn find_processes(&self, begin: &str) -> Vec<Process> {
        let all = self.nodes();
        let found = all.iter().flat_map(|node| {
            let list = self.docker(&["exec", node, "sh", "-c", &find(begin)]);
            let found: Vec<Process> = list.lines().filter_map(|line| read(node, line)).collect();
            found
        });
        found.filter(|process| process.words.starts_with(begin)).collect()
    }

    /// Kills a process and waits for its end; false: it was gone.
    pub fn end(&self, process: &Process) -> bool {
        let script = format!(
            "kill -KILL {pid} || exit 0; echo sent; for _ in $(seq 500); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.01; done; \
             echo {pid} stays >&2; exit 1",
            pid = process.pid
        );
        self.docker(&["exec", &process.node, "sh", "-c", &script])
            .contains("sent")
    }

    /// Sends a signal to a child of a process, whichever is there: children that come and go are gone when they have been listed.
    pub fn signal_child(&self, parent: &Process, signal: Signal) -> Option<Process> {
        let script = r#"for _ in $(seq 500); do
    child=$(pgrep -P "$1" | head -n 1)
    if [ -n "$child" ] && kill "-$2" "$child"; then echo "$child"; exit; fi
    sleep 0.01
done"#;
        let pid = parent.pid.to_string();
        let words = ["exec", &parent.node, "sh", "-c", script, "sh", &pid, signal.name()];
        let pid = self.docker(&words).trim().parse().ok()?;
        Some(Process {
            pid,
            parent: parent.pid,
            words: String::new(),
            ..parent.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let process = read("node-1", "12 3 pod-a /braid-worker run ").unwrap();
        assert_eq!(
            (12, 3, "pod-a", "/braid-worker run"),
            (
                process.pid,
                process.parent,
                process.host.as_str(),
                process.words.as_str()
            )
        );
        assert!(process.is_of("pod-a") && process.is_of("pod-a-x7b2c") && !process.is_of("pod-b"));
        assert_eq!(None, read("node-1", "12 x - sh"));
        assert_eq!(None, read("node-1", ""));
    }
}
