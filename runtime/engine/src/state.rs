//! State of a half-stream: which frame is legal when.
//!
//! Each end keeps its own view of both halves, because a frame sent by one end may not have reached
//! the other. The same table applies to sending, with the sender's view, and to delivery, with the
//! receiver's view. A frame that was legal when sent but has been overtaken by the end of its half
//! is silently dropped on delivery.

use tidegate_streams::FrameKind;

/// State of a half-stream as seen by one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HalfState {
    /// Its BEGIN has not been sent.
    Idle,
    /// Between BEGIN and its end.
    Open,
    /// Ended by its sender, with END or ABORT.
    Closed,
    /// Reset by its receiver.
    Refused,
}

/// Effect of a frame on a half-stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The frame passes; the half enters this state.
    Pass(HalfState),
    /// The frame was overtaken by the end of the half and is dropped.
    Drop,
    /// The frame breaks the protocol.
    Illegal,
}

impl HalfState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Open, Self::Closed, Self::Refused];

    /// Whether no further frame can arrive on this half.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Closed | Self::Refused)
    }

    /// The effect of a frame of `kind` in this state.
    #[expect(
        clippy::indexing_slicing,
        reason = "the table has a row for each state and a cell for each kind"
    )]
    pub const fn next(self, kind: FrameKind) -> Transition {
        TABLE[self as usize][kind as usize]
    }
}

/// States in the order of [`HalfState::ALL`], kinds in the order of [`FrameKind::ALL`].
const TABLE: [[Transition; FrameKind::ALL.len()]; HalfState::ALL.len()] = {
    const NO: Transition = Transition::Illegal;
    const DROP: Transition = Transition::Drop;
    const IDLE: Transition = Transition::Pass(HalfState::Idle);
    const OPEN: Transition = Transition::Pass(HalfState::Open);
    const DONE: Transition = Transition::Pass(HalfState::Closed);
    const DENY: Transition = Transition::Pass(HalfState::Refused);
    [
        // BEGIN DATA  END  ABORT FLUSH RESET WINDOW CHALLENGE
        // A callee may be challenged before its reply begins.
        [OPEN, NO, NO, DONE, NO, DENY, IDLE, IDLE],
        [NO, OPEN, DONE, DONE, OPEN, DENY, OPEN, OPEN],
        // A RESET may follow the END: its reason is still useful to the sender.
        [NO, NO, NO, NO, NO, DONE, DONE, DROP],
        [DROP; FrameKind::ALL.len()],
    ]
};

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_whole_matrix_is_as_reviewed() {
        let mut matrix = String::from("            ");
        for kind in FrameKind::ALL {
            let _ = write!(matrix, "{:<10}", kind.word());
        }
        for state in HalfState::ALL {
            let _ = write!(matrix, "\n{:<12}", format!("{state:?}"));
            for kind in FrameKind::ALL {
                let cell = match state.next(kind) {
                    Transition::Pass(next) => format!("{next:?}"),
                    Transition::Drop => "drop".to_owned(),
                    Transition::Illegal => "illegal".to_owned(),
                };
                let _ = write!(matrix, "{cell:<10}");
            }
        }
        let matrix: Vec<&str> = matrix.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(matrix.join("\n"), @r"
                    begin     data      end       abort     flush     reset     window    challenge
        Idle        Open      illegal   illegal   Closed    illegal   Refused   Idle      Idle
        Open        illegal   Open      Closed    Closed    Open      Refused   Open      Open
        Closed      illegal   illegal   illegal   illegal   illegal   Closed    Closed    drop
        Refused     drop      drop      drop      drop      drop      drop      drop      drop
        ");
    }
}
