//! The world keeps its word: runs repeat, rules do what they say, and real networks hold.

use std::time::Duration;

use smokesignal_sim::{Behaviour, Draw, Expect, Fault, Latency, Rule, Setup, Workload, World};

const S: Duration = Duration::from_secs(1);

fn setup(rng_seed: u64) -> Setup {
    let expect = Expect { gaps: true, netsplits: true, ..Expect::default() };
    Setup { latency: Latency::Lan, expect, ..Setup::new(rng_seed) }
}

/// `nodes` nodes that have found their places.
fn gathered(nodes: usize, rng_seed: u64) -> World {
    let mut world = World::new(setup(rng_seed));
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

#[test]
fn a_kill_takes_its_share_and_everyone_else_reads_everything() {
    let mut world = with_rule(20, Rule::once(2 * S, Fault::Kill { share: 0.5, silent: false }));
    world.write(five_writers(6 * S));
    world.run(7 * S);
    assert_eq!(world.alive().len(), 10);
    world.check_quiet(5 * S);
    assert_eq!(world.violation(), None);
    assert!(world.stats.deliveries > 100);
}

#[test]
fn of_a_silent_kill_nobody_is_told() {
    let degree = |silent| {
        let mut world = with_rule(20, Rule::once(Duration::ZERO, Fault::Kill { share: 0.5, silent }));
        // Longer than any way in this world, shorter than the ping timeout.
        world.run(S / 2);
        let survivors = world.alive();
        let peers: usize = survivors.iter().map(|ix| world.peers_of(*ix)).sum();
        let links: usize = survivors.iter().map(|ix| world.graph().degree(*ix)).sum();
        (peers, links)
    };
    let (told, alive) = degree(false);
    assert_eq!(told, alive, "links to the dead are gone");
    let (untold, alive) = degree(true);
    assert!(untold > alive, "links to the dead are still counted");
}

#[test]
fn a_partition_stops_everything_across_and_a_short_one_breaks_no_link() {
    let mut world = gathered(20, 1);
    // Until no node has a link too many, which would be given up.
    world.run(60 * S);
    // With the longest silence between keepalives, 2.1 s, it is less than the ping timeout.
    world.add_rule(Rule::lasting(Duration::ZERO, S / 2, Fault::Partition { ways: 2 }));
    let links: Vec<_> = (0..20).map(|ix| world.peers_of(ix)).collect();
    world.run(S / 4);
    // At least the two sides; a node all of whose links crossed the cut is alone for now.
    assert!(world.graph().components().len() >= 2);
    world.run(5 * S);
    assert_eq!(world.graph().components().len(), 1);
    let kept = |(ix, links): (usize, &usize)| world.peers_of(ix) >= *links;
    assert!(links.iter().enumerate().all(kept), "{links:?}");
}

#[test]
fn a_frozen_node_answers_nothing_and_goes_on_afterwards() {
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
    world.check_quiet(5 * S);
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

#[test]
fn a_clock_that_jumps_breaks_nothing_that_is_written_afterwards() {
    let mut world = with_rule(10, Rule::once(Duration::ZERO, Fault::ClockJump { share: 0.5, by: 2 * S }));
    world.run(10 * S);
    assert_eq!(world.graph().components(), [10]);
    world.write(five_writers(3 * S));
    world.run(3 * S);
    world.check_quiet(Duration::ZERO);
    assert_eq!(world.violation(), None);
}

#[test]
fn restarted_nodes_come_back_under_their_old_names() {
    let mut world = with_rule(10, Rule::lasting(S, S, Fault::Restart { share: 0.5 }));
    world.run(S + S / 2);
    assert_eq!(world.alive().len(), 5);
    world.run(15 * S);
    assert_eq!(world.alive(), (0..10).collect::<Vec<_>>());
    assert_eq!(world.graph().components(), [10]);
}

#[test]
fn who_drops_everything_cannot_keep_the_others_from_reading() {
    let rule = Rule::once(Duration::ZERO, Fault::Hostile { share: 0.2, behaviour: Some(Behaviour::Drop) });
    let mut world = with_rule(20, rule);
    world.run(10 * S);
    world.measure();
    world.write(five_writers(3 * S));
    world.run(3 * S);
    world.check_quiet(5 * S);
    assert_eq!(world.violation(), None);
    // 16 honest ones, of which 5 write.
    assert!(world.stats.deliveries >= world.written() * 15, "{}", world.stats.deliveries);
}

#[test]
fn twenty_swarm_seeds_hold() {
    for rng_seed in 1..=20 {
        let world = Draw::new(rng_seed, Some(8 + rng_seed as usize % 9)).play();
        assert_eq!(world.violation().map(ToString::to_string), None);
    }
}

fn seed_holds(rng_seed: u64) {
    let world = Draw::new(rng_seed, None).play();
    assert_eq!(world.violation().map(ToString::to_string), None, "seed {rng_seed}");
}

/// C4: two seeds that start at the same moment each gathered a network of their own, for ever.
#[test]
fn two_seeds_that_start_together_make_one_network() {
    seed_holds(28);
}

/// A6: a node that was frozen for longer than its neighbours retain skipped too late, again and again.
#[test]
fn who_fell_far_behind_catches_up_while_others_write() {
    seed_holds(107);
}

/// B5: a node whose line is too slow for the beats took its own network for another one.
#[test]
fn a_slow_line_is_no_netsplit() {
    seed_holds(1459);
}

/// A6: when the last neighbour that was ahead had failed three times, nobody was ever asked again.
#[test]
fn a_stream_is_never_given_up_while_somebody_is_ahead() {
    seed_holds(136);
}

/// A5: a node that declined a stream before it had named all streams was sent it twice for ever.
#[test]
fn who_declines_a_stream_early_has_declined_it() {
    seed_holds(55);
}

/// A5: what came too early, because another link was slow, was thrown away again and again.
#[test]
fn a_stream_that_comes_too_early_is_declined() {
    seed_holds(160);
}

/// C11: only the side that wished for a link which existed already knew of the wish.
#[test]
fn both_sides_keep_a_link_that_is_wished_for() {
    seed_holds(199);
}

/// B5: what was seen of a seed half a minute ago came late over a slow line, and was told as news. Lines so slow that
/// they were half a minute behind kept the beats back as well.
#[test]
fn nodes_that_read_slowly_are_no_netsplit() {
    for rng_seed in [8, 16, 61] {
        let mut draw = Draw::new(50_843, Some(35));
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

/// A5: a neighbour that did not know the stream yet when it was told not to send it went on sending for ever.
#[test]
fn who_did_not_heed_a_prune_is_told_again() {
    seed_holds(71327);
}

/// A12: what a node had told of itself was still believed after it had learnt that it had been told a wrong place.
#[test]
fn a_word_that_is_taken_back_is_not_believed() {
    seed_holds(71046);
}

/// C4: four neighbours found at the same moment that they had a link too many, and dropped the same node.
#[test]
fn nobody_is_dropped_by_all_neighbours_at_once() {
    seed_holds(71903);
}

/// C2: who asked for links itself, as an empty network's first node does, took all that were asked of it at the same time.
#[test]
fn crossing_requests_leave_no_node_with_too_many_links() {
    seed_holds(101_115);
}

/// C11: a link was wished for between the agreement to give it up for a joiner and the joiner's arrival.
#[test]
fn a_link_that_is_wished_for_late_is_kept() {
    seed_holds(105_840);
}

/// A11: nodes that were started anew while their only seed was dead came back after minutes, and with news.
#[test]
fn who_knows_nobody_any_more_is_called() {
    seed_holds(71339);
}
