//! Two to four processes play handovers without sockets: with kills, dropped futures and handles, and delays at every step.
//!
//! What the kernel does is modelled here: connections with what is on its way in them, the lock, and the listener of the path with the
//! connections that wait there. What the processes do is decided by [`Giving`] and [`Taking`].

use std::collections::VecDeque;

use super::giving::{Giving, GivingAction, GivingEvent};
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
    /// Which process has served last, as the lock file says; `None` if it lives on and gives nothing away.
    owner: Option<usize>,
    pub(super) path: At,
    /// Connections that nobody has accepted yet.
    backlog: VecDeque<usize>,
    /// Sockets may be gone: their time was over, or a process that had them alone said so.
    pub(super) is_excused: bool,
    /// A process has given up although no other one had taken over since it was sent its sockets.
    pub(super) has_given_up: bool,
    /// What has happened, for whoever reads why a test failed.
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
                "nobody has the sockets: {:#?}",
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

    /// What may happen without anybody's death or change of mind.
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

    fn taken(&mut self, index: usize, event: TakingEvent) {
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

    fn given(&mut self, index: usize, event: GivingEvent) {
        self.tell(format!(
            "  {index}: {event:?} as {:?}",
            self.processes[index].role
        ));
        let process = &mut self.processes[index];
        if let Role::Gives(giving) = &mut process.role {
            process.to_give.extend(giving.on(event));
        }
    }

    fn act(&mut self, index: usize) {
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

    fn do_take(&mut self, index: usize, action: TakingAction) {
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
                // A fresh start binds its addresses, which fails as long as another process has them.
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

    fn serve(&mut self, index: usize) {
        self.owner = Some(index);
        let process = &mut self.processes[index];
        process.role = Role::Gives(Giving::Serves);
        process.accepts = true;
        process.has_sockets = true;
    }

    fn do_give(&mut self, index: usize, action: GivingAction) {
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

    fn hear_up(&mut self, index: usize) {
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

    fn hear_down(&mut self, index: usize) {
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

    fn accept(&mut self, index: usize) {
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
    fn fail(&mut self, index: usize) {
        self.hang_up(index);
        self.given(index, GivingEvent::Failed);
    }

    fn hang_up(&mut self, index: usize) {
        let down = self.processes[index].down.take();
        self.say(down, OLD, Said::Goodbye);
        self.close(down, OLD);
    }

    /// The process is killed.
    pub(super) fn kill(&mut self, index: usize) {
        self.tell(format!("kill {index}"));
        // It had them alone, after its old process was told to forget them.
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

    fn drop_takeover(&mut self, index: usize) {
        let up = self.processes[index].up.take();
        self.close(up, NEW);
        self.release(index);
        let process = &mut self.processes[index];
        (process.role, process.has_sockets, process.to_take) = (Role::Done, false, None);
    }

    /// The lock and the listener of the path are closed, if this process has them.
    fn release(&mut self, index: usize) {
        if self.lock == At::Process(index) {
            self.lock = At::NoProcess;
        }
        if self.path == At::Process(index) {
            self.set_path(At::NoProcess);
        }
    }

    fn set_path(&mut self, at: At) {
        self.path = at;
        // Who listens anew has another socket.
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

mod plays {
    use proptest::prelude::*;

    use super::*;

    /// One thing that happens in a play; the second number says to which process, or which of what may happen.
    fn play(moves: &[(u8, usize)]) -> World {
        let mut world = World::new();
        let first = world.start();
        while world.processes[first].role != Role::Gives(Giving::Serves) {
            world.take(Step::Act(first));
        }
        for (kind, which) in moves {
            let process = which % world.processes.len();
            match kind {
                0..=9 => {
                    let steps = world.steps();
                    if !steps.is_empty() {
                        world.take(steps[which % steps.len()]);
                    }
                }
                10 if world.alive().count() < 4 && world.processes.len() < 12 => {
                    world.start();
                }
                11 if world.processes[process].role != Role::Dead => world.kill(process),
                12 => world.cancel(process),
                13 => world.time_out(process),
                14 => world.drop_handles(process),
                _ => {}
            }
            world.check();
        }
        world
    }

    fn moves(kinds: u8) -> impl Strategy<Value = Vec<(u8, usize)>> {
        prop::collection::vec((0..kinds, 0..1_000_usize), 0..120)
    }

    /// Whatever has happened, a process that is started then serves; unless one serves that cannot be replaced.
    fn the_next_one_serves(world: &mut World) {
        world.settle();
        let silent = world
            .alive()
            .any(|(_, process)| process.role == Role::Silent);
        let next = world.start();
        world.settle();
        let stuck: Vec<_> = world
            .alive()
            .filter(|(_, process)| matches!(process.role, Role::Takes(_)))
            .collect();
        assert!(
            stuck.is_empty(),
            "they wait for ever: {stuck:?}: {:#?}",
            world.story
        );
        let accepting = world.alive().filter(|(_, process)| process.accepts).count();
        assert_eq!(accepting, 1, "{:#?}", world.story);
        assert!(
            silent || world.processes[next].accepts,
            "{next}: {:#?}",
            world.story
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn at_most_one_accepts_and_no_socket_is_lost(moves in moves(15)) {
            play(&moves);
        }

        #[test]
        fn if_processes_are_only_killed_none_that_has_sockets_gives_up(moves in moves(12)) {
            let mut world = play(&moves);
            the_next_one_serves(&mut world);
            assert!(!world.has_given_up, "{:#?}", world.story);
        }

        #[test]
        fn whatever_has_happened_the_next_one_serves(moves in moves(15)) {
            the_next_one_serves(&mut play(&moves));
        }
    }
}
