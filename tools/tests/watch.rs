//! What `dlm_tool watch` draws, on a terminal that is none.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlm_tools::args::{self, Parsed};
use dlm_tools::run::{Environment, Tool};
use dlm_tools::watch::{Colours, Seen, View, draw};
use dlmcontrol::Client;
use dlmcontrol::state::{
    LockspaceState, Meters, Reason, Slot, SlotsKnown, State, Time, Timing, Wait,
};
use expect_test::{Expect, expect};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::time::{Duration, Instant};

/// What the daemon's own test has the daemon say: node 3 must be fenced, our agent failed twice.
fn fencing() -> State {
    let mut state: State =
        serde_json::from_str(include_str!("../../controld/src/control/testdata/state.json"))
            .unwrap();
    "0.1.0".clone_into(&mut state.daemon.version);
    state.cluster.waits.clear();
    let slot = |slot| Slot { slot, jid: slot - 1, node: slot };
    let lockspace = &mut state.lockspaces[0];
    (lockspace.slots, lockspace.slots_known) = ((1..=3).map(slot).collect(), SlotsKnown::Confirmed);
    state
}

/// The same two seconds later, with so many operations a second.
fn later(state: &State, plocks: u64) -> State {
    let mut state = state.clone();
    state.now.boot_ms += 2_000;
    let meters = state.meters.get_or_insert_with(Meters::default);
    *meters.received.entry("plock".to_owned()).or_default() += 2 * plocks;
    *meters.sent.entry("plock".to_owned()).or_default() += plocks;
    meters.events = Timing {
        count: meters.events.count + 2 * plocks,
        sum_us: meters.events.sum_us + 6 * plocks,
        buckets: vec![],
    };
    state
}

struct Screen {
    terminal: Terminal<TestBackend>,
    view: View,
    seen: Seen,
    now: Instant,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        Self { terminal, view: View::new(Colours::On), seen: Seen::default(), now: Instant::now() }
    }

    fn after(mut self, state: State) -> Self {
        self.seen.note(Ok(state), self.now);
        self
    }

    fn draw(&mut self) {
        let sight = self.seen.sight(self.now);
        self.terminal.draw(|frame| draw(frame, &sight, &mut self.view)).unwrap();
    }

    fn lines(&mut self) -> Vec<String> {
        self.draw();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let line = |cells: &[ratatui::buffer::Cell]| {
            let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            text.trim_end().to_owned()
        };
        buffer.content.chunks(width).map(line).collect()
    }

    fn shows(&mut self, expected: &Expect) {
        expected.assert_eq(&(self.lines().join("\n") + "\n"));
    }

    fn colours(&mut self) -> Vec<Color> {
        self.draw();
        let cells = self.terminal.backend().buffer().content.iter();
        let mut colours: Vec<Color> = cells.map(|cell| cell.fg).collect();
        colours.dedup();
        colours
    }

    fn press(&mut self, code: KeyCode) -> bool {
        self.view.key(KeyEvent::new(code, KeyModifiers::NONE))
    }
}

#[test]
fn failed_fencing_is_seen_at_once() {
    let mut state = fencing();
    state.meters = Some(Meters::default());
    let after = later(&state, 150);
    let mut screen = Screen::new(100, 24).after(state).after(after);
    screen.shows(&expect![[r#"
         dlm_controld 0.1.0   node 1   up 1 min 40 s
        quorum   ring 1.17   members 1 2

        NODE    STATE                            SINCE
        1*      member                           1 min 30 s
        2       member                           1 min 30 s
        3       failed (nodedown), to be fenced  10 s
            waits for the next attempt in 0.0 s, after a failure, for 1.0 s now
            Node 1 tried and failed, last with result 1.
            Attempts of this node that failed in a row: 2.
            Fence agent fence_ipmilan (device power), begun 8.0 s ago: failed with exit status 1 after 2.0
            s.
            it wrote: Connection timed out
            Fence agent fence_ipmilan (device power), begun 5.0 s ago: was ended by signal 9 after 2.0 s.
            it wrote: Connection timed out

        LOCKSPACE       STATE     MEMBERS, SLOTS (slot:node)
        fs              stopped   1 2 3 -> 1 2   slots 1:1 2:2 3:3
            waits for fencing of node 3, for 6.0 s now
        t1              stopped   1 2 3 -> 1 2
            waits for the kernel to stop the lockspace, for 7.0 s now


         q: end   plocks/s 150 (here 75)   messages/s 150 in, 75 out   events/s 150, 3 us each   kernel writ
    "#]]);
}

#[test]
fn narrow_terminal_breaks_lines_and_a_short_one_is_scrolled() {
    let mut screen = Screen::new(44, 10).after(fencing());
    screen.shows(&expect![[r#"
         dlm_controld 0.1.0   node 1   up 1 min 40 s
        quorum   ring 1.17   members 1 2

        NODE    STATE                            SIN
        1*      member                           1 m
        2       member                           1 m
        3       failed (nodedown), to be fenced  8.0
            waits for the next attempt in 2.0 s,
            after a failure, for 1.0 s now
         q: end   arrows: 0 lines above, 20 below
    "#]]);
    assert!(screen.press(KeyCode::End));
    screen.shows(&expect![[r#"
         dlm_controld 0.1.0   node 1   up 1 min 40 s

        LOCKSPACE       STATE     MEMBERS, SLOTS (sl
        fs              stopped   1 2 3 -> 1 2   slo
            waits for fencing of node 3, for 6.0 s
            now
        t1              stopped   1 2 3 -> 1 2
            waits for the kernel to stop the
            lockspace, for 7.0 s now
         q: end   arrows: 20 lines above, 0 below
    "#]]);
    assert!(screen.press(KeyCode::Home));
    assert!(screen.press(KeyCode::Down));
    screen.draw();
    assert!(screen.press(KeyCode::PageUp));
    assert_eq!(screen.lines(), Screen::new(44, 10).after(fencing()).lines());
    assert!(!screen.press(KeyCode::Char('q')) && !screen.press(KeyCode::Esc));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(!screen.view.key(interrupt));
}

#[test]
fn every_size_can_be_drawn() {
    let mut screen = Screen::new(1, 1).after(fencing());
    for (width, height) in [(1, 1), (3, 2), (7, 3), (200, 60), (2, 70), (90, 5)] {
        screen.terminal.backend_mut().resize(width, height);
        screen.press(KeyCode::End);
        assert_eq!(screen.lines().len(), usize::from(height));
    }
}

#[test]
fn daemon_that_goes_and_comes_back_is_said_so() {
    let nobody = Client::with_sockets(b"dlm-tool-watch-nobody", b"dlm-tool-watch-nobody");
    let mut screen = Screen::new(100, 6);
    screen.seen.note(nobody.state(), screen.now);
    screen.shows(&expect![[r#"
         dlm_tool watch
        dlm_controld does not run; asked again every second



         q: end
    "#]]);
    screen.seen.note(Ok(fencing()), screen.now);
    screen.now += Duration::from_secs(12);
    screen.seen.note(nobody.state(), screen.now);
    screen.shows(&expect![[r#"
         dlm_controld 0.1.0   node 1   as it was 12 s ago
        dlm_controld does not run; asked again every second
        quorum   ring 1.17   members 1 2

        NODE    STATE                            SINCE
         q: end   arrows: 0 lines above, 17 below
    "#]]);
    screen.seen.note(Ok(fencing()), screen.now);
    screen.shows(&expect![[r#"
         dlm_controld 0.1.0   node 1   up 1 min 40 s
        quorum   ring 1.17   members 1 2

        NODE    STATE                            SINCE
        1*      member                           1 min 28 s
         q: end   arrows: 0 lines above, 16 below
    "#]]);
}

#[test]
fn everything_that_a_node_or_lockspace_can_be_has_its_word() {
    let mut state = fencing();
    state.lockspaces.truncate(1);
    state.lockspaces[0].waits.clear();
    let of = |name: &str, what: LockspaceState| {
        let mut lockspace = state.lockspaces[0].clone();
        name.clone_into(&mut lockspace.name);
        lockspace.state = what;
        lockspace.pending = None;
        lockspace
    };
    use LockspaceState as S;
    let mut lockspaces = vec![
        of("a", S::Running),
        of("a-name-that-is-longer-than-its-column", S::Joining),
        of("c", S::Starting),
        of("d", S::Leaving),
        of("e", S::Running),
    ];
    lockspaces[4].without_quorum = true;
    lockspaces[4].slots_known = SlotsKnown::Predicted;
    lockspaces[3].members.clear();
    state.lockspaces = lockspaces;
    state.nodes.truncate(2);
    state.nodes[1].clean = false;
    let mut more = vec![state.nodes[0].clone(); 3];
    more[0].merged = true;
    more[1].member = false;
    more[1].fencing.fenced = Some(Time { boot_ms: 94_000, wall_ms: 0 });
    more[1].fencing.fenced_by = Some(2);
    more[2].member = false;
    let since = Time { boot_ms: 100_000, wall_ms: 0 };
    let startup = Wait {
        reason: Reason::FenceJoinDelay,
        nodes: vec![5],
        since,
        waiting_ms: 4_000,
        until: Some(Time { boot_ms: 110_000, wall_ms: 0 }),
        write: None,
        count: None,
    };
    more[2].waits.push(startup);
    for (id, node) in (3..).zip(&mut more) {
        node.node = id;
    }
    state.nodes.extend(more);
    state.cluster.quorate = false;
    state.cluster.stateful_merge = true;
    state.cluster.daemon_ring.seq = 16;
    state.cluster.killed_agents = 1;
    state.stale_ms = Some(3_000);
    Screen::new(100, 20).after(state).shows(&expect![[r#"
         dlm_controld 0.1.0   node 1   up 1 min 40 s
        THE DAEMON'S EVENT LOOP DOES NOT ANSWER; this is 3.0 s old
        NO QUORUM   ring 1.17, daemons' 1.16   members 1 2   MERGED PARTITIONS
            fence agents that were killed and go on: 1

        NODE    STATE                            SINCE
        1*      member                           1 min 28 s
        2       member, says nothing yet         1 min 28 s
        3       merged, to be removed            1 min 28 s
        4       gone (unknown)                                 fenced 10 s ago by node 2
        5       not seen since our start
            waits for the end of post_join_delay in 6.0 s; it may join until then, for 4.0 s now

        LOCKSPACE       STATE     MEMBERS, SLOTS (slot:node)
        a               running   1 2 3   slots 1:1 2:2 3:3
        a-name-that-is-longer-than-its-column joining   1 2 3   slots 1:1 2:2 3:3
        c               starting  1 2 3   slots 1:1 2:2 3:3
        d               leaving   -   slots 1:1 2:2 3:3
        e               running   1 2 3   slots 1:1 2:2 3:3 predicted
         q: end   arrows: 0 lines above, 1 below
    "#]]);
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    let mut screen = Screen::new(80, 24).after(fencing());
    let colours = screen.colours();
    assert!(colours.contains(&Color::Red) && colours.contains(&Color::Green), "{colours:?}");
    screen.view = View::new(Colours::Off);
    assert_eq!(screen.colours(), [Color::Reset]);
}

/// Tests have no terminal as standard input and output, or else the program would be drawn over them.
#[test]
fn without_a_terminal_it_says_what_there_is_instead() {
    let words: Vec<Vec<u8>> = vec![b"watch".to_vec()];
    let Ok(Parsed::Run(invocation)) = args::parse(b"dlm_tool", &words) else {
        panic!("no command")
    };
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dlm_tool"))
        .arg("watch")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("watch needs a terminal; for files and programs there are "),
        "{text}"
    );
    let environment = Environment::default();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut tool = Tool { environment: &environment, out: &mut out, err: &mut err };
    let mut json = invocation;
    json.options.json = true;
    assert_eq!(tool.run(&json).unwrap(), 1);
    assert!(String::from_utf8(err).unwrap().starts_with("--json is for queries"));
}
