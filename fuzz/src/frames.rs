use bytes::BytesMut;

use crate::input::Input;
use crate::wire::buffer_pool::BufferPools;
use crate::wire::frame::{Frame, decode, encode};

/// Decodes frames from bytes that arrive in pieces. Each frame is encoded again, and decodes to
/// itself. The first byte says how long the pieces are.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let size = usize::from(input.byte()).pow(2) + 1;
    let (pools, mut buffer) = (BufferPools::default(), BytesMut::new());
    for piece in input.rest().chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&mut buffer, &pools) {
                Ok(Some(frame)) => assert_survives(&frame, &pools),
                Ok(None) => break,
                Err(_) => return, // The connection is closed.
            }
        }
    }
}

fn assert_survives(frame: &Frame, pools: &BufferPools) {
    let mut wire = Vec::new();
    encode(frame, &mut wire, |wire, body| wire.extend_from_slice(body));
    let mut wire = BytesMut::from(&wire[..]);
    match decode(&mut wire, pools) {
        Ok(Some(again)) => assert_eq!(again, *frame),
        other => panic!("{other:?} in place of {frame:?}"),
    }
    assert!(wire.is_empty(), "{} bytes behind {frame:?}", wire.len());
}
