//! A connection's first bytes: frames off a stream, and the handshake in the first of them.
//!
//! The laws: no bytes panic; a frame is found as soon as it is whole and not before, however the stream
//! is cut; what is called a frame has the length that it says and that is allowed; and a handshake grants
//! a timeout between the bounds.

use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::jute::records::{MultiHeader, RequestHeader};
use ringkeeper_engine::limits::Settings;
use ringkeeper_net::client::frame::first_frame;
use ringkeeper_net::client::handshake::{Handshake, write_response};

const LENGTH_BYTES: usize = 4;

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((&[max, first], mut stream)) = input.split_first_chunk() else { return };
    let max = usize::from(max) * 8;
    let settings = Settings::default();
    let mut handshake = first & 1 == 1;
    while let Ok(Some(frame)) = first_frame(stream, max) {
        assert!(frame.len() <= max);
        let whole = LENGTH_BYTES + frame.len();
        assert_eq!(stream[..LENGTH_BYTES], (frame.len() as u32).to_be_bytes());
        assert_eq!(frame, &stream[LENGTH_BYTES..whole]);
        for cut in [0, LENGTH_BYTES - 1, whole - 1].into_iter().filter(|cut| *cut < whole) {
            assert_eq!(first_frame(&stream[..cut], max), Ok(None), "not whole yet");
        }
        if std::mem::take(&mut handshake) {
            greet(frame, &settings);
        } else {
            let mut reader = Reader::new(frame);
            if reader.read::<RequestHeader>().is_ok() {
                assert_eq!(reader.rest().len(), frame.len() - 8);
                let _ = reader.read::<MultiHeader>();
            }
        }
        stream = &stream[whole..];
    }
    if let Ok(None) = first_frame(stream, max) {
        let stated = stream.split_first_chunk().map(|(length, _)| i32::from_be_bytes(*length));
        let missing = stated.is_none_or(|stated| stated as usize > stream.len() - LENGTH_BYTES);
        assert!(missing, "a whole frame that was not found");
    }
}

fn greet(frame: &[u8], settings: &Settings) {
    let Ok(greeting) = Handshake::decode(frame, settings) else { return };
    let granted = settings.min_session_timeout_ms..=settings.max_session_timeout_ms;
    assert!(granted.contains(&greeting.timeout_ms));
    let mut answer = Vec::new();
    let session = greeting.renews.map(|(session, _)| (session, greeting.timeout_ms));
    write_response(session, greeting.read_only, &mut answer);
    assert!(
        matches!(first_frame(&answer, 64), Ok(Some(frame)) if frame.len() + LENGTH_BYTES == answer.len())
    );
}
