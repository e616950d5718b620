//! What a process does when it acts or receives something, as the state machines decide.

use super::super::giving::{GivingAction, GivingEvent};
use super::super::taking::{Taking, TakingAction, TakingEvent};
use super::*;

impl World {
    pub(super) fn taken(&mut self, index: usize, event: TakingEvent) {
        self.tell(format!(
            "  {index}: {event:?} as {:?}",
            self.processes[index].role
        ));
        if let Role::Takes(taking) = &mut self.processes[index].role {
            let action = taking.on(event);
            let waits = action == TakingAction::Configure;
            self.processes[index].to_take = Some(action).filter(|_| !waits);
        }
    }

    pub(super) fn given(&mut self, index: usize, event: GivingEvent) {
        self.tell(format!(
            "  {index}: {event:?} as {:?}",
            self.processes[index].role
        ));
        let process = &mut self.processes[index];
        if let Role::Gives(giving) = &mut process.role {
            process.to_give.extend(giving.on(event));
        }
    }

    pub(super) fn act(&mut self, index: usize) {
        if let Role::Takes(_) = self.processes[index].role {
            if let Some(action) = self.processes[index].to_take.take() {
                self.do_take(index, action);
            }
            return;
        }
        match self.processes[index].to_give.pop_front() {
            Some(action) => self.do_give(index, action),
            // `Unsure`, and it is time to try again.
            None => self.do_give(index, GivingAction::TryLock),
        }
    }

    pub(super) fn do_take(&mut self, index: usize, action: TakingAction) {
        match action {
            // Then it looks.
            TakingAction::Wait => match self.path {
                At::NoProcess => self.taken(index, TakingEvent::NoProcess),
                At::Process(_) | At::OnItsWay(_) => {
                    self.connections.push(Connection {
                        is_open: [true, true],
                        ..Connection::default()
                    });
                    let connection = self.connections.len() - 1;
                    self.backlog.push_back(connection);
                    self.processes[index].up = Some(connection);
                    self.taken(index, TakingEvent::Found);
                }
            },
            TakingAction::Ask => self.say(self.processes[index].up, NEW, Said::Hello),
            TakingAction::SayDrain => self.say(self.processes[index].up, NEW, Said::Drain),
            TakingAction::TryLock if self.lock == At::NoProcess => {
                let is_kept = self.alive().any(|(_, process)| process.keeps());
                if self.processes[index].owner.is_none() && is_kept {
                    return self.taken(index, TakingEvent::Kept);
                }
                self.lock = At::Process(index);
                match self.processes[index].owner {
                    Some(_) if self.processes[index].owner != self.owner => {
                        self.taken(index, TakingEvent::Overtaken)
                    }
                    _ => self.taken(index, TakingEvent::LockGot),
                }
            }
            TakingAction::TryLock => self.taken(index, TakingEvent::LockHeld),
            TakingAction::Listen => {
                // A fresh start binds its addresses, which fails as long as another process has
                // them.
                let is_sent = |said: &Said| matches!(said, Said::Sockets { .. });
                let mut unread = self
                    .connections
                    .iter()
                    .flat_map(|connection| &connection.unread[NEW]);
                let is_bound =
                    unread.any(is_sent) || self.alive().any(|(_, process)| process.has_sockets);
                if is_bound && !self.processes[index].has_sockets {
                    self.release(index);
                    self.processes[index].role = Role::Done;
                    return;
                }
                self.path = At::Process(index);
                self.serve(index);
            }
            TakingAction::Accept => self.serve(index),
            TakingAction::Fail => {
                // Unless another one has taken over meanwhile.
                let process = &self.processes[index];
                self.has_given_up |= process.has_sockets && process.owner == self.owner;
                self.drop_takeover(index);
            }
            TakingAction::Configure => {}
        }
    }

    pub(super) fn serve(&mut self, index: usize) {
        self.owner = Some(index);
        let process = &mut self.processes[index];
        process.role = Role::Gives(Giving::Serves);
        process.accepts = true;
        process.has_sockets = true;
    }

    pub(super) fn do_give(&mut self, index: usize, action: GivingAction) {
        let down = self.processes[index].down;
        match action {
            GivingAction::Share => {
                let owner = self.owner;
                self.say(down, OLD, Said::Sockets { owner });
            }
            GivingAction::Release | GivingAction::Report(_) | GivingAction::Wait => {}
            GivingAction::Stop => self.processes[index].accepts = false,
            GivingAction::Give => {
                let Some(connection) = down else {
                    return;
                };
                let at = match self.connections[connection].is_open[NEW] {
                    true => At::OnItsWay(connection),
                    false => At::NoProcess,
                };
                self.say(down, OLD, Said::Draining);
                self.lock = at;
                self.set_path(at);
            }
            GivingAction::TryLock if self.lock == At::NoProcess && self.owner.is_none() => {
                self.given(index, GivingEvent::LivesOn);
            }
            GivingAction::TryLock if self.lock == At::NoProcess => {
                self.lock = At::Process(index);
                self.given(index, GivingEvent::LockGot);
            }
            GivingAction::TryLock => self.given(index, GivingEvent::LockHeld),
            GivingAction::Listen => self.set_path(At::Process(index)),
            GivingAction::Close => {
                self.say(self.processes[index].up, NEW, Said::Goodbye);
                self.close(down, OLD);
                self.release(index);
                let process = &mut self.processes[index];
                process.down = None;
                process.has_sockets = false;
            }
        }
    }

    pub(super) fn hear_up(&mut self, index: usize) {
        let up = self.processes[index].up;
        let Some(said) = self.read(up, NEW) else {
            self.close(up, NEW);
            self.processes[index].up = None;
            return self.taken(index, TakingEvent::Ended);
        };
        match said {
            Said::Sockets { owner } => {
                self.processes[index].has_sockets = true;
                self.processes[index].owner = owner;
                self.taken(index, TakingEvent::Sockets);
            }
            Said::Draining => {
                self.lock = At::Process(index);
                self.path = At::Process(index);
                self.taken(index, TakingEvent::Draining);
            }
            Said::Busy => {
                self.close(up, NEW);
                self.taken(index, TakingEvent::Busy);
            }
            Said::Goodbye => {
                self.close(up, NEW);
                self.taken(index, TakingEvent::Goodbye);
            }
            Said::Hello | Said::Drain => panic!("an old process says {said:?}"),
        }
    }

    pub(super) fn hear_down(&mut self, index: usize) {
        let down = self.processes[index].down;
        let Role::Gives(giving) = self.processes[index].role else {
            return;
        };
        match (giving, self.read(down, OLD)) {
            (Giving::Serves | Giving::Keeps, Some(Said::Hello)) => {
                self.given(index, GivingEvent::Asked)
            }
            (Giving::Serves | Giving::Keeps, _) => self.hang_up(index),
            (Giving::Asked | Giving::KeepsAsked, Some(Said::Drain))
                if down.is_some_and(|connection| self.connections[connection].is_open[NEW]) =>
            {
                self.given(index, GivingEvent::Drain);
            }
            (Giving::Asked | Giving::KeepsAsked, _) => self.fail(index),
            (_, Some(Said::Goodbye)) => self.given(index, GivingEvent::Goodbye),
            (_, Some(_)) => {}
            (_, None) => {
                self.close(down, OLD);
                self.processes[index].down = None;
                self.given(index, GivingEvent::Ended);
            }
        }
    }

    pub(super) fn accept(&mut self, index: usize) {
        let Some(connection) = self.backlog.pop_front() else {
            return;
        };
        if self.processes[index].down.is_none() {
            self.processes[index].down = Some(connection);
            return;
        }
        self.say(Some(connection), OLD, Said::Busy);
        self.close(Some(connection), OLD);
    }

    /// The attempt is over, and the old process lives.
    pub(super) fn fail(&mut self, index: usize) {
        self.hang_up(index);
        self.given(index, GivingEvent::Failed);
    }

    pub(super) fn hang_up(&mut self, index: usize) {
        let down = self.processes[index].down.take();
        self.say(down, OLD, Said::Goodbye);
        self.close(down, OLD);
    }

    /// The process is killed.
    pub(in super::super) fn kill(&mut self, index: usize) {
        self.tell(format!("kill {index}"));
        // It had them alone, after its old process had closed them.
        self.is_excused |= self.processes[index].role == Role::Silent;
        self.close(self.processes[index].up, NEW);
        self.close(self.processes[index].down, OLD);
        self.release(index);
        let process = &mut self.processes[index];
        (process.role, process.accepts, process.has_sockets) = (Role::Dead, false, false);
        (process.up, process.down, process.to_take) = (None, None, None);
        process.to_give.clear();
    }

    /// The future that the process waits in is dropped, and called again if it can be.
    pub(super) fn cancel(&mut self, index: usize) {
        self.tell(format!("cancel {index}"));
        let process = &self.processes[index];
        match process.role {
            Role::Takes(_) => self.drop_takeover(index),
            // What is said in one step with what is done cannot be interrupted.
            Role::Gives(_) if !process.to_give.is_empty() => {}
            Role::Gives(Giving::Asked | Giving::KeepsAsked) => self.fail(index),
            Role::Gives(Giving::Serves | Giving::Keeps) => self.hang_up(index),
            _ => {}
        }
    }

    /// The time of whatever the process waits for is over.
    pub(super) fn time_out(&mut self, index: usize) {
        self.tell(format!("time out {index}"));
        match self.processes[index].role {
            Role::Takes(Taking::Configures) => self.cancel(index),
            Role::Takes(_) if self.processes[index].to_take.is_none() => {
                self.taken(index, TakingEvent::TimedOut);
            }
            Role::Gives(Giving::Asked | Giving::KeepsAsked) => self.cancel(index),
            Role::Gives(Giving::Keeps) if self.processes[index].to_give.is_empty() => {
                self.is_excused = true;
                self.given(index, GivingEvent::TimeOver);
            }
            _ => {}
        }
    }

    /// The process drops its `Offer` or `Successor`, and its `Predecessor`, and lives on.
    pub(super) fn drop_handles(&mut self, index: usize) {
        self.tell(format!("drop handles {index}"));
        if !self.processes[index].to_give.is_empty() {
            return;
        }
        let role = self.processes[index].role;
        if !matches!(role, Role::Gives(_)) {
            return;
        }
        self.cancel(index);
        self.processes[index].to_give.clear();
        let up = self.processes[index].up.take();
        self.close(up, NEW);
        let down = self.processes[index].down.take();
        self.close(down, OLD);
        self.release(index);
        let process = &mut self.processes[index];
        if process.accepts {
            self.owner = None;
            process.role = Role::Silent;
        } else {
            // Others may have relied on what this one kept.
            (process.role, process.has_sockets) = (Role::Done, false);
            self.is_excused = true;
        }
    }

    pub(super) fn drop_takeover(&mut self, index: usize) {
        let up = self.processes[index].up.take();
        self.close(up, NEW);
        self.release(index);
        let process = &mut self.processes[index];
        (process.role, process.has_sockets, process.to_take) = (Role::Done, false, None);
    }

    /// The lock and the listener of the path are closed, if this process has them.
    pub(super) fn release(&mut self, index: usize) {
        if self.lock == At::Process(index) {
            self.lock = At::NoProcess;
        }
        if self.path == At::Process(index) {
            self.set_path(At::NoProcess);
        }
    }
}
