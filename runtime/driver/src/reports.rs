//! What all workers count and hold, for whoever exports it.

use tidegate_engine::Measures;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::thread::Command;

/// Asks the workers for their figures: from outside, or from an edge of one of them.
#[derive(Clone)]
pub struct Reports(Vec<UnboundedSender<Command>>);

impl Reports {
    pub(crate) const fn of(mailboxes: Vec<UnboundedSender<Command>>) -> Self {
        Self(mailboxes)
    }

    /// What bindings, engine and edges count and hold, of all workers that run together.
    pub async fn all(&self) -> Measures {
        let ask = |mailbox: &UnboundedSender<Command>| {
            let (reply, answer) = oneshot::channel();
            mailbox
                .send(Command::Report(reply))
                .is_ok()
                .then_some(answer)
        };
        // All are asked before the first one answers.
        let answers: Vec<_> = self.0.iter().filter_map(ask).collect();
        let mut all = Measures::default();
        for answer in answers {
            if let Ok(measures) = answer.await {
                all.add(measures);
            }
        }
        all
    }
}
