//! What a process writes to standard error, in the log.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

/// Longest line that is logged, in bytes; the rest of it is left out.
const LINE_MAX: usize = 4 * 1024;
/// Most lines that are logged in a second; the others are counted.
const RATE_MAX: u32 = 100;

/// Splits what is read into lines of a bounded length, at a bounded rate.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    cut: bool,
    logged: u32,
    dropped: u64,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut log: impl FnMut(&str)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.add(line);
            self.end(&mut log);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.line.len());
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.line.extend_from_slice(kept);
        self.cut |= kept.len() < bytes.len();
    }

    fn end(&mut self, log: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(self.line.trim_ascii_end()).into_owned();
        let cut = std::mem::take(&mut self.cut);
        self.line.clear();
        if text.is_empty() {
            return;
        }
        if self.logged >= RATE_MAX {
            self.dropped += 1;
            return;
        }
        self.logged += 1;
        let text = tidegate_streams::Visible(&text).to_string();
        log(&if cut { format!("{text}…") } else { text });
    }

    /// A second is over; returns the number of lines that were left out in it.
    fn second(&mut self) -> u64 {
        self.logged = 0;
        std::mem::take(&mut self.dropped)
    }
}

/// Logs lines until the end of the input.
pub(crate) async fn log(binding: String, mut input: impl AsyncRead + Unpin) {
    let mut lines = Lines::default();
    let mut buffer = vec![0; 8 * 1024];
    let mut began = Instant::now();
    while let Ok(length) = input.read(&mut buffer).await {
        if began.elapsed() >= Duration::from_secs(1) {
            began = Instant::now();
            let dropped = lines.second();
            if dropped > 0 {
                tracing::warn!(
                    binding,
                    dropped,
                    "lines of the process's standard error left out"
                );
            }
        }
        let write = |line: &str| tracing::info!(binding, "stderr: {line}");
        if length == 0 {
            lines.push(b"\n", write);
            return;
        }
        lines.push(buffer.get(..length).unwrap_or_default(), write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let mut lines = Lines::default();
        let mut logged = Vec::new();
        let long = "x".repeat(LINE_MAX * 3);
        for part in ["a", "b\r\n\n", &long, "y\nc"] {
            lines.push(part.as_bytes(), |line| logged.push(line.to_owned()));
        }
        assert_eq!(logged[0], "ab");
        assert_eq!(logged[1].len(), LINE_MAX + "…".len());
        assert_eq!(logged.len(), 2);
        let mut count = 0;
        lines.push("z\n".repeat(1_000).as_bytes(), |_| count += 1);
        assert_eq!(count + 2, RATE_MAX);
        assert_eq!(lines.second(), 1_000 - u64::from(count));
    }
}
