//! The state of a half-stream: which frame is legal when.
//!
//! Each end keeps its own view of both halves, since a frame that one end has sent may still be
//! under way to the other. The same table is applied when a frame is sent, with the sender's view,
//! and when it is delivered, with the receiver's: what was legal to send and has been overtaken is
//! dropped on delivery, silently.

use tidegate_streams::FrameKind;

/// How far a half-stream has come, as one end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HalfState {
    /// Its BEGIN has not been sent.
    Idle,
    /// Between BEGIN and its close.
    Open,
    /// Its sender has closed it, by END or ABORT.
    Closed,
    /// Its receiver has refused it, by RESET.
    Refused,
}

/// What a frame does to a half-stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The frame passes and the half is in this state.
    Pass(HalfState),
    /// The frame was overtaken by the half's end; nobody needs it.
    Drop,
    /// The frame breaks the protocol.
    Illegal,
}

impl HalfState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Open, Self::Closed, Self::Refused];

    /// Whether nothing more can come on this half.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Closed | Self::Refused)
    }

    /// What a frame of `kind` does in this state.
    #[expect(
        clippy::indexing_slicing,
        reason = "the table has a row for each state and a cell for each kind"
    )]
    pub const fn next(self, kind: FrameKind) -> Transition {
        TABLE[self as usize][kind as usize]
    }
}

/// The states in the order of [`HalfState::ALL`], and the kinds in that of [`FrameKind::ALL`].
const TABLE: [[Transition; FrameKind::ALL.len()]; HalfState::ALL.len()] = {
    const NO: Transition = Transition::Illegal;
    const DROP: Transition = Transition::Drop;
    const IDLE: Transition = Transition::Pass(HalfState::Idle);
    const OPEN: Transition = Transition::Pass(HalfState::Open);
    const DONE: Transition = Transition::Pass(HalfState::Closed);
    const DENY: Transition = Transition::Pass(HalfState::Refused);
    [
        // BEGIN DATA  END  ABORT FLUSH RESET WINDOW CHALLENGE
        // A callee may be asked something before its reply begins.
        [OPEN, NO, NO, DONE, NO, DENY, IDLE, IDLE],
        [NO, OPEN, DONE, DONE, OPEN, DENY, OPEN, OPEN],
        // A refusal may come behind the END: its reason is still of use to the sender.
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
