//! Real processes, and a flood of connections that prove nothing and never end by themselves.
//!
//! The test with addresses of two networks needs Linux, root and `ip`; without them it prints that
//! it was skipped, and passes.
#![cfg(unix)]

mod common;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::{JsonNode, program};

/// Half a round trip of the joiner.
const ONE_WAY: Duration = Duration::from_millis(25);
/// Pause between two connections of the flood: some thousands a second, as far as the machine can.
const PAUSE: Duration = Duration::from_micros(100);
/// Connections that the flood keeps open. More than a node has places for.
const OPEN: usize = 400;

/// Connections that say nothing, one after the other, until this is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    is_high: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(target: SocketAddr, connect: impl Fn(SocketAddr) -> TcpStream + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let (high, is_high) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut open = VecDeque::new();
            while !is_over.load(Ordering::Relaxed) {
                open.push_back(connect(target));
                if open.len() > OPEN {
                    open.pop_front();
                    // The test waits for the first one only.
                    let _is_high = high.send(());
                }
                thread::sleep(PAUSE);
            }
        });
        Self { over, is_high, thread: Some(thread) }
    }

    /// Waits until it has made so many connections that all places are taken.
    fn wait_until_high(&self) {
        self.is_high.recv_timeout(common::DEADLINE).expect("the flood rises");
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking(), "the flood ended early");
        }
    }
}

/// Listens on `ip` for connections, which it carries to the target with a delay. Returns where.
fn slow_line(ip: IpAddr, target: SocketAddr, connect: fn(SocketAddr) -> TcpStream) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("an address of this host");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for near in listener.incoming() {
            let mut near = near.expect("a connection");
            // The first bytes arrive with the connection, as those of a node do: it speaks first.
            let mut first = [0; 4096];
            let read = near.read(&mut first).expect("a node speaks first");
            thread::sleep(ONE_WAY);
            let mut far = connect(target);
            drop(far.write_all(&first[..read]));
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (from, to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                thread::spawn(move || carry(from, to));
            }
        }
    });
    address
}

/// Carries the bytes of one direction, and its end.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        thread::sleep(ONE_WAY);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The other side may have closed it already.
    drop(to.shutdown(Shutdown::Both));
}

fn connect(target: SocketAddr) -> TcpStream {
    TcpStream::connect(target).expect("the node listens")
}

fn socket_address(node: &JsonNode) -> SocketAddr {
    node.address().parse().expect("an address")
}

#[test]
fn a_joiner_with_a_round_trip_of_50_ms_gets_in_during_a_flood_from_its_own_host() {
    let node = JsonNode::start(&[]);
    let flood = Flood::start(socket_address(&node), connect);
    flood.wait_until_high();
    let seed = slow_line([127, 0, 0, 1].into(), socket_address(&node), connect).to_string();
    let joiner = JsonNode::start(&["--seed", &seed]);
    wait_until_in(&joiner, &node);
}

/// Waits until the joiner is in the network and has read what the node writes.
fn wait_until_in(joiner: &JsonNode, node: &JsonNode) {
    joiner.wait_peer_added(&node.id);
    node.broadcast("welcome");
    joiner.wait_received(&node.id, 1);
}

#[test]
fn a_node_that_was_turned_away_says_that_the_other_one_may_be_busy() {
    let busy = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let seed = busy.local_addr().expect("it is bound").to_string();
    thread::spawn(move || busy.incoming().for_each(drop));
    let joiner = JsonNode::start(&["--seed", &seed]);
    let told = |transcript: &common::Transcript| transcript.error_with(&[&seed, "may be full or busy"]);
    joiner.wait_for("an error with the reason", told);
}

#[cfg(target_os = "linux")]
mod namespace {
    use std::process::Command;

    use super::*;
    use crate::common::ip;

    /// Set in the process that runs in the namespace: the name of the test.
    const INSIDE: &str = "TEST_IN_NAMESPACE";
    const NODE: [u8; 4] = [203, 0, 113, 1];
    const JOINER: [u8; 4] = [198, 51, 100, 1];
    const FLOOD: [u8; 4] = [192, 0, 2, 1];

    /// A network namespace whose loopback device has these addresses.
    struct Namespace(String);

    impl Namespace {
        fn new(addresses: &[[u8; 4]]) -> Result<Self, String> {
            let namespace = Self(format!("smokesignal-{}-flood", std::process::id()));
            let name = namespace.0.as_str();
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            for address in addresses {
                let address = format!("{}/32", IpAddr::from(*address));
                ip(&["-n", name, "address", "add", &address, "dev", "lo"])?;
            }
            Ok(namespace)
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            drop(ip(&["netns", "delete", &self.0]));
        }
    }

    /// Returns whether this process is inside of a namespace with these addresses. Otherwise runs
    /// the test of this name in one, or says why that is impossible.
    fn enter(test: &str, addresses: &[[u8; 4]]) -> bool {
        if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
            return true;
        }
        match Namespace::new(addresses) {
            Ok(Namespace(ref name)) => {
                let test_binary = std::env::current_exe().expect("it runs");
                let mut inside = Command::new("ip");
                inside
                    .args(["netns", "exec", name])
                    .arg(test_binary)
                    .args(["--exact", test])
                    .env(INSIDE, test);
                let output = inside.output().expect("`ip` has run before");
                let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
                assert!(output.status.success(), "inside of the namespace: {out}{err}");
                assert!(out.contains("1 passed"), "{test} is not the name of this test: {out}");
            }
            Err(why) => {
                let text = format!("\nSKIPPED, needs root and network namespaces: {why}\n");
                std::io::stderr().write_all(text.as_bytes()).expect("stderr takes a line");
            }
        }
        false
    }

    /// Connects from an address of this host.
    fn connect_from(from: [u8; 4], target: SocketAddr) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this host");
        socket.connect(&target.into()).expect("the node listens");
        socket.into()
    }

    #[test]
    fn a_flood_from_one_network_keeps_out_nobody_of_another_one() {
        let name = "namespace::a_flood_from_one_network_keeps_out_nobody_of_another_one";
        if !enter(name, &[NODE, JOINER, FLOOD]) {
            return;
        }
        let start = |ip: [u8; 4], args: &[&str]| {
            JsonNode::start_on(&IpAddr::from(ip).to_string(), program(&[]), args)
        };
        let node = start(NODE, &[]);
        let flood = Flood::start(socket_address(&node), |target| {
            let mut stranger = connect_from(FLOOD, target);
            // The beginning of a TLS record: it has said something.
            drop(stranger.write_all(&[0x16, 3, 1]));
            stranger
        });
        flood.wait_until_high();
        let line = |target| connect_from(JOINER, target);
        let seed = slow_line(JOINER.into(), socket_address(&node), line).to_string();
        let joiner = start(JOINER, &["--seed", &seed]);
        wait_until_in(&joiner, &node);
        assert_eq!(joiner.transcript().first("error"), None, "it gets in at the first attempt");
    }
}
