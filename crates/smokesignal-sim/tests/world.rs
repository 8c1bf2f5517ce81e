//! Runs repeat, rules do what they say, and real networks keep the invariants.
//!
//! The tests at the end are swarm seeds that once violated an invariant. Each says which one, and
//! what was wrong then.

use std::time::Duration;

use smokesignal_sim::{
    Behaviour, Draw, Expect, Fault, Latency, Line, Rule, Run, Scenario, Setup, Workload, World,
};

const S: Duration = Duration::from_secs(1);

fn setup(rng_seed: u64) -> Setup {
    let expect = Expect { gaps: true, netsplits: true, ..Expect::default() };
    Setup { latency: Latency::Lan, expect, ..Setup::new(rng_seed) }
}

/// Creates a world of nodes that have found their places.
fn gathered(nodes: usize, rng_seed: u64) -> World {
    gathered_with(nodes, setup(rng_seed))
}

fn gathered_with(nodes: usize, setup: Setup) -> World {
    let rng_seed = setup.rng_seed;
    let mut world = World::new(setup);
    world.join(nodes, 100.0);
    world.run(8 * S);
    assert_eq!(world.graph().components(), [nodes], "seed {rng_seed}");
    world
}

fn with_rule(nodes: usize, rule: Rule) -> World {
    let mut world = gathered(nodes, 1);
    world.add_rule(rule);
    world
}

fn five_writers(lasts: Duration) -> Workload {
    Workload { writers: 5, per_second: 5.0, size: 100, lasts }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another_one() {
    let play = |seed| {
        let mut world = gathered(12, seed);
        world.write(five_writers(4 * S));
        world.add_rule(Rule::lasting(S, 4 * S, Fault::Churn { per_minute: 5.0 }));
        world.add_rule(Rule::lasting(S, 2 * S, Fault::Freeze { nodes: 2 }));
        world.run(10 * S);
        (world.trace_hash(), world.events())
    };
    assert_eq!(play(1), play(1));
    assert_ne!(play(1), play(2));
}

/// A node that is alone, two and four nodes; larger networks in `smokesignal sim late-seed`.
#[test]
fn a_late_seed_is_met_within_five_seconds_and_dialled_three_times_in_five_at_most() {
    let progress = &mut |_| {};
    let (nodes, ignore) = (Some(4), Vec::new());
    let mut run =
        Run { rng_seed: 1, nodes, seeds: 0, case: None, features: 0, ignore, trace: None, progress };
    let report = Scenario::find("late-seed").unwrap().run(&mut run);
    assert_eq!(report.violations, []);
    let missed: Vec<_> = report.figures.iter().filter(|figure| figure.met == Some(false)).collect();
    assert!(missed.is_empty(), "seed {}: {missed:?}", report.rng_seed);
}

/// Larger networks in `smokesignal sim two-seeds`.
#[test]
fn a_node_with_seeds_in_two_networks_makes_them_one_that_hangs_on_no_single_node() {
    let progress = &mut |_| {};
    let (nodes, ignore) = (Some(20), Vec::new());
    let mut run =
        Run { rng_seed: 2, nodes, seeds: 0, case: None, features: 0, ignore, trace: None, progress };
    let report = Scenario::find("two-seeds").unwrap().run(&mut run);
    assert_eq!(report.violations, []);
    let missed: Vec<_> = report.figures.iter().filter(|figure| figure.met == Some(false)).collect();
    assert!(missed.is_empty(), "seed {}: {missed:?}", report.rng_seed);
}

/// Larger networks in `smokesignal sim reorder`.
#[test]
fn with_near_links_each_node_keeps_two_random_ones_and_all_stay_connected() {
    let progress = &mut |_| {};
    let (nodes, ignore) = (Some(24), Vec::new());
    let mut run =
        Run { rng_seed: 1, nodes, seeds: 0, case: None, features: 0, ignore, trace: None, progress };
    let report = Scenario::find("reorder").unwrap().run(&mut run);
    assert_eq!(report.violations, []);
    let figure = |name: &str| report.figures.iter().find(|figure| figure.name == name).unwrap();
    for name in ["regions, near: near links per node", "cities, near: near links per node"] {
        assert!(figure(name).value > 0.5, "seed {}: {:?}", report.rng_seed, figure(name));
    }
    // How much sooner messages arrive depends on the size.
    let missed = report.figures.iter().filter(|figure| figure.met == Some(false) && figure.unit != "x");
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "seed {}: {missed:?}", report.rng_seed);
}

#[test]
fn a_kill_takes_its_share_and_everyone_else_reads_everything() {
    let mut world = with_rule(20, Rule::once(2 * S, Fault::Kill { share: 0.5, silent: false }));
    world.write(five_writers(6 * S));
    world.run(7 * S);
    assert_eq!(world.alive().len(), 10);
    world.check_quiescence(5 * S);
    assert_eq!(world.violation(), None);
    assert!(world.stats.deliveries > 100);
}

#[test]
fn a_silent_kill_closes_no_connection() {
    let degree = |silent| {
        let mut world = with_rule(20, Rule::once(Duration::ZERO, Fault::Kill { share: 0.5, silent }));
        // Longer than any delay in this world, shorter than the ping timeout.
        world.run(S / 2);
        let survivors = world.alive();
        let peers: usize = survivors.iter().map(|ix| world.peers_of(*ix)).sum();
        let links: usize = survivors.iter().map(|ix| world.graph().degree(*ix)).sum();
        (peers, links)
    };
    let (counted, alive) = degree(false);
    assert_eq!(counted, alive, "links to the dead are gone");
    let (counted, alive) = degree(true);
    assert!(counted > alive, "links to the dead are still counted");
}

#[test]
fn a_short_partition_stops_all_messages_across_it_and_breaks_no_link() {
    // No node exchanges links meanwhile.
    let mut setup = setup(1);
    setup.config.reorder = false;
    setup.config.ping_timeout = 5 * S;
    let mut world = gathered_with(20, setup);
    // Until no node has a link too many, which it would close.
    world.run(60 * S);
    // Together with the longest silence between keepalives, 2.1 s, and with what is sent again
    // after the cut, this is less than the ping timeout.
    world.add_rule(Rule::lasting(Duration::ZERO, S / 2, Fault::Partition { ways: 2 }));
    let links: Vec<_> = (0..20).map(|ix| world.peers_of(ix)).collect();
    world.run(S / 4);
    // At least the two parts. A node all of whose links crossed the cut is alone for now.
    assert!(world.graph().components().len() >= 2);
    world.run(5 * S);
    assert_eq!(world.graph().components().len(), 1);
    let kept = |(ix, links): (usize, &usize)| world.peers_of(ix) >= *links;
    assert!(links.iter().enumerate().all(kept), "{links:?}");
}

#[test]
fn a_frozen_node_answers_nothing_and_continues_afterwards() {
    let mut world = with_rule(10, Rule::lasting(S, 6 * S, Fault::Freeze { nodes: 1 }));
    world.write(Workload { writers: 10, ..five_writers(4 * S) });
    world.run(6 * S);
    assert_eq!(world.alive().len(), 10);
    assert!(world.graph().components().iter().sum::<usize>() == 10);
    world.run(10 * S);
    assert_eq!(world.graph().components(), [10]);
    assert_eq!(world.violation(), None);
}

#[test]
fn churn_replaces_as_many_as_it_kills() {
    let mut world = with_rule(20, Rule::lasting(Duration::ZERO, 6 * S, Fault::Churn { per_minute: 5.0 }));
    world.run(6 * S);
    assert_eq!(world.alive().len(), 20);
    let newcomers = world.alive().into_iter().filter(|ix| *ix >= 20).count();
    assert!((4..=12).contains(&newcomers), "{newcomers} of 20 at 10 % a second for 6 s");
}

#[test]
fn reset_connections_are_made_again_and_nothing_is_missed() {
    let mut world = with_rule(12, Rule::lasting(Duration::ZERO, 4 * S, Fault::Resets { per_minute: 30.0 }));
    world.write(five_writers(5 * S));
    let dials = world.stats.dials;
    world.run(5 * S);
    assert!(world.stats.dials > dials + 5);
    world.check_quiescence(5 * S);
    assert_eq!((world.violation(), world.stats.missed), (None, 0));
}

#[test]
fn a_slow_line_delays_what_goes_over_it() {
    let slowest = |fault: Option<Fault>| {
        let mut world = gathered(5, 1);
        if let Some(fault) = fault {
            world.add_rule(Rule::once(Duration::ZERO, fault));
        }
        world.measure();
        world.write(Workload { writers: 1, per_second: 1.0, size: 20_000, lasts: 3 * S });
        world.run(6 * S);
        world.stats.latency.max()
    };
    let fast = slowest(None);
    assert!(fast < 20_000, "{fast} us");
    for fault in
        [Fault::SlowLine { share: 1.0, bytes: 50_000 }, Fault::SlowReader { share: 1.0, bytes: 50_000 }]
    {
        let slow = slowest(Some(fault));
        assert!(slow >= 400_000, "20 kB at 50 kB/s take {slow} us");
    }
}

/// Creates a world whose nodes all have such a line.
fn lined(nodes: usize, rng_seed: u64, line: Line) -> World {
    let mut world = World::new(setup(rng_seed));
    world.join(nodes, 10.0);
    (0..nodes).for_each(|ix| world.set_line(ix, line));
    world.run(15 * S);
    assert_eq!(world.graph().components(), [nodes], "seed {rng_seed}");
    world
}

#[test]
fn a_line_delays_each_message_by_its_bytes() {
    let mut world = lined(2, 1, Line::symmetric(1_000_000, S / 2));
    world.measure();
    world.write(Workload { writers: 1, per_second: 1.0, size: 20_000, lasts: 4 * S });
    world.run(6 * S);
    // 20 kB take 160 ms up and arrive on the way down while they are sent, but for the last chunk.
    let (p50, max) = (world.stats.latency.percentile(0.5), world.stats.latency.max());
    assert!((165_000..230_000).contains(&p50) && max < 300_000, "{p50} and {max} us");
}

#[test]
fn all_connections_of_a_node_share_its_line() {
    let mut world = lined(8, 1, Line { up: 1_000_000, down: 100_000_000, queue: S / 2 });
    world.measure();
    world.write(Workload { writers: 8, per_second: 0.5, size: 10_000, lasts: 10 * S });
    world.run(12 * S);
    world.check_quiescence(10 * S);
    assert_eq!((world.violation(), world.stats.missed), (None, 0));
    // A message is sent on over several connections, whose bytes leave one after the other.
    let max = world.stats.latency.max();
    assert!(max > 160_000, "{max} us");
}

#[test]
fn cuts_freezes_kills_and_resets_leave_nothing_behind_on_lines() {
    let play = |seed| {
        let mut world = lined(12, seed, Line { up: 2_000_000, down: 16_000_000, queue: S / 5 });
        world.write(Workload { writers: 5, per_second: 2.0, size: 2_000, lasts: 30 * S });
        world.add_rule(Rule::lasting(S, 2 * S, Fault::Partition { ways: 2 }));
        world.add_rule(Rule::lasting(4 * S, 6 * S, Fault::Freeze { nodes: 2 }));
        world.add_rule(Rule::lasting(8 * S, 6 * S, Fault::Resets { per_minute: 20.0 }));
        world.add_rule(Rule::lasting(12 * S, 5 * S, Fault::SlowLine { share: 0.3, bytes: 50_000 }));
        world.add_rule(Rule::once(18 * S, Fault::Kill { share: 0.2, silent: true }));
        world.add_rule(Rule::once(22 * S, Fault::Kill { share: 0.2, silent: false }));
        world.run(31 * S);
        world.check_quiescence(30 * S);
        assert_eq!(world.violation().map(ToString::to_string), None, "seed {seed}");
        (world.trace_hash(), world.events())
    };
    assert_eq!(play(1), play(1));
    (2..6).for_each(|seed| _ = play(seed));
}

#[test]
fn a_clock_that_jumps_breaks_nothing_that_is_written_afterwards() {
    let mut world = with_rule(10, Rule::once(Duration::ZERO, Fault::ClockJump { share: 0.5, by: 2 * S }));
    world.run(10 * S);
    assert_eq!(world.graph().components(), [10]);
    world.write(five_writers(3 * S));
    world.run(3 * S);
    world.check_quiescence(Duration::ZERO);
    assert_eq!(world.violation(), None);
}

#[test]
fn restarted_nodes_come_back_with_their_old_ids() {
    let mut world = with_rule(10, Rule::lasting(S, S, Fault::Restart { share: 0.5 }));
    world.run(S + S / 2);
    assert_eq!(world.alive().len(), 5);
    world.run(15 * S);
    assert_eq!(world.alive(), (0..10).collect::<Vec<_>>());
    assert_eq!(world.graph().components(), [10]);
}

#[test]
fn nodes_that_drop_everything_cannot_keep_the_others_from_reading() {
    let rule = Rule::once(Duration::ZERO, Fault::Hostile { share: 0.2, behaviour: Some(Behaviour::Drop) });
    let mut world = with_rule(20, rule);
    world.run(10 * S);
    world.measure();
    world.write(five_writers(3 * S));
    world.run(3 * S);
    world.check_quiescence(5 * S);
    assert_eq!(world.violation(), None);
    // 16 are honest, and 5 of them write.
    assert!(world.stats.deliveries >= world.written() * 15, "{}", world.stats.deliveries);
}

/// Small networks, with liars and without; larger ones in `smokesignal sim liars`.
#[test]
fn among_liars_joiners_read_everything_and_restarted_writers_are_heard() {
    let progress = &mut |_| {};
    let (nodes, ignore) = (Some(20), Vec::new());
    let mut run =
        Run { rng_seed: 1, nodes, seeds: 0, case: None, features: 0, ignore, trace: None, progress };
    let report = Scenario::find("liars").unwrap().run(&mut run);
    assert_eq!(report.violations, []);
    let missed: Vec<_> = report.figures.iter().filter(|figure| figure.met == Some(false)).collect();
    assert!(missed.is_empty(), "seed {}: {missed:?}", report.rng_seed);
}

#[test]
fn twenty_swarm_seeds_hold() {
    for rng_seed in 1..=20 {
        let world = Draw::new(rng_seed, Some(8 + rng_seed as usize % 9)).play();
        assert_eq!(world.violation().map(ToString::to_string), None);
    }
}

#[test]
fn a_quarter_of_the_swarm_s_networks_have_lines_and_these_hold_and_repeat() {
    let lined: Vec<_> =
        (1..=400).map(|seed| Draw::new(seed, Some(12))).filter(|draw| draw.setup.lines).collect();
    assert!((70..130).contains(&lined.len()), "{} of 400", lined.len());
    for draw in lined.iter().take(4) {
        let world = draw.play();
        assert_eq!(world.violation().map(ToString::to_string), None);
        assert_eq!(world.trace_hash(), draw.play().trace_hash());
    }
}

/// Plays a seed as it was drawn before nodes had lines.
fn seed_holds(rng_seed: u64) {
    let mut draw = Draw::new(rng_seed, None);
    draw.setup.lines = false;
    let world = draw.play();
    assert_eq!(world.violation().map(ToString::to_string), None, "seed {rng_seed}");
}

/// `one-component`: two seeds that start at the same moment each gathered a network of its own, for
/// ever.
#[test]
fn two_seeds_that_start_together_make_one_network() {
    seed_holds(28);
}

/// `writer-resumes`: a line was fast again, but what it had taken before left at the old speed, and
/// the writer was blamed for it.
#[test]
fn a_writer_is_slow_until_what_it_sent_over_a_slow_line_is_out() {
    seed_holds(25);
}

/// `complete`: a node that was frozen for longer than its neighbours retain skipped too late, again
/// and again.
#[test]
fn a_node_that_fell_far_behind_catches_up_while_others_write() {
    seed_holds(107);
}

/// `no-false-netsplit`: a node whose line is too slow for the beacons took its own network for
/// another one.
#[test]
fn a_slow_line_causes_no_report_of_a_netsplit() {
    seed_holds(1459);
}

/// `complete`: when the last neighbour that was ahead had failed three times, no neighbour was ever
/// asked again.
#[test]
fn a_missing_range_is_requested_as_long_as_a_neighbour_is_ahead() {
    seed_holds(136);
}

/// `one-source`: a node that pruned a stream before it had sent its whole digest was sent the
/// stream twice for ever.
#[test]
fn a_prune_counts_even_before_the_first_digest_is_complete() {
    seed_holds(55);
}

/// `one-source`: segments that came too early, because another link was slow, were discarded again
/// and again.
#[test]
fn a_link_that_brings_segments_too_early_is_pruned() {
    seed_holds(160);
}

/// `pinned-links-kept`: only the side that pinned a link which existed already knew of the pin.
#[test]
fn both_sides_keep_a_link_that_one_of_them_pins() {
    seed_holds(199);
}

/// `no-false-netsplit`: a report about a seed that was half a minute old came late over a slow
/// line, and counted as new. Such lines held back the beacons as well.
#[test]
fn nodes_that_read_slowly_cause_no_report_of_a_netsplit() {
    for rng_seed in [8, 16, 61] {
        let mut draw = Draw::new(50_843, Some(35));
        draw.setup.lines = false;
        draw.setup.rng_seed = rng_seed;
        draw.setup.expect.netsplits = false;
        draw.rules = vec![
            Rule::lasting(S * 3, S * 60, Fault::SlowReader { share: 0.3, bytes: 5_000 }),
            Rule::lasting(S * 30, S * 40, Fault::Resets { per_minute: 1.0 }),
        ];
        let world = draw.play();
        assert_eq!(world.violation(), None);
    }
}

/// `one-source`: a neighbour that did not know the stream yet when it was pruned went on sending it
/// for ever.
#[test]
fn a_neighbour_that_missed_a_prune_is_pruned_again() {
    seed_holds(71327);
}

/// `true-positions`: a position that a node had announced was still believed after the node had
/// found out that it was false, and had corrected it.
#[test]
fn a_position_that_was_withdrawn_is_not_believed_any_longer() {
    seed_holds(71046);
}

/// `one-component`: four neighbours found at the same moment that they had a link too many, and all
/// closed the one to the same node.
#[test]
fn a_node_is_not_dropped_by_all_its_neighbours_at_the_same_time() {
    seed_holds(71903);
}

/// `link-limit`: a node that asked for links itself, as the first node of an empty network does,
/// accepted all links that were asked of it at the same time.
#[test]
fn crossing_requests_leave_no_node_with_too_many_links() {
    seed_holds(101_115);
}

/// `pinned-links-kept`: a link was pinned between the agreement to replace it by a joiner and the
/// joiner's arrival.
#[test]
fn a_link_that_is_pinned_during_a_split_is_kept() {
    seed_holds(105_840);
}

/// `quiescent-streams`: nodes that were started anew while their only seed was dead were found
/// minutes later, and brought segments that the others did not have.
#[test]
fn a_node_that_knows_no_other_any_more_is_called_by_those_that_know_it() {
    seed_holds(71339);
}

/// `same-root`: nobody retained the end of a dead writer's stream any more, and the nodes replaced
/// their links for ever in search of it.
#[test]
fn nodes_do_not_look_for_ever_for_what_nobody_retains() {
    let world = Draw::new(359, None).play();
    assert_eq!(world.violation(), None);
}

/// `no-needless-gap`: a node kept a parent on a slow line, of which half a segment had always
/// arrived, until nobody retained what it was behind by.
#[test]
fn a_parent_that_falls_far_behind_is_left_though_it_goes_on_to_bring_something() {
    let world = Draw::new(198, None).play();
    assert_eq!(world.violation(), None);
}
