//! The door: which of the connections that are not authenticated yet keep their places.
//!
//! Anybody can open a connection, so the number of those that have not proved who they are is
//! limited. One address prefix has its share of the places at most; and once all places are taken,
//! the loser is of the prefix that has the most of them, the newcomer counted. So a flood from one
//! network takes the places of that network only, and a newcomer from another one always gets in.
//! In its prefix the loser is one that has said nothing yet, while an honest dialler speaks first;
//! if all have spoken, chance decides. Then each prefix is held to a [`RATE`] of newcomers, so that
//! those who are about to be authenticated can end what they have begun.
//!
//! A thousand nodes behind one address are one prefix. Its share is what all had together before
//! there were shares; the core holds as many joiners, and more at the same time would push them out
//! of there.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Newcomers of one prefix per second that may take the places of those who have said something.
/// 64: each place of a share lasts for a second on average, several times as long as a handshake
/// over a bad line.
const RATE: u32 = 64;
/// Newcomers of one prefix that may do so at the same time. A guess: a quarter of a share.
const BURST: u32 = 16;

/// The network that an address belongs to, as far as one person can be expected to hold all of it:
/// /24 of IPv4, /56 of IPv6. Loopback is one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix(IpAddr);

impl Prefix {
    pub(super) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        if address.is_loopback() { Self(Ipv4Addr::LOCALHOST.into()) } else { Self::network(address) }
    }

    /// The same without the exception for loopback.
    pub(super) fn network(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (!0 << (32 - 24))).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << (128 - 56))).into(),
        })
    }
}

/// Somebody who has a place.
pub(super) trait Stranger {
    /// Returns whether the place is free again: it was authenticated, or has failed.
    fn has_left(&self) -> bool;

    /// Returns whether anything was received from it.
    fn has_spoken(&self) -> bool;
}

/// All places are taken, and the newcomer gets none of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoPlace;

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) all: usize,
    /// Those that one prefix may have.
    pub(super) share: usize,
}

/// The places.
pub(super) struct Door<S> {
    limits: Places,
    prefix: fn(IpAddr) -> Prefix,
    inside: Vec<(Prefix, S)>,
    /// When the next newcomer of a prefix would be in time, if they came at the rate. Only prefixes
    /// that have a place are kept.
    due: BTreeMap<Prefix, Instant>,
    chance: Chance,
}

impl<S: Stranger> Door<S> {
    /// Makes the places, which the prefixes of addresses share.
    pub(super) fn new(limits: Places, prefix: fn(IpAddr) -> Prefix) -> Self {
        // The keys of hash maps are random in each process.
        Self::with_chance(limits, prefix, RandomState::new().hash_one(limits.all))
    }

    fn with_chance(limits: Places, prefix: fn(IpAddr) -> Prefix, seed: u64) -> Self {
        Self { limits, prefix, inside: Vec::new(), due: BTreeMap::new(), chance: Chance(seed) }
    }

    /// Gives a place to the newcomer that `enter` makes. Returns who has lost it, if there was no
    /// free one for its prefix.
    pub(super) fn enter(
        &mut self,
        from: IpAddr,
        now: Instant,
        enter: impl FnOnce() -> S,
    ) -> Result<Option<S>, NoPlace> {
        let prefix = (self.prefix)(from);
        let loser = self.make_room(prefix, now)?;
        self.inside.push((prefix, enter()));
        Ok(loser)
    }

    /// Takes the place of somebody, where the system has no room for another connection. Returns
    /// who has lost it.
    pub(super) fn evict(&mut self) -> Option<S> {
        let taken = self.taken(None);
        let (losers, _) = self.losers(&taken);
        self.take_one(&losers)
    }

    fn make_room(&mut self, newcomer: Prefix, now: Instant) -> Result<Option<S>, NoPlace> {
        let taken = self.taken(Some(newcomer));
        let share = taken.get(&newcomer).copied().unwrap_or_default();
        if self.inside.len() < self.limits.all && share <= self.limits.share {
            return Ok(None);
        }
        // Where its share is used up, the newcomer's prefix is the one with the most places.
        let (losers, have_spoken) = self.losers(&taken);
        if have_spoken && !self.is_in_time(newcomer, now) {
            return Err(NoPlace);
        }
        Ok(self.take_one(&losers))
    }

    /// Returns how many places each prefix has, or would have.
    fn taken(&mut self, newcomer: Option<Prefix>) -> BTreeMap<Prefix, usize> {
        self.inside.retain(|(_, stranger)| !stranger.has_left());
        let mut taken = BTreeMap::new();
        for prefix in self.inside.iter().map(|(prefix, _)| *prefix).chain(newcomer) {
            *taken.entry(prefix).or_default() += 1;
        }
        self.due.retain(|prefix, _| taken.contains_key(prefix));
        taken
    }

    /// Returns those of whom one has to go, and whether they have spoken.
    fn losers(&self, taken: &BTreeMap<Prefix, usize>) -> (Vec<usize>, bool) {
        let most = taken.values().copied().max();
        let places = self.inside.iter().enumerate();
        let of_largest = places.filter(|(_, (prefix, _))| taken.get(prefix).copied() == most);
        let (spoken, silent): (Vec<_>, Vec<_>) =
            of_largest.partition(|(_, (_, stranger))| stranger.has_spoken());
        let have_spoken = silent.is_empty();
        let losers = if have_spoken { spoken } else { silent };
        (losers.into_iter().map(|(place, _)| place).collect(), have_spoken)
    }

    fn take_one(&mut self, losers: &[usize]) -> Option<S> {
        let place = *losers.get(self.chance.below(losers.len()))?;
        Some(self.inside.swap_remove(place).1)
    }

    /// Returns whether the prefix keeps its rate with one more newcomer, and counts it.
    fn is_in_time(&mut self, prefix: Prefix, now: Instant) -> bool {
        let interval = Duration::from_secs(1) / RATE;
        let due = self.due.get(&prefix).copied().unwrap_or(now).max(now);
        let in_time = due - now < interval * BURST;
        if in_time {
            self.due.insert(prefix, due + interval);
        }
        in_time
    }
}

/// A generator that nobody outside can watch, so it has to be even only (SplitMix64).
struct Chance(u64);

impl Chance {
    /// Returns a number below `count`, and 0 for 0.
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    const PLACES: usize = 16;
    const SHARE: usize = 8;

    #[derive(Debug, Clone, Default)]
    struct Guest {
        name: usize,
        left: Rc<Cell<bool>>,
        spoken: Rc<Cell<bool>>,
    }

    impl Stranger for Guest {
        fn has_left(&self) -> bool {
            self.left.get()
        }

        fn has_spoken(&self) -> bool {
            self.spoken.get()
        }
    }

    /// A door, and all who have ever entered, in order.
    struct House {
        door: Door<Guest>,
        guests: Vec<Guest>,
        now: Instant,
    }

    impl House {
        /// A house whose places one prefix may have all.
        fn new(seed: u64) -> Self {
            Self::with_share(PLACES, seed)
        }

        fn with_share(share: usize, seed: u64) -> Self {
            let door = Door::with_chance(Places { all: PLACES, share }, Prefix::of, seed);
            Self { door, guests: Vec::new(), now: Instant::now() }
        }

        /// Returns the name of the one who has lost its place.
        fn enter(&mut self, from: [u8; 4]) -> Result<Option<usize>, NoPlace> {
            let guest = Guest { name: self.guests.len(), ..Guest::default() };
            let entered = self.door.enter(from.into(), self.now, || guest.clone());
            self.guests.push(guest);
            entered.map(|loser| loser.map(|loser| loser.name))
        }

        /// Fills all places from one prefix.
        fn fill(&mut self, from: [u8; 3]) {
            for host in 0..PLACES as u8 {
                let [a, b, c] = from;
                assert_eq!(self.enter([a, b, c, host]), Ok(None));
            }
        }

        fn all_speak(&self) {
            self.guests.iter().for_each(|guest| guest.spoken.set(true));
        }
    }

    fn seeds() -> impl Iterator<Item = u64> {
        (0..100).inspect(|seed| println!("seed {seed}"))
    }

    #[test]
    fn a_prefix_is_a_24_of_ipv4_a_56_of_ipv6_or_all_of_loopback() {
        let same = |a: &str, b: &str| Prefix::of(a.parse().unwrap()) == Prefix::of(b.parse().unwrap());
        assert!(same("203.0.113.1", "203.0.113.255") && !same("203.0.113.1", "203.0.112.1"));
        assert!(same("2001:db8:0:1200::1", "2001:db8:0:12ff:ffff::"));
        assert!(!same("2001:db8:0:1200::1", "2001:db8:0:1300::1"));
        assert!(same("127.0.0.1", "127.9.9.9") && same("127.0.0.1", "::1"));
        assert!(same("203.0.113.1", "::ffff:203.0.113.9") && same("127.0.0.1", "::ffff:127.1.1.1"));
    }

    #[test]
    fn beyond_the_share_of_a_prefix_its_newcomers_take_the_places_of_each_other() {
        for seed in seeds() {
            let mut house = House::with_share(SHARE, seed);
            assert_eq!(house.enter([198, 51, 100, 1]), Ok(None));
            for _ in 0..SHARE {
                assert_eq!(house.enter([203, 0, 113, 1]), Ok(None));
            }
            for _ in 0..100 {
                assert_ne!(house.enter([203, 0, 113, 1]).unwrap().unwrap(), 0, "of another prefix");
            }
            house.guests.iter().for_each(|guest| guest.left.set(guest.name > 0));
            assert_eq!(house.enter([203, 0, 113, 1]), Ok(None));
        }
    }

    #[test]
    fn the_loser_is_of_the_prefix_with_the_most_places_and_never_the_newcomer_of_another_one() {
        for seed in seeds() {
            let mut house = House::new(seed);
            let friend = house.guests.len();
            assert_eq!(house.enter([198, 51, 100, 1]), Ok(None));
            while house.guests.len() < PLACES {
                assert_eq!(house.enter([203, 0, 113, 1]), Ok(None));
            }
            house.all_speak();
            house.guests[friend].spoken.set(false);
            for _ in 0..PLACES / 2 - 1 {
                let loser = house.enter([198, 51, 100, 2]).unwrap().unwrap();
                assert!((1..PLACES).contains(&loser), "{loser} lost");
                house.all_speak();
                house.guests[friend].spoken.set(false);
            }
            // Both have half of the places: with one more this prefix is the larger one.
            assert_eq!(house.enter([198, 51, 100, 2]), Ok(Some(friend)));
            assert!(house.enter([192, 0, 2, 1]).unwrap().is_some(), "a third prefix finds room");
        }
    }

    #[test]
    fn in_a_prefix_those_who_have_said_nothing_lose_first() {
        for seed in seeds() {
            let mut house = House::new(seed);
            house.fill([203, 0, 113]);
            house.guests[5].spoken.set(true);
            for _ in 0..20 * PLACES {
                assert_ne!(house.enter([203, 0, 113, 1]), Ok(Some(5)));
            }
        }
    }

    #[test]
    fn among_equals_chance_decides() {
        let first_losers: std::collections::BTreeSet<_> = seeds()
            .map(|seed| {
                let mut house = House::new(seed);
                house.fill([203, 0, 113]);
                house.enter([203, 0, 113, 1]).unwrap().unwrap()
            })
            .collect();
        assert_eq!(first_losers, (0..PLACES).collect(), "in 100 runs each of 16 loses once");
    }

    #[test]
    fn who_has_spoken_gives_way_to_newcomers_of_the_prefix_at_a_rate_only() {
        let mut house = House::new(1);
        house.fill([203, 0, 113]);
        house.all_speak();
        let mut took = |count: usize, after: Duration| {
            house.now += after;
            let entered = (0..count).filter(|_| {
                house.all_speak();
                house.enter([203, 0, 113, 1]).is_ok()
            });
            entered.count()
        };
        assert_eq!(took(1000, Duration::ZERO), BURST as usize);
        assert_eq!(took(1000, Duration::from_secs(1) / RATE), 1);
        assert_eq!(took(1000, Duration::from_secs(60)), BURST as usize);
        assert!(house.enter([198, 51, 100, 1]).unwrap().is_some(), "others have their own rate");
    }

    #[test]
    fn where_the_system_has_no_room_the_same_ones_lose_until_nobody_is_left() {
        let mut house = House::new(1);
        assert_eq!(house.enter([198, 51, 100, 1]), Ok(None));
        while house.guests.len() < PLACES {
            assert_eq!(house.enter([203, 0, 113, 1]), Ok(None));
        }
        house.all_speak();
        house.guests[5].spoken.set(false);
        assert_eq!(house.door.evict().map(|loser| loser.name), Some(5));
        let evicted: Vec<_> = std::iter::from_fn(|| house.door.evict()).map(|loser| loser.name).collect();
        assert_eq!(evicted.len(), PLACES - 1);
        assert!(evicted[..PLACES - 3].iter().all(|name| *name != 0), "{evicted:?}");
    }

    #[test]
    fn no_more_is_kept_than_there_are_places() {
        let mut house = House::new(1);
        for n in 0..10_000_u32 {
            house.all_speak();
            let _lost_or_refused = house.enter((0x0b00_0000 + (n << 8)).to_be_bytes());
        }
        assert_eq!(house.door.inside.len(), PLACES);
        assert!(house.door.due.len() <= PLACES + 1, "{}", house.door.due.len());
    }
}
