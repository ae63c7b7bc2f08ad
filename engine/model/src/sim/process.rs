//! Workers in time: their requests, their partitions, their ends.

use braid_crds::PartitionRange;

use super::{
    Event, Sim,
    faults::{Arrow, Fault},
};
use crate::{invariants::Invariant, state::Action};

impl Sim {
    /// Something happens to a process, if it is there and does not stand still.
    pub(super) fn of_process(&mut self, event: Event) -> Result<(), Invariant> {
        let (Event::Watch(index)
        | Event::Write(index)
        | Event::Read(index)
        | Event::End(index, ..)
        | Event::Wake(index)
        | Event::Renew(index)
        | Event::Prepare(index)
        | Event::PutManifest(index)) = event
        else {
            return Ok(());
        };
        if self.state.processes[index].actor.is_none() {
            return Ok(());
        }
        let until = self.sides[index].paused_until;
        if until > self.now {
            self.after(until - self.now, event);
            return Ok(());
        }
        self.set_clock(index);
        match event {
            Event::Watch(_) => self.watch(index, event)?,
            Event::Write(_) => self.write(index, event)?,
            Event::Read(_) => self.read(index, event)?,
            Event::End(_, shard, partition, run) if self.sides[index].ends.get(&(shard, partition)) == Some(&run) => {
                self.sides[index].ends.remove(&(shard, partition));
                self.end(index, shard, partition)?;
            }
            Event::Wake(_) => {
                self.sides[index].wake_at = None;
                self.ring(index)?;
            }
            Event::Renew(_) => self.renew(index)?,
            Event::Prepare(_) => self.prepare(index)?,
            Event::PutManifest(_) => self.put_manifest(index, event)?,
            _ => {}
        }
        self.follow(index);
        Ok(())
    }

    /// Sees what a process wants after it was told something.
    pub(super) fn follow(&mut self, index: usize) {
        let process = std::rc::Rc::clone(&self.state.processes[index]);
        let Some(actor) = &process.actor else { return };
        if process.put.is_some() && !self.sides[index].writing {
            self.sides[index].writing = true;
            self.soon(Event::Write(index));
        }
        if process.reading && !self.sides[index].reading {
            self.sides[index].reading = true;
            self.soon(Event::Read(index));
        }
        let runs = |shard, partition| {
            let mut running = process.running.iter();
            running.any(|(id, _, other)| (*id, *other) == (shard, partition))
        };
        self.sides[index]
            .ends
            .retain(|(shard, partition), _| runs(*shard, *partition));
        for (shard, _, partition) in &process.running {
            if !self.sides[index].ends.contains_key(&(*shard, *partition)) {
                let mut millis = self.rng.between(self.mean_millis / 2, self.mean_millis * 3 / 2);
                millis *= self.sides[index].factor * if self.rng.happens(10) { 40 } else { 1 };
                let run = self.sequence;
                self.sides[index].ends.insert((*shard, *partition), run);
                self.after(millis, Event::End(index, *shard, *partition, run));
            }
        }
        let wake = actor.machine().wake_at();
        if let Some(at) = wake.filter(|at| self.sides[index].wake_at != Some(*at)) {
            self.sides[index].wake_at = Some(at);
            self.after(at.saturating_sub(self.now).max(1), Event::Wake(index));
        }
    }

    fn pause(&mut self, index: usize, event: Event) {
        let millis = self.rng.between(500, 12_000);
        self.sides[index].paused_until = self.now + millis;
        self.after(millis, event);
    }

    /// A process dies; it is started again in place.
    fn die(&mut self, index: usize) -> Result<(), Invariant> {
        let seat = self.state.processes[index].seat;
        self.suspect(index);
        self.act(&Action::Die(index))?;
        if !self.state.seats[seat].pod_gone {
            let millis = self.rng.between(200, 3_000);
            self.after(millis, Event::Restart(seat));
        }
        Ok(())
    }

    /// What ran when a process died is suspected, sometimes, as the policy would.
    fn suspect(&mut self, index: usize) {
        let process = &self.state.processes[index];
        if let Some((_, _, partition)) = process.running.first()
            && self.suspects.len() < 8
        {
            self.suspects.insert(PartitionRange::new(*partition, partition + 3));
        }
    }

    fn watch(&mut self, index: usize, event: Event) -> Result<(), Invariant> {
        self.sides[index].watching = false;
        match self.fault(Arrow::WatchWorker, self.per_mille / 4) {
            Some(Fault::CrashBefore) => return self.die(index),
            Some(Fault::AnswerLost) => {
                self.sides[index].watching = true;
                self.after(10_000, event);
                return Ok(());
            }
            Some(Fault::Stale) => {
                self.sides[index].watching = true;
                let millis = self.rng.between(500, 5_000);
                self.after(millis, event);
                return Ok(());
            }
            Some(Fault::Pause) => {
                self.sides[index].watching = true;
                self.pause(index, event);
                return Ok(());
            }
            _ => {}
        }
        if self.state.unseen(index) {
            self.act(&Action::Watch(index))?;
        }
        Ok(())
    }

    fn write(&mut self, index: usize, event: Event) -> Result<(), Invariant> {
        self.sides[index].writing = false;
        if self.state.processes[index].put.is_none() {
            return Ok(());
        }
        match self.fault(Arrow::WorkerStatus, self.per_mille) {
            Some(Fault::CrashBefore) => return self.die(index),
            Some(Fault::CrashAfter) => {
                self.act(&Action::WriteUnanswered(index))?;
                return self.die(index);
            }
            Some(Fault::AnswerLost) => return self.act(&Action::WriteUnanswered(index)),
            Some(Fault::Late) => {
                let millis = self.rng.between(50, 8_000);
                self.after(millis, Event::LateWrite);
                return self.act(&Action::WriteGivenUp(index));
            }
            Some(Fault::Pause) => {
                self.sides[index].writing = true;
                self.pause(index, event);
                return Ok(());
            }
            _ => {}
        }
        let process = &self.state.processes[index];
        let version = process.put.as_ref().map(|write| write.version);
        if version != Some(self.state.seats[process.seat].version) {
            self.conflicts += 1;
            self.hit(Arrow::WorkerStatus, Fault::Stale);
        }
        self.act(&Action::Write(index))
    }

    fn read(&mut self, index: usize, event: Event) -> Result<(), Invariant> {
        match self.fault(Arrow::WorkerRead, self.per_mille * 2) {
            Some(Fault::CrashBefore) => return self.die(index),
            Some(Fault::CrashAfter) => {
                self.sides[index].reading = false;
                self.act(&Action::Read(index))?;
                return self.die(index);
            }
            Some(Fault::AnswerLost) => {
                self.after(500, event);
                return Ok(());
            }
            Some(Fault::Pause) => {
                self.pause(index, event);
                return Ok(());
            }
            _ => {}
        }
        self.sides[index].reading = false;
        self.act(&Action::Read(index))
    }

    fn end(&mut self, index: usize, shard: braid_crds::ShardId, partition: u64) -> Result<(), Invariant> {
        let quiet = self.now > self.quiet_at;
        let action = if quiet {
            Action::Succeed(index, shard, partition)
        } else if self.rng.happens(self.failures) {
            Action::Fail(index, shard, partition)
        } else if self.rng.happens(15) {
            Action::Defer(index, shard, partition)
        } else if self.rng.happens(2) {
            Action::LoseShim(index)
        } else if self.rng.happens(3) {
            self.act(&Action::Full(index))?;
            Action::Succeed(index, shard, partition)
        } else {
            Action::Succeed(index, shard, partition)
        };
        self.act(&action)
    }

    fn renew(&mut self, index: usize) -> Result<(), Invariant> {
        let seat = self.state.processes[index].seat;
        match self.fault(Arrow::Lease, self.per_mille / 2) {
            Some(Fault::CrashBefore) => return self.die(index),
            Some(Fault::CrashAfter) => {
                self.leases[seat] = self.now;
                return self.die(index);
            }
            Some(Fault::Pause) => {
                self.pause(index, Event::Renew(index));
                return Ok(());
            }
            // The renewal did not arrive: the next one will.
            Some(Fault::AnswerLost) => {}
            _ => self.leases[seat] = self.now,
        }
        self.after(2_000, Event::Renew(index));
        Ok(())
    }

    fn prepare(&mut self, index: usize) -> Result<(), Invariant> {
        if self.state.processes[index].publishing.is_none() && !self.state.workflow.entries.is_empty() {
            self.act(&Action::PrepareManifest(index))?;
            if self.state.processes[index].publishing.is_some() {
                self.soon(Event::PutManifest(index));
            }
        }
        let millis = self.rng.between(200, 1_500);
        self.after(millis, Event::Prepare(index));
        Ok(())
    }

    fn put_manifest(&mut self, index: usize, event: Event) -> Result<(), Invariant> {
        let Some((place, _)) = &self.state.processes[index].publishing else {
            return Ok(());
        };
        if *place != self.state.rest.chain.len() {
            self.hit(Arrow::Manifest, Fault::Stale);
        }
        match self.fault(Arrow::Manifest, self.per_mille) {
            Some(Fault::CrashBefore) => self.die(index),
            Some(Fault::CrashAfter) => {
                self.act(&Action::PutManifest(index))?;
                self.die(index)
            }
            Some(Fault::Pause) => {
                self.pause(index, event);
                Ok(())
            }
            // Not hearing of it is not knowing it: the next try reads the chain.
            _ => self.act(&Action::PutManifest(index)),
        }
    }

    pub(super) fn restart(&mut self, seat: usize) -> Result<(), Invariant> {
        if self.state.seats[seat].pod_gone || !self.state.is_vacant(seat) {
            return Ok(());
        }
        let fault = self.fault(Arrow::Spawn, self.per_mille * 4);
        match fault {
            Some(Fault::CrashBefore) => return self.lose_pod(seat, 0),
            Some(Fault::Pause) => {
                self.after(6_000, Event::Restart(seat));
                return Ok(());
            }
            _ => {}
        }
        self.act(&Action::Restart(seat))?;
        let process = self.state.processes.len() - 1;
        self.meet(process);
        if fault == Some(Fault::CrashAfter) {
            return self.die(process);
        }
        Ok(())
    }

    /// A pod is gone; the operators see it after a while.
    fn lose_pod(&mut self, seat: usize, later: u64) -> Result<(), Invariant> {
        self.act(&Action::LosePod(seat))?;
        self.gone(seat, later);
        Ok(())
    }

    fn gone(&mut self, seat: usize, later: u64) {
        for operator in 0..2 {
            self.tell_operator_of(operator, seat, later);
        }
        let millis = self.rng.between(500, 4_000);
        self.after(millis, Event::Pod);
    }

    /// Some process ends.
    pub(super) fn exit(&mut self) -> Result<(), Invariant> {
        let millis = self.rng.between(500, 6_000);
        self.after(millis, Event::Exit);
        let alive: Vec<usize> = (0..self.state.processes.len())
            .filter(|index| {
                let process = &self.state.processes[*index];
                process.actor.is_some() && !self.state.seats[process.seat].pod_gone
            })
            .collect();
        if alive.is_empty() || self.state.seats.len() > 60 {
            return Ok(());
        }
        let index = self.rng.pick(&alive);
        let seat = self.state.processes[index].seat;
        match self.fault(Arrow::Exit, 10 * self.per_mille) {
            Some(Fault::CrashAfter) => self.die(index),
            Some(Fault::AnswerLost) => {
                self.act(&Action::LosePodNotProcess(seat))?;
                self.gone(seat, 0);
                let millis = self.rng.between(2_000, 30_000);
                self.after(millis, Event::Reap(index));
                Ok(())
            }
            Some(_) => {
                self.suspect(index);
                self.lose_pod(seat, 5_000)
            }
            None => Ok(()),
        }
    }
}
