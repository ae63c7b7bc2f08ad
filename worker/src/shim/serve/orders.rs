//! What the worker says, and what follows from it.

use std::fs;
use std::time::Duration;

use super::{Kept, Membership, Queued, Server, protocol};
use crate::frames::{FromShim, MAX_HELD, Outcome, ProgramFrame, StartFrame, ToShim, VERSION};
use crate::shim::ShimError;
use crate::shim::clock::Moment;
use crate::shim::input::Input;
use crate::shim::program::Program;
use crate::shim::results;
use crate::shim::running::Cause;
use crate::shim::side::SideFiles;

impl Server {
    pub(super) fn obey(&mut self, frame: ToShim, now: Moment) -> Result<(), ShimError> {
        match frame {
            ToShim::Hello { version } if version == VERSION && !self.greeted => self.greeted = true,
            ToShim::Hello { version } => {
                return protocol(format!("a greeting with version {version}, mine is {VERSION}"));
            }
            _ if !self.greeted => return protocol("no greeting".to_owned()),
            ToShim::Program(program) => self.program(program)?,
            ToShim::Side { slot, variable, length } => {
                let (scratch, number) = (&mut self.scratch, &mut self.sides);
                *number += 1;
                let name = format!("side-{number}");
                side(&mut self.programs, slot, |sides| {
                    sides.begin(scratch, &name, variable, length)
                })?;
            }
            ToShim::SideFile { slot, path } => side(&mut self.programs, slot, |sides| sides.file(&path))?,
            ToShim::SideData { slot, data } => side(&mut self.programs, slot, |sides| sides.data(&data))?,
            ToShim::SideEnd { slot } => side(&mut self.programs, slot, SideFiles::end)?,
            ToShim::Start(frame) => self.enqueue(frame)?,
            ToShim::InputFile {
                attempt,
                path,
                skip,
                lines,
            } => self.arriving(attempt, |input| input.file(&path, skip, lines))?,
            ToShim::InputData { attempt, data } => self.input_data(attempt, data)?,
            ToShim::InputEnd { attempt } => self.input_end(attempt)?,
            ToShim::Store { attempt, input } => self.store(attempt, &input)?,
            ToShim::Forget { attempt } => self.forget(attempt),
            ToShim::Discard { key, partition } => self.checkpoints.discard(&key, partition, &mut self.scratch),
            ToShim::About {
                attempt,
                partition,
                number,
            } => self.about(attempt, partition, number),
            ToShim::Kill { attempt } => self.kill(attempt, now)?,
            ToShim::Extend { millis } => self.lease = Some(now.after(Duration::from_millis(millis))),
            ToShim::Key { key } => match &mut self.membership {
                Membership::Linked(Kept { key: known @ None, .. }) => *known = Some(key),
                _ => return protocol("a key that nobody has asked for".to_owned()),
            },
            ToShim::Ping { nonce } => self.link.send(&FromShim::Pong { nonce })?,
        }
        Ok(())
    }

    fn program(&mut self, frame: ProgramFrame) -> Result<(), ShimError> {
        let number = frame.slot;
        let busy = self.queue.iter().any(|queued| queued.frame.slot == number)
            || self.running.iter().any(|running| running.slot == number)
            || self.deliveries.iter().any(|delivery| delivery.slot == number);
        let Some(slot) = self.programs.get_mut(usize::from(number)).filter(|_| !busy) else {
            return protocol(format!(
                "a program for slot {number}, which is in use or does not exist"
            ));
        };
        if let Some(old) = slot.take() {
            if let Some(script) = old.script() {
                results::remove(script).map_err(ShimError::Script)?;
            }
            // What cannot be removed now goes with the private directory.
            let _ = old.sides.remove();
        }
        let mut script = None;
        if let Some(text) = &frame.script {
            self.scripts += 1;
            let path = self
                .scratch
                .small()
                .map_err(ShimError::Script)?
                .join(format!("script-{}", self.scripts));
            fs::write(&path, text).map_err(ShimError::Script)?;
            script = Some(path);
        }
        *slot = Some(Program::new(frame, script));
        Ok(())
    }

    fn enqueue(&mut self, frame: StartFrame) -> Result<(), ShimError> {
        let attempt = frame.attempt;
        if self.programs.get(usize::from(frame.slot)).is_none_or(Option::is_none) {
            return protocol(format!("attempt {attempt} of the unknown program {}", frame.slot));
        }
        let held = self.queue.len() + self.running.len() + self.deliveries.len();
        if self.holds(attempt) || held >= MAX_HELD {
            return protocol(format!("attempt {attempt} is one too many, or was started already"));
        }
        let input = Input::new(&frame.input, attempt, &mut self.scratch);
        self.queue.push_back(Queued { frame, input });
        Ok(())
    }

    fn kill(&mut self, attempt: u64, now: Moment) -> Result<(), ShimError> {
        if let Some(running) = self.running.iter_mut().find(|running| running.attempt == attempt) {
            running.end(Cause::Killed, now);
        } else if let Some(delivery) = self.deliveries.iter_mut().find(|delivery| delivery.attempt == attempt) {
            delivery.fail(Outcome::Killed, "killed while its files were sent".to_owned());
        } else if let Some(at) = self.queue.iter().position(|queued| queued.frame.attempt == attempt)
            && let Some(queued) = self.queue.remove(at)
        {
            self.never_ran(queued, Outcome::Killed, "killed before it started".to_owned())?;
        }
        Ok(())
    }
}

/// Gives something to the directories of a program.
fn side(
    programs: &mut [Option<Program>],
    slot: u8,
    give: impl FnOnce(&mut SideFiles) -> bool,
) -> Result<(), ShimError> {
    let program = programs.get_mut(usize::from(slot)).and_then(Option::as_mut);
    if program.is_some_and(|program| give(&mut program.sides)) {
        return Ok(());
    }
    protocol(format!("files of the program in slot {slot}, which expects none"))
}
