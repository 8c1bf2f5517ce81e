//! Two processes with one key: how a node finds the other one, and what each of them does then.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bench;

use bytes::Bytes;
use smokesignal_proto::*;

use bench::{Bench, key, mark, record, tiny};

/// The query of a search for the node itself.
fn own_search(outputs: &[Output]) -> Option<u64> {
    outputs.iter().find_map(|output| match output {
        Output::Send { message: Message::Control(control), .. } => match **control {
            Control::Find { query, target, .. } if target == key(1).id() => Some(query),
            _ => None,
        },
        _ => None,
    })
}

fn conflict(outputs: &[Output]) -> Option<bool> {
    outputs.iter().find_map(|output| match output {
        Output::IdentityConflict { superseded } => Some(*superseded),
        _ => None,
    })
}

/// What the other process says of itself over a connection of the two.
fn say(bench: &mut Bench, n: u16, incarnation: u64, uptime_ms: u64) -> Vec<Output> {
    bench.node.handle_connected(LinkId(n.into()), key(1).id(), None, bench.now);
    bench.tell(n, Control::Twin { process: 99, incarnation, uptime_ms });
    bench.drain(None)
}

fn write(bench: &mut Bench) -> Result<u64, Full> {
    bench.node.broadcast(Bytes::from_static(b"hello"), bench.now)
}

#[test]
fn a_node_that_reads_what_it_has_not_written_finds_the_other_process_and_both_can_tell_who_was_first() {
    for (uptime_ms, superseded) in [(0, true), (3_600_000, false)] {
        let mut bench = Bench::new(&[2, 3]);
        bench.pass(60, &[2, 3]);
        write(&mut bench).unwrap();
        bench.drain(None);
        bench.tell(2, tiny(1, 7, 1));
        let query = own_search(&bench.drain(None)).unwrap();
        bench.tell(3, Control::Located { query, record: record(1) });
        let dial = bench.drain(None).into_iter().find_map(|output| match output {
            Output::Dial { dial, expect: Some(id), .. } if id == key(1).id() => Some(dial),
            _ => None,
        });
        bench.node.handle_connected(LinkId(9), key(1).id(), dial, bench.now);
        let said = bench.drain(None).into_iter().find_map(|output| match output {
            Output::Send { link: LinkId(9), message: Message::Control(control) } => Some(control),
            _ => None,
        });
        assert!(matches!(said.as_deref(), Some(Control::Twin { uptime_ms: 60_000, .. })), "{said:?}");
        bench.tell(9, Control::Twin { process: 99, incarnation: 7, uptime_ms });
        let outputs = bench.drain(None);
        assert_eq!(conflict(&outputs), Some(superseded));
        let ends = |output: &Output| matches!(output, Output::Close { link: LinkId(9), .. });
        assert!(outputs.iter().any(ends));
        assert_eq!(bench.node.is_superseded(), superseded);
        // It is reported once, and not looked for any more.
        let again = say(&mut bench, 10, 7, uptime_ms);
        assert_eq!((conflict(&again), bench.node.is_superseded()), (None, superseded));
        bench.tell(2, tiny(1, 7, 2));
        assert_eq!(own_search(&bench.pass(60, &[2, 3])), None);
    }
}

/// It has dialled one of its own addresses.
#[test]
fn a_node_that_reaches_itself_is_no_twin() {
    let mut bench = Bench::new(&[2]);
    bench.node.handle_connected(LinkId(8), key(1).id(), None, bench.now);
    bench.node.handle_connected(LinkId(9), key(1).id(), None, bench.now);
    let said = bench.drain(None).into_iter().find_map(|output| match output {
        Output::Send { link: LinkId(8), message } => Some(message),
        _ => None,
    });
    bench.tell(9, said.unwrap());
    let outputs = bench.drain(None);
    assert_eq!(conflict(&outputs), None);
    write(&mut bench).unwrap();
    // The other end never says anything.
    let outputs = bench.pass(5, &[2]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Close { link: LinkId(8), .. })));
}

#[test]
fn the_second_process_begins_after_the_first_whatever_its_clock_says() {
    let mut bench = Bench::with(Config { incarnation: 3, ..Config::default() });
    bench.link_and_drain(2);
    let outputs = say(&mut bench, 9, 1_000, 60_000);
    assert_eq!(conflict(&outputs), Some(false));
    write(&mut bench).unwrap();
    let incarnation = bench.drain(None).into_iter().find_map(|output| match output {
        Output::Send { message: Message::Data(segment, _), .. } => Some(segment.incarnation),
        _ => None,
    });
    assert_eq!(incarnation, Some(1_001));
}

/// Its record has raised the incarnation of the first one, which has not written anything.
#[test]
fn a_record_of_the_second_process_does_not_make_it_the_first_one() {
    let mut bench = Bench::with(Config { incarnation: 1_000, ..Config::default() });
    bench.link_and_drain(2);
    let of_second = Record::sign(&key(1), &[0; 32], vec!["127.0.0.1:77".parse().unwrap()], 2_000);
    bench.tell(2, Control::Welcome { records: vec![of_second] });
    assert_eq!(conflict(&say(&mut bench, 9, 2_000, 0)), Some(true));
}

/// After a restart the neighbours still have the stream of the start before. Nobody answers.
#[test]
fn a_restarted_node_is_no_twin_and_its_first_message_waits_half_a_second_at_most() {
    let mut bench = Bench::joiner(Config { incarnation: 9, ..Config::default() });
    bench.link(2, vec![mark(1, 7, 5, 1, 1)]);
    assert!(own_search(&bench.drain(None)).is_some());
    write(&mut bench).unwrap();
    let is_written = |outputs: &[Output]| {
        let data = |output: &Output| matches!(output, Output::Send { message: Message::Data(..), .. });
        outputs.iter().any(data)
    };
    assert!(!is_written(&bench.drain(None)));
    let mut outputs = bench.pass(1, &[2]);
    assert!(is_written(&outputs));
    outputs.extend(bench.pass(60, &[2]));
    assert_eq!(conflict(&outputs), None);
    assert!(!bench.node.is_superseded());
}

/// A record of a later version is that of a later start: others would not believe an older one.
#[test]
fn a_record_of_a_later_start_makes_the_own_one_later_and_the_node_look_for_the_other_process() {
    let mut bench = Bench::new(&[2, 3]);
    write(&mut bench).unwrap();
    bench.drain(None);
    let later = Record::sign(&key(1), &[0; 32], vec!["127.0.0.1:77".parse().unwrap()], 5_000);
    bench.tell(2, Control::Welcome { records: vec![later] });
    assert!(own_search(&bench.drain(None)).is_some());
    bench.node.handle_connected(LinkId(9), key(9).id(), None, bench.now);
    bench.tell(
        9,
        Control::Neighbor { record: record(9), incarnation: 1, priority: Priority::Need, token: None },
    );
    let version = bench.drain(None).into_iter().find_map(|output| match output {
        Output::Send { link: LinkId(9), message: Message::Control(control) } => match *control {
            Control::Accept { record, .. } => Some(record.version),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(version, Some(5_001));
}

#[test]
fn made_up_marks_make_a_node_look_for_itself_seldom() {
    let mut bench = Bench::new(&[2, 3]);
    let mut searches = 0;
    for n in 0..600 {
        bench.marks(2, vec![mark(1, 100 + n, 5, 1, 1)]);
        let outputs = bench.pass(1, &[2, 3]);
        let first = |output: &&Output| own_search(std::slice::from_ref(output)).is_some();
        searches += outputs.iter().filter(first).count();
    }
    // In ten minutes 9 searches, each sent twice to both neighbours.
    assert!((4..=40).contains(&searches), "{searches}");
}
