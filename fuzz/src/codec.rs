use bytes::Bytes;
use smokesignal_proto::{MAX_FRAME, Message, decode, encode, encode_head};

/// Decodes the input. A message that it holds is encoded again, and decodes to itself.
pub fn run(input: &[u8]) {
    let Ok(message) = decode(Bytes::copy_from_slice(input)) else { return };
    assert_survives(&message);
}

/// Asserts that the message is the same after it was sent.
pub(crate) fn assert_survives(message: &Message) {
    let mut wire = Vec::new();
    encode(message, &mut wire);
    assert!(wire.len() <= MAX_FRAME, "{} bytes are more than a frame: {message:?}", wire.len());
    let mut head = Vec::new();
    let body = encode_head(message, &mut head);
    head.extend_from_slice(body.map_or(&[][..], |body| body));
    assert_eq!(head, wire, "the head and the body are not the message");
    match decode(wire.into()) {
        Ok(again) => assert_eq!(again, *message),
        Err(error) => panic!("{error}: {message:?}"),
    }
}
