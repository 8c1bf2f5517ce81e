//! Flows over a fluid model of a line: what it carries, how long its queue is, what is confirmed.

use std::collections::BTreeSet;

use super::*;

/// A node with a line of this rate and a queue without limit in front of it, whose neighbours
/// have fast lines. All links have data without end.
struct Fluid {
    /// Bytes per second.
    rate: u64,
    /// One way without a queue.
    delay: Duration,
    /// Whether the data goes up this node's line, or down.
    up: bool,
    node: Flows,
    peers: Vec<Flows>,
    now: Instant,
    /// When the line will have carried everything.
    busy_until: Instant,
    events: BTreeSet<(Instant, usize, Event)>,
    number: usize,
    carried: usize,
    queues: Vec<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Look,
    Data { peer: usize, cost: usize },
    Ack { peer: usize, to_node: bool, ack: Ack },
}

impl Fluid {
    fn new(rate: u64, links: usize, base: Duration, up: bool) -> Self {
        let now = Instant::ZERO;
        let mut node = Flows::new(now);
        let mut peers: Vec<_> = (0..links).map(|_| Flows::new(now)).collect();
        for (ix, peer) in peers.iter_mut().enumerate() {
            node.link_up(LinkId(ix as u64), base, now);
            peer.link_up(LinkId(0), base, now);
        }
        let (events, queues) = (BTreeSet::from([(now, 0, Event::Look)]), Vec::new());
        let (busy_until, delay) = (now, base / 2);
        Self { rate, delay, up, node, peers, now, busy_until, events, number: 0, carried: 0, queues }
    }

    fn post(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number, event));
    }

    /// Sends what may be sent.
    fn send(&mut self) {
        loop {
            let mut sent = false;
            for ix in 0..self.peers.len() {
                let ix = (ix + self.number) % self.peers.len();
                let (flows, link, ready) = match self.up {
                    true => (&mut self.node, LinkId(ix as u64), self.peers.len()),
                    false => (&mut self.peers[ix], LinkId(0), 1),
                };
                if flows.room(link, ready, self.now).map(|(bytes, _)| bytes) == Some(0) {
                    continue;
                }
                let cost = 8 + part(&flows.up, &flows.links[&link].sent).min(MAX_SEGMENT);
                flows.handed(link, cost, self.now);
                let takes = Duration::from_micros(cost as u64 * 1_000_000 / self.rate);
                let reaches = if self.up { self.now } else { self.now + self.delay };
                self.busy_until = self.busy_until.max(reaches) + takes;
                let at = if self.up { self.busy_until + self.delay } else { self.busy_until };
                self.post(at, Event::Data { peer: ix, cost });
                sent = true;
            }
            if !sent {
                return;
            }
        }
    }

    fn confirm(&mut self) {
        let delay = self.delay;
        for ix in 0..self.peers.len() {
            for (_, ack) in self.peers[ix].take_acks(self.now) {
                self.post(self.now + delay, Event::Ack { peer: ix, to_node: true, ack });
            }
        }
        for (link, ack) in self.node.take_acks(self.now) {
            self.post(self.now + delay, Event::Ack { peer: link.0 as usize, to_node: false, ack });
        }
    }

    /// Runs until then. Returns the part of the line's rate that was used, and the 99th
    /// percentile of the queue, from `from` on.
    fn run(&mut self, from: Duration, until: Duration) -> (f64, Duration) {
        let (from, until) = (Instant::ZERO + from, Instant::ZERO + until);
        while self.events.first().is_some_and(|(at, ..)| *at < until) {
            let Some((now, _, event)) = self.events.pop_first() else { break };
            self.now = now;
            match event {
                Event::Look => {
                    if now >= from {
                        let reaches = if self.up { now } else { now + self.delay };
                        self.queues.push(self.busy_until - reaches);
                    }
                    self.post(now + Duration::from_millis(10), Event::Look);
                }
                Event::Data { peer, cost } => {
                    if now >= from {
                        self.carried += cost;
                    }
                    match self.up {
                        true => self.peers[peer].arrived(LinkId(0), cost, now),
                        false => self.node.arrived(LinkId(peer as u64), cost, now),
                    }
                }
                Event::Ack { peer, to_node, ack } => {
                    let (flows, link) = match to_node {
                        false => (&mut self.peers[peer], LinkId(0)),
                        true => (&mut self.node, LinkId(peer as u64)),
                    };
                    flows.acknowledged(link, ack, now).unwrap();
                }
            }
            self.confirm();
            self.send();
        }
        self.queues.sort_unstable();
        let share = self.carried as f64 / (self.rate as f64 * (until - from).as_secs_f64());
        (share, self.queues[self.queues.len() * 99 / 100])
    }
}

#[test]
fn a_line_is_filled_and_its_queue_stays_short_whatever_its_rate_and_the_number_of_links() {
    let ms = Duration::from_millis;
    let mut worst = Vec::new();
    for up in [true, false] {
        for kbits in [256, 1_000, 4_000, 20_000, 100_000] {
            for links in 1..=5 {
                for base in [2, 40, 150] {
                    let mut fluid = Fluid::new(kbits * 1000 / 8, links, ms(base), up);
                    let (share, queue) = fluid.run(ms(8_000), ms(24_000));
                    // With five busy links on 256 kbit/s the goal is 600 ms.
                    let most = ms(if kbits == 256 { 550 } else { 250 });
                    if share < 0.9 || queue > most {
                        worst.push((up, kbits, links, base, share, queue));
                    }
                }
            }
        }
    }
    assert!(worst.is_empty(), "{worst:#?}");
}

fn ack(read: u64, limit: u64) -> Ack {
    Ack { read, limit, held: false, soon: false, clocks: Clocks { clock: 0, echo: None } }
}

#[test]
fn a_neighbour_that_confirms_what_was_never_sent_lies() {
    let (mut flows, link, now) = (Flows::new(Instant::ZERO), LinkId(1), Instant::ZERO);
    flows.link_up(link, Duration::ZERO, now);
    flows.handed(link, 100, now);
    assert_eq!(flows.acknowledged(link, ack(101, 1 << 20), now), Err(Lie));
    assert_eq!(flows.acknowledged(link, ack(100, 1 << 20), now), Ok(true));
    assert_eq!(flows.acknowledged(link, ack(100, 1 << 20), now), Ok(false), "it is nothing new");
    assert_eq!(flows.acknowledged(LinkId(2), ack(1, 1), now), Ok(false), "it confirms nothing");
}

#[test]
fn a_link_goes_no_further_than_its_limit_and_all_links_no_further_than_the_line() {
    let (mut flows, now) = (Flows::new(Instant::ZERO), Instant::ZERO);
    let [a, b] = [1, 2].map(LinkId);
    for link in [a, b] {
        flows.link_up(link, Duration::ZERO, now);
    }
    assert_eq!(flows.room(a, 1, Instant::ZERO).map(|(bytes, _)| bytes), Some(FIRST as usize));
    flows.handed(a, FIRST as usize, now);
    assert_eq!(flows.room(a, 1, Instant::ZERO).map(|(bytes, _)| bytes), Some(0));
    flows.acknowledged(a, ack(0, 1 << 20), now).unwrap();
    flows.handed(a, flows.up.budget(), now);
    assert_eq!(flows.room(b, 1, Instant::ZERO).map(|(bytes, _)| bytes), Some(0), "the line is full");
    assert_eq!(
        flows.room(LinkId(3), 1, Instant::ZERO).map(|(bytes, _)| bytes),
        None,
        "it confirms nothing, and its window counts"
    );
}

#[test]
fn what_stands_still_on_one_link_does_not_count_against_the_others() {
    let mut flows = Flows::new(Instant::ZERO);
    let [frozen, alive] = [1, 2].map(LinkId);
    for link in [frozen, alive] {
        flows.link_up(link, Duration::ZERO, Instant::ZERO);
        flows.acknowledged(link, ack(0, 1 << 20), Instant::ZERO).unwrap();
    }
    let all = flows.up.budget();
    flows.handed(frozen, all, Instant::ZERO);
    assert_eq!(flows.room(alive, 1, Instant::ZERO).map(|(bytes, _)| bytes), Some(0));
    let later = Instant::ZERO + STILL_AFTER + Duration::from_millis(1);
    flows.measure(later);
    assert_eq!(flows.room(alive, 1, Instant::ZERO).map(|(bytes, _)| bytes), Some(all));
    assert_eq!(flows.waits(frozen, later), Some(later - Instant::ZERO), "and it is found");
    flows.acknowledged(frozen, ack(all as u64 / 2, 1 << 20), later).unwrap();
    assert_eq!(flows.under_way, all - all / 2, "it counts again");
}

/// It was asked to acknowledge long before it stopped, and nothing was handed to it since.
#[test]
fn what_stands_still_is_found_whenever_it_was_asked_last() {
    let at = |ms| Instant::ZERO + Duration::from_millis(ms);
    let mut flows = Flows::new(at(0));
    let [frozen, alive] = [1, 2].map(LinkId);
    for link in [frozen, alive] {
        flows.link_up(link, Duration::ZERO, at(0));
        flows.acknowledged(link, ack(0, 1 << 20), at(0)).unwrap();
    }
    let all = flows.up.budget();
    flows.handed(frozen, all, at(1000));
    flows.acknowledged(frozen, ack(all as u64, 1 << 20), at(1450)).unwrap();
    let all = flows.up.budget();
    flows.handed(frozen, all, at(1450));
    for ms in (1500..2800).step_by(50) {
        flows.room(alive, 1, at(ms));
        flows.measure(at(ms));
    }
    assert_eq!(flows.under_way, 0);
    assert!(flows.room(alive, 1, at(2800)).unwrap().0 > 0);
}

#[test]
fn what_arrives_is_confirmed_soon_and_on_a_quiet_link_nothing_is() {
    let (mut flows, link, now) = (Flows::new(Instant::ZERO), LinkId(1), Instant::ZERO);
    flows.link_up(link, Duration::ZERO, now);
    assert_eq!(flows.take_acks(now).len(), 1, "the first limit");
    assert_eq!(flows.next_deadline(), None);
    flows.arrived(link, 200, now);
    assert_eq!(flows.take_acks(now), []);
    let later = flows.next_deadline().unwrap();
    assert_eq!(later, now + ACK_AT_EASE, "the other side needs it no sooner");
    let asks = Ack { soon: true, ..ack(0, 1 << 20) };
    flows.acknowledged(link, asks, now).unwrap();
    let later = flows.next_deadline().unwrap();
    assert_eq!(later, now + ACK_AFTER, "now it does");
    let [(_, first)] = flows.take_acks(later)[..] else { panic!("it is due") };
    assert_eq!(first.read, 200);
    flows.acknowledged(link, asks, later).unwrap();
    assert_eq!(flows.take_acks(later).len(), 1, "it has asked, and there is nothing else to wait for");
    flows.arrived(link, 2 * ACK_LEAST as usize, later);
    let [(_, second)] = flows.take_acks(later)[..] else { panic!("it is much") };
    assert_eq!(second.read, 200 + 2 * ACK_LEAST);
    assert_eq!(flows.next_deadline(), None);
}

#[test]
fn what_waits_behind_the_bytes_of_others_does_not_stand_still() {
    let mut flows = Flows::new(Instant::ZERO);
    let [first, second] = [1, 2].map(LinkId);
    for link in [first, second] {
        flows.link_up(link, Duration::ZERO, Instant::ZERO);
        flows.acknowledged(link, ack(0, 1 << 20), Instant::ZERO).unwrap();
    }
    let at = |ms| Instant::ZERO + Duration::from_millis(ms);
    for link in [first, first, second] {
        flows.handed(link, 20_000, at(0));
    }
    flows.acknowledged(first, ack(20_000, 1 << 20), at(200)).unwrap();
    assert_eq!(flows.under_way, 40_000, "the line is slow, and the first link was handed more before");
    flows.acknowledged(first, ack(40_000, 1 << 20), at(400)).unwrap();
    assert_eq!(flows.under_way, 20_000, "the second link is next");
    flows.measure(at(950));
    assert_eq!(flows.under_way, 0, "nothing came for too long");
}

#[test]
fn what_others_have_overtaken_does_not_count_against_them() {
    let mut flows = Flows::new(Instant::ZERO);
    let [slow, fast] = [1, 2].map(LinkId);
    for link in [slow, fast] {
        flows.link_up(link, Duration::ZERO, Instant::ZERO);
        flows.acknowledged(link, ack(0, 1 << 20), Instant::ZERO).unwrap();
    }
    flows.handed(slow, 40_000, Instant::ZERO);
    let mut read = 0;
    let mut confirm = |flows: &mut Flows, at: Duration| {
        let now = Instant::ZERO + at;
        flows.handed(fast, 100, now);
        read += 100;
        flows.acknowledged(fast, ack(read, 1 << 20), now).unwrap();
        flows.under_way
    };
    assert_eq!(confirm(&mut flows, OVERTAKEN_AFTER), 40_000, "its confirmation may be on its way");
    let later = OVERTAKEN_AFTER + Duration::from_millis(10);
    assert_eq!(confirm(&mut flows, later), 0, "it has left the line: others were sent later");
    flows.acknowledged(slow, ack(400, 1 << 20), Instant::ZERO + later).unwrap();
    assert_eq!(flows.under_way, 39_600, "it counts again");
}

#[test]
fn segments_stay_whole_until_a_line_is_known_to_be_slow() {
    let (mut flows, link, now) = (Flows::new(Instant::ZERO), LinkId(1), Instant::ZERO);
    flows.link_up(link, Duration::ZERO, now);
    assert_eq!(
        part(&flows.up, &flows.links[&link].sent),
        PART_LEAST,
        "nothing is known of the other side's line"
    );
    flows.acknowledged(link, ack(0, MAX_SEGMENT as u64), now).unwrap();
    assert_eq!(part(&flows.up, &flows.links[&link].sent), usize::MAX);
    flows.acknowledged(link, ack(0, 16 * 1024), now).unwrap();
    assert_eq!(part(&flows.up, &flows.links[&link].sent), PART_LEAST, "the other side has a slow line");
}

/// A route changes, or somebody else fills the queue of the line, and stops again.
#[test]
fn a_line_is_filled_again_after_the_way_has_become_longer_or_shorter() {
    let ms = Duration::from_millis;
    let mut worst = Vec::new();
    for up in [true, false] {
        for kbits in [256, 1_000, 4_000, 20_000, 100_000] {
            for links in [1, 3, 5] {
                for (first, then) in [(2, 300), (20, 600), (40, 150), (300, 20)] {
                    let mut fluid = Fluid::new(kbits * 1000 / 8, links, ms(first), up);
                    fluid.run(ms(9_000), ms(10_000));
                    (fluid.delay, fluid.carried, fluid.queues) = (ms(then) / 2, 0, Vec::new());
                    let (share, queue) = fluid.run(ms(75_000), ms(90_000));
                    // On 256 kbit/s the least budget is what counts, and the smallest windows of
                    // five links are longer than that.
                    // Without surveys most of these are below 0.1.
                    let (least, most) = if kbits == 256 { (0.25, ms(2_000)) } else { (0.45, ms(500)) };
                    if share < least || queue > most {
                        worst.push((up, kbits, links, (first, then), share, queue));
                    }
                }
            }
        }
    }
    assert!(worst.is_empty(), "{worst:#?}");
}

#[test]
fn clocks_show_the_round_trip_without_the_time_that_an_answer_waits() {
    let at = |ms| Instant::ZERO + Duration::from_millis(ms);
    let mut trip = RoundTrip::new(Duration::from_millis(400));
    let clocks = |clock, echo| Clocks { clock, echo };
    assert_eq!(trip.clocks(at(65_536 + 5)), clocks(5, None), "modulo 2^16");
    trip.hear(clocks(7, Some((5, 900))), at(65_536 + 955));
    assert_eq!(trip.get(), Duration::from_millis(50));
    assert_eq!(trip.clocks(at(65_536 + 1000)), clocks(1000, Some((7, 45))));
    assert_eq!(trip.clocks(at(3 * 65_536)).echo, None, "it is too long ago");
    trip.hear(clocks(8, Some((900, 900))), at(65_536 + 955));
    assert_eq!(trip.get(), Duration::ZERO, "it claims to have waited for longer than it can have");
}
