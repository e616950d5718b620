//! Two to four processes play handovers without sockets: with kills, dropped futures and handles,
//! and delays at every step.
//!
//! What the kernel does is modelled here: connections with what is on its way in them, the lock,
//! and the listener of the path with the connections that wait there. What the processes do is
//! decided by [`Giving`] and [`Taking`].

mod acts;
mod plays;

use std::collections::VecDeque;

use super::giving::{Giving, GivingAction};
use super::taking::{Taking, TakingAction, TakingEvent};

/// What is said, as far as it decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Hello,
    Sockets {
        owner: Option<usize>,
    },
    Drain,
    /// The lock and the listener of the path are on their way in it.
    Draining,
    Busy,
    Goodbye,
}

/// Where the lock is, or the listener of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    NoProcess,
    Process(usize),
    /// In a message of this connection.
    OnItsWay(usize),
}

/// The new process's end, and the old process's.
const NEW: usize = 0;
const OLD: usize = 1;

#[derive(Clone, Debug, Default)]
struct Connection {
    is_open: [bool; 2],
    /// What this end has not read yet.
    unread: [VecDeque<Said>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Takes(Taking),
    Gives(Giving),
    /// It accepts, and has dropped its `Offer` and its `Predecessor`.
    Silent,
    /// It lives, and has nothing to do with it any more.
    Done,
    Dead,
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) accepts: bool,
    /// It has descriptors of the sockets.
    pub(super) has_sockets: bool,
    /// The connection to the old process.
    up: Option<usize>,
    /// The connection to a new one.
    down: Option<usize>,
    /// Which process served last when the sockets were sent.
    owner: Option<usize>,
    to_take: Option<TakingAction>,
    to_give: VecDeque<GivingAction>,
}

impl Process {
    /// It has descriptors of sockets that it has given away.
    fn keeps(&self) -> bool {
        matches!(self.role, Role::Gives(_)) && self.has_sockets && !self.accepts
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The process does what its state machine has said, or tries again.
    Act(usize),
    /// The process reads from its old process, or finds that the connection has ended.
    HearUp(usize),
    HearDown(usize),
    /// The process accepts a connection of the path.
    Accept(usize),
    Configured(usize),
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) processes: Vec<Process>,
    connections: Vec<Connection>,
    pub(super) lock: At,
    /// Which process has served last, as the lock file says; `None` if it lives on and gives
    /// nothing away.
    owner: Option<usize>,
    pub(super) path: At,
    /// Connections that no process has accepted yet.
    backlog: VecDeque<usize>,
    /// Sockets may be gone: their time was over, or a process that had them alone said so.
    pub(super) is_excused: bool,
    /// A process has given up although no other one had taken over since it was sent its sockets.
    pub(super) has_given_up: bool,
    /// What has happened, for the reader of a test that failed.
    story: Vec<String>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            processes: Vec::new(),
            connections: Vec::new(),
            lock: At::NoProcess,
            owner: None,
            path: At::NoProcess,
            backlog: VecDeque::new(),
            is_excused: false,
            has_given_up: false,
            story: Vec::new(),
        }
    }

    pub(super) fn start(&mut self) -> usize {
        self.processes.push(Process {
            role: Role::Takes(Taking::Looking { ready: false }),
            accepts: false,
            has_sockets: false,
            up: None,
            down: None,
            owner: None,
            to_take: Some(TakingAction::Wait),
            to_give: VecDeque::new(),
        });
        self.processes.len() - 1
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (usize, &Process)> {
        let processes = self.processes.iter().enumerate();
        processes.filter(|(_, process)| process.role != Role::Dead)
    }

    fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    /// At every moment.
    pub(super) fn check(&self) {
        let accepting: Vec<usize> = self
            .alive()
            .filter(|(_, process)| process.accepts)
            .map(|(index, _)| index)
            .collect();
        assert!(
            accepting.len() <= 1,
            "{accepting:?} accept: {:#?}",
            self.story
        );
        let mut given = self
            .alive()
            .filter(|(_, process)| matches!(process.role, Role::Gives(_)));
        if given.next().is_some() && !self.is_excused {
            assert!(
                self.alive().any(|(_, process)| process.has_sockets),
                "no process has the sockets: {:#?}",
                self.story
            );
        }
        for (_, process) in self
            .alive()
            .filter(|(_, process)| process.to_give.is_empty())
        {
            if let Role::Gives(giving) = process.role {
                assert_eq!(process.accepts, giving.accepts(), "{process:?}");
            }
        }
        for at in [self.lock, self.path] {
            if let At::Process(index) = at {
                assert_ne!(self.processes[index].role, Role::Dead);
            }
        }
    }

    /// What may happen while no process dies or changes its mind.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, process) in self.alive() {
            match process.role {
                Role::Takes(taking) => {
                    if process.to_take.is_some() {
                        steps.push(Step::Act(index));
                    } else if taking == Taking::Configures {
                        steps.push(Step::Configured(index));
                    } else if self.may_hear(process.up, NEW) {
                        steps.push(Step::HearUp(index));
                    }
                }
                Role::Gives(giving) => {
                    let listens = self.path == At::Process(index) && !self.backlog.is_empty();
                    if !process.to_give.is_empty() {
                        steps.push(Step::Act(index));
                    } else {
                        if giving == Giving::Unsure {
                            steps.push(Step::Act(index));
                        }
                        if self.may_hear(process.down, OLD) {
                            steps.push(Step::HearDown(index));
                        }
                        if listens && giving != Giving::Replaced {
                            steps.push(Step::Accept(index));
                        }
                    }
                }
                Role::Silent | Role::Done | Role::Dead => {}
            }
        }
        steps
    }

    fn may_hear(&self, connection: Option<usize>, end: usize) -> bool {
        connection.is_some_and(|connection| {
            let connection = &self.connections[connection];
            !connection.unread[end].is_empty() || !connection.is_open[1 - end]
        })
    }

    pub(super) fn take(&mut self, step: Step) {
        self.tell(format!("{step:?}"));
        match step {
            Step::Act(index) => self.act(index),
            Step::HearUp(index) => self.hear_up(index),
            Step::HearDown(index) => self.hear_down(index),
            Step::Accept(index) => self.accept(index),
            Step::Configured(index) => self.taken(index, TakingEvent::Configured),
        }
    }

    fn set_path(&mut self, at: At) {
        self.path = at;
        // A process that listens anew has another socket.
        if !matches!(at, At::OnItsWay(_)) {
            for connection in std::mem::take(&mut self.backlog) {
                self.close(Some(connection), OLD);
            }
        }
    }

    fn say(&mut self, connection: Option<usize>, end: usize, said: Said) {
        if let Some(connection) = connection.map(|connection| &mut self.connections[connection]) {
            if connection.is_open[end] && connection.is_open[1 - end] {
                connection.unread[1 - end].push_back(said);
            }
        }
    }

    fn read(&mut self, connection: Option<usize>, end: usize) -> Option<Said> {
        self.connections[connection?].unread[end].pop_front()
    }

    /// What was not read is lost, with the descriptors in it.
    fn close(&mut self, connection: Option<usize>, end: usize) {
        let Some(number) = connection else {
            return;
        };
        let connection = &mut self.connections[number];
        connection.is_open[end] = false;
        if std::mem::take(&mut connection.unread[end]).contains(&Said::Draining) {
            self.lock = At::NoProcess;
            self.set_path(At::NoProcess);
        }
    }

    /// Everything that can happen by itself does.
    pub(super) fn settle(&mut self) {
        self.advance(|_, _| true);
    }

    /// The same, of what may happen.
    pub(super) fn advance(&mut self, may: impl Fn(&Self, Step) -> bool) {
        // A process that waits for another one looks again and again.
        for _ in 0..100 {
            for step in self.steps() {
                if self.steps().contains(&step) && may(self, step) {
                    self.take(step);
                    self.check();
                }
            }
        }
    }

    /// What the process does next, if it has something to give.
    pub(super) fn to_give(&self, index: usize) -> Option<GivingAction> {
        self.processes[index].to_give.front().copied()
    }
}
