//! The first frame of a client, and its answer.

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::records::{ConnectRequest, ConnectResponse};
use ringkeeper_engine::jute::{self, Reader, Write};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::session::{PASSWORD_BYTES, password};

/// What a client asks for when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The newest transaction that it has seen.
    pub last_seen: Zxid,
    /// What it gets of what it asked for, in milliseconds.
    pub timeout_ms: u32,
    /// The session that it comes back to.
    pub renews: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    /// Whether reads are enough for it; `None`: the frame had no such byte, as that of clients before 3.4.
    pub read_only: Option<bool>,
}

impl Handshake {
    /// Decodes the frame and negotiates the timeout.
    ///
    /// # Errors
    /// When the frame is no handshake.
    pub fn decode(frame: &[u8], settings: &Settings) -> jute::Result<Self> {
        let mut reader = Reader::new(frame);
        let request: ConnectRequest<'_> = reader.read()?;
        let timeout = request.time_out.max(0) as u32;
        let timeout_ms = timeout.max(settings.min_session_timeout_ms).min(settings.max_session_timeout_ms);
        // A password of another length is wrong: zeros never are right.
        let given = request.passwd.and_then(|given| given.try_into().ok()).unwrap_or([0; PASSWORD_BYTES]);
        let renews = (request.session_id != 0).then_some((SessionId(request.session_id), given));
        Ok(Handshake {
            last_seen: Zxid::from_jute(request.last_zxid_seen.max(0)),
            timeout_ms,
            renews,
            read_only: reader.rest().first().map(|byte| *byte != 0),
        })
    }
}

/// Appends the answer: the session, or none; and to who knows of it whether only reads are served.
pub fn write_response(session: Option<(SessionId, u32)>, read_only: Option<bool>, out: &mut Vec<u8>) {
    let start = out.len();
    0i32.write(out);
    let secret = session.map_or([0; PASSWORD_BYTES], |(session, _)| password(session));
    ConnectResponse {
        protocol_version: 0,
        time_out: session.map_or(0, |(_, timeout_ms)| timeout_ms as i32),
        session_id: session.map_or(0, |(session, _)| session.0),
        passwd: Some(&secret),
    }
    .write(out);
    if let Some(read_only) = read_only {
        read_only.write(out);
    }
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(timeout: i32, read_only: &[u8]) -> Vec<u8> {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 5,
            time_out: timeout,
            session_id: 0,
            passwd: Some(&[0; 16]),
        };
        let mut bytes = jute::to_bytes(&request);
        bytes.extend_from_slice(read_only);
        bytes
    }

    #[test]
    fn timeouts_are_negotiated_between_the_bounds() {
        let settings = Settings::default();
        let timeout = |asked| Handshake::decode(&frame(asked, &[0]), &settings).unwrap().timeout_ms;
        assert_eq!(timeout(-1), 6000);
        assert_eq!(timeout(10_000), 10_000);
        assert_eq!(timeout(i32::MAX), 60_000);
    }

    #[test]
    fn the_read_only_byte_is_optional() {
        let settings = Settings::default();
        for (bytes, read_only) in [(&[][..], None), (&[0], Some(false)), (&[1], Some(true))] {
            assert_eq!(Handshake::decode(&frame(0, bytes), &settings).unwrap().read_only, read_only);
        }
        for cut in 0..frame(0, &[]).len() {
            assert!(Handshake::decode(&frame(0, &[])[..cut], &settings).is_err());
        }
    }

    #[test]
    fn a_refusal_has_no_session_and_no_password() {
        let mut out = Vec::new();
        write_response(None, Some(false), &mut out);
        assert_eq!(out.len(), 4 + 4 + 4 + 8 + 4 + 16 + 1);
        assert!(out[4..20].iter().all(|byte| *byte == 0));
    }
}
