//! Frames: a length of four bytes, then that many bytes.

use std::fmt;

/// Why a connection's bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is negative.
    Negative(i32),
    /// The length is above `jute.maxbuffer`.
    TooLong {
        /// What it says.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Negative(length) => write!(f, "a frame of negative length {length}"),
            FrameError::TooLong { length, max } => {
                write!(f, "a frame of {length} bytes, above jute.maxbuffer={max}")
            }
        }
    }
}

/// The first frame in `bytes`, without its length; `None` if it is not whole yet.
///
/// # Errors
/// When the length makes no sense: nothing after it can be trusted.
pub fn first_frame(bytes: &[u8], max: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let length = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
    if length > max {
        return Err(FrameError::TooLong { length, max });
    }
    Ok(rest.get(..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        assert_eq!(first_frame(&[0, 0, 0], 10), Ok(None));
        assert_eq!(first_frame(&[0, 0, 0, 2, 7], 10), Ok(None));
        assert_eq!(first_frame(&[0, 0, 0, 2, 7, 8, 9], 10), Ok(Some(&[7, 8][..])));
        assert_eq!(first_frame(&[255, 255, 255, 254], 10), Err(FrameError::Negative(-2)));
        assert_eq!(first_frame(&[0, 0, 0, 11], 10), Err(FrameError::TooLong { length: 11, max: 10 }));
    }
}
