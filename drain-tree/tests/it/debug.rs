//! The debug text of every handle is short, however many nodes and connections there are, and is
//! written with nothing locked: what it is written to may use the tree.

use std::fmt::{self, Write};
use std::task::{Context, Waker};

use drain_tree::{
    ChildOptions, DrainDirection, DrainManager, DrainReason, DrainSettings, DrainStart,
};

const START: DrainStart = DrainStart::new(DrainReason::ListenerModify);
const LONG: usize = 10_000;

/// Calls back whenever something is written to it.
struct Writer<F> {
    use_all: F,
    length: usize,
}

impl<F: FnMut()> Write for Writer<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.length += text.len();
        (self.use_all)();
        Ok(())
    }
}

#[test]
fn a_debug_text_is_short_and_its_writer_may_use_the_tree() {
    let root = DrainManager::root(DrainSettings::default());
    let children: Vec<_> = (0..1000)
        .map(|_| root.child(ChildOptions::default()))
        .collect();
    let watches: Vec<_> = children
        .iter()
        .map(|child| child.watch().unwrap())
        .collect();
    let callback = children[0].on_drain(DrainDirection::All, |_| ());
    let mut sequence = root.start_drain_sequence(START);
    let (now, mut next) = (sequence.event().start, None);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sequence.poll_at(now, &mut cx, &mut next).is_pending());
    for text in [format!("{root:?}"), format!("{sequence:?}")] {
        assert!(text.len() < LONG, "it grows with the nodes");
    }
    let use_all = || {
        let child = root.child(ChildOptions::default());
        assert!(child.is_draining() && root.open_watches() == 1000);
        root.bring_forward(now + root.settings().drain_time);
        drop(root.start_drain_sequence(START));
    };
    let mut writer = Writer { use_all, length: 0 };
    let decision = children[0].decision(&watches[0]);
    write!(
        writer,
        "{root:?} {:?} {sequence:?} {callback:?} {decision:?}",
        children[0]
    )
    .unwrap();
    assert!(writer.length < LONG);
}
