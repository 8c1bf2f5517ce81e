//! Flow-control windows: how much one side may send before the other one has read it.
//!
//! Each direction of a stream has a window. The receiver grants its size in bytes. The sender
//! spends what it was granted, and gets it back as *credit* once the receiver's application has
//! read it. So what is not read stays with its writer and delays nothing else on the connection,
//! and a receiver never holds more than it has granted.
//!
//! # Growing
//!
//! A window of `w` bytes carries at most `w` per round trip: 32 KiB and 40 ms are 0.8 MB/s, however
//! fast the line is. A large window for every stream would let one peer make this node hold
//! gigabytes. So the window begins small and doubles for as long as it is what limits the sender.
//! Both ends together can tell: the sender reports that it is out of credit
//! ([`StreamFrame::Blocked`]), and the receiver keeps the report until its application has read all
//! that has arrived. A reader that never catches up keeps its window; one that reads in bursts gets
//! a larger one. Doubling reaches the product of bandwidth and delay in a few round trips; the
//! window never shrinks, because a stream that was fast once is likely to be fast again, and its
//! budget ends with it. HTTP/2 and yamux implementations estimate the same product from timed
//! pings; the sender's report needs no clock.
//!
//! [`StreamFrame::Blocked`]: crate::wire::frame::StreamFrame::Blocked

/// The window of the neighbour's own stream, see [`Peer`](crate::Peer), in bytes; it does not grow.
/// 256 KiB fill a link of 100 MB/s at 2.5 ms.
pub(crate) const NEIGHBOUR_WINDOW: usize = 256 * 1024;
/// The first window of a named stream, in bytes: 32 KiB. A thousand of them on one connection are
/// 32 MiB.
pub(crate) const FIRST_WINDOW: usize = 32 * 1024;
/// The size that a window grows to at most, in bytes: 4 MiB, for 400 MB/s at 10 ms or 40 MB/s at
/// 100 ms.
pub(crate) const MAX_WINDOW: usize = 4 * 1024 * 1024;

/// What an empty or small piece of data takes of a window at least, in bytes: about what keeping it
/// costs.
pub(super) const LEAST_COST: usize = 64;

/// Returns what a piece of data takes of the window. A small one costs more than its bytes, or
/// there could be millions of them.
pub(super) fn cost(length: usize) -> usize {
    length.max(LEAST_COST)
}

/// The receiver's side of a window. All figures are in bytes.
///
/// What was granted and not spent, what has arrived and is not read, and what is read and not
/// granted again always add up to the size.
#[derive(Debug)]
pub(super) struct RecvWindow {
    size: usize,
    /// Bytes that the other side may still send.
    granted: usize,
    /// Bytes that the application has read and the other side was not granted again.
    read: usize,
    /// Bytes that have arrived since the window was last enlarged.
    received: usize,
    /// Whether the other side has reported that it is out of credit, and that was not answered.
    blocked: bool,
    /// Whether credit is to be returned however little it is.
    urgent: bool,
}

impl RecvWindow {
    pub(super) const fn new(size: usize) -> Self {
        Self { size, granted: size, read: 0, received: 0, blocked: false, urgent: false }
    }

    /// Accounts for data that has arrived. Returns whether it was within what was granted.
    #[must_use]
    pub(super) fn receive(&mut self, cost: usize) -> bool {
        let Some(granted) = self.granted.checked_sub(cost) else { return false };
        self.granted = granted;
        self.received = self.received.saturating_add(cost);
        true
    }

    /// Accounts for data that the application has read.
    pub(super) fn release(&mut self, cost: usize) {
        self.read += cost;
    }

    /// Notes that the other side is out of credit.
    pub(super) fn report_blocked(&mut self) {
        self.blocked = true;
    }

    /// Answers a sender that is out of credit although everything it sent was read: doubles the
    /// window if the sender has used it up and `reserve` grants the further bytes, and returns what
    /// was read so far immediately, which helps the sender more than all that could be gathered.
    pub(super) fn answer_blocked(&mut self, reserve: impl FnOnce(usize) -> bool) {
        if !std::mem::take(&mut self.blocked) {
            return;
        }
        let more = self.size.min(MAX_WINDOW.saturating_sub(self.size));
        let used_up = self.received >= self.size;
        if used_up && more > 0 && reserve(more) {
            self.size += more;
            self.read += more;
            self.received = 0;
        }
        self.urgent |= self.read > 0;
    }

    /// Returns whether credit should be sent: a quarter of the window, so that small reads do not
    /// cost a frame each, or less if the sender waits for it.
    pub(super) const fn credit_is_due(&self) -> bool {
        self.urgent || self.read >= self.size / 4
    }

    /// Grants what was read again and returns it, if credit is due.
    pub(super) fn take_credit(&mut self) -> Option<u32> {
        if !self.credit_is_due() {
            return None;
        }
        self.urgent = false;
        let credit = std::mem::take(&mut self.read);
        self.granted += credit;
        u32::try_from(credit).ok().filter(|credit| *credit > 0)
    }

    /// Returns whether that much may stay unread without the sender waiting for ever: a quarter of
    /// the window has to be left for the data that completes it.
    pub(super) const fn can_hold(&self, bytes: usize) -> bool {
        bytes <= self.size * 3 / 4
    }

    #[cfg(test)]
    pub(super) const fn size(&self) -> usize {
        self.size
    }
}

/// The sender's side of a window.
#[derive(Debug)]
pub(super) struct SendWindow {
    /// Bytes that may still be sent.
    credit: usize,
    /// Whether the other side knows that there is more to send than its credit.
    reported: bool,
}

impl SendWindow {
    pub(super) const fn new(credit: usize) -> Self {
        Self { credit, reported: false }
    }

    /// Adds credit. Returns whether the sum is within [`MAX_WINDOW`], as the protocol demands.
    #[must_use]
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        self.credit = self.credit.saturating_add(bytes);
        self.reported = false;
        self.credit <= MAX_WINDOW
    }

    /// Spends the credit for up to `length` bytes of data. Returns how many may be sent; `None` if
    /// the credit is not enough for any.
    pub(super) fn spend(&mut self, length: usize) -> Option<usize> {
        let length = length.min(self.credit);
        self.credit = self.credit.checked_sub(cost(length))?;
        Some(length)
    }

    /// Returns whether the other side has to be sent a report that this side is out of credit: once
    /// per shortage.
    pub(super) fn report_blocked(&mut self) -> bool {
        !std::mem::replace(&mut self.reported, true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// The sender sends a piece of data of up to this length.
        Send(usize),
        /// The application reads one piece.
        Read,
        /// Credit travels to the sender.
        Credit,
        /// The sender reports that it is out of credit, and the receiver answers if all is read.
        Blocked(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_usize).prop_map(Step::Send),
            Just(Step::Read),
            Just(Step::Credit),
            any::<bool>().prop_map(Step::Blocked),
        ]
    }

    proptest! {
        /// A sender that spends only its credit never exceeds what the receiver has granted, all
        /// bytes of the window are accounted for at every step, and neither side ever gets stuck.
        #[test]
        fn a_window_always_adds_up(steps in prop::collection::vec(step(), 0..400)) {
            let (mut recv, mut send) = (RecvWindow::new(FIRST_WINDOW), SendWindow::new(FIRST_WINDOW));
            let mut unread = std::collections::VecDeque::new();
            for step in steps {
                match step {
                    Step::Send(length) => {
                        if let Some(length) = send.spend(length) {
                            prop_assert!(recv.receive(cost(length)));
                            unread.push_back(cost(length));
                        }
                    }
                    Step::Read => {
                        if let Some(cost) = unread.pop_front() {
                            recv.release(cost);
                        }
                    }
                    Step::Credit => {
                        if let Some(credit) = recv.take_credit() {
                            prop_assert!(send.add(credit as usize));
                        }
                    }
                    Step::Blocked(reserve) => {
                        recv.report_blocked();
                        if unread.is_empty() {
                            recv.answer_blocked(|_| reserve);
                            prop_assert!(recv.read == 0 || recv.credit_is_due());
                        }
                    }
                }
                let held: usize = unread.iter().sum();
                prop_assert_eq!(recv.granted + held + recv.read, recv.size);
                prop_assert_eq!(recv.granted, send.credit);
                prop_assert!(recv.size <= MAX_WINDOW);
            }
            // Once everything is read, the sender can go on with a full piece.
            recv.release(unread.iter().sum());
            recv.report_blocked();
            recv.answer_blocked(|_| false);
            if let Some(credit) = recv.take_credit() {
                prop_assert!(send.add(credit as usize));
            }
            prop_assert_eq!(send.credit, recv.size);
        }
    }

    #[test]
    fn a_window_doubles_up_to_its_limit_and_only_for_a_sender_that_used_it_up() {
        let mut window = RecvWindow::new(FIRST_WINDOW);
        window.report_blocked();
        window.answer_blocked(|_| panic!("nothing was received: there is nothing to reserve"));
        assert_eq!(window.size, FIRST_WINDOW);
        let mut sizes = vec![window.size];
        for _ in 0..10 {
            assert!(window.receive(window.granted));
            window.release(window.size);
            window.report_blocked();
            window.answer_blocked(|_| true);
            window.take_credit();
            sizes.push(window.size);
        }
        assert_eq!(sizes[..3], [FIRST_WINDOW, 2 * FIRST_WINDOW, 4 * FIRST_WINDOW]);
        assert_eq!(sizes[10], MAX_WINDOW);
    }

    #[test]
    fn small_reads_are_gathered_until_a_quarter_of_the_window_can_be_returned() {
        let mut window = RecvWindow::new(FIRST_WINDOW);
        assert!(window.receive(FIRST_WINDOW));
        window.release(FIRST_WINDOW / 4 - 1);
        assert_eq!(window.take_credit(), None);
        window.release(1);
        assert_eq!(window.take_credit(), Some(FIRST_WINDOW as u32 / 4));
        assert!(!window.receive(FIRST_WINDOW / 4 + 1), "more than what was granted");
    }

    #[test]
    fn a_shortage_of_credit_is_reported_once() {
        let mut window = SendWindow::new(100);
        assert_eq!(window.spend(1000), Some(100));
        assert_eq!(window.spend(1), None);
        assert!(window.report_blocked() && !window.report_blocked());
        assert!(window.add(LEAST_COST));
        assert!(window.report_blocked());
        assert!(!window.add(MAX_WINDOW), "more credit than any window has");
    }
}
