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
    #[allow(
        clippy::match_same_arms,
        reason = "one line a cell reads as the table it is"
    )]
    pub const fn next(self, kind: FrameKind) -> Transition {
        use FrameKind as F;
        use Transition::{Drop, Illegal, Pass};
        match (self, kind) {
            (Self::Idle | Self::Open, F::Reset) => Pass(Self::Refused),
            (Self::Idle | Self::Open, F::Abort) => Pass(Self::Closed),
            (Self::Idle, F::Begin) => Pass(Self::Open),
            (Self::Idle, F::Window) => Pass(Self::Idle),
            (Self::Idle, F::Data | F::End | F::Flush | F::Challenge) => Illegal,
            (Self::Open, F::Begin) => Illegal,
            (Self::Open, F::Data | F::Flush | F::Window | F::Challenge) => Pass(Self::Open),
            (Self::Open, F::End) => Pass(Self::Closed),
            // A refusal may come behind the END: its reason is still of use to the sender.
            (Self::Closed, F::Reset | F::Window) => Pass(Self::Closed),
            (Self::Closed, F::Challenge) => Drop,
            (Self::Closed, F::Begin | F::Data | F::End | F::Abort | F::Flush) => Illegal,
            (Self::Refused, _) => Drop,
        }
    }
}

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
        Idle        Open      illegal   illegal   Closed    illegal   Refused   Idle      illegal
        Open        illegal   Open      Closed    Closed    Open      Refused   Open      Open
        Closed      illegal   illegal   illegal   illegal   illegal   Closed    Closed    drop
        Refused     drop      drop      drop      drop      drop      drop      drop      drop
        ");
    }
}
