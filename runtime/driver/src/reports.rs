//! Metrics of all workers, for exporters.

use tidegate_engine::Measures;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::thread::Command;

/// Requests metrics from the workers, from outside or from one of their edges.
#[derive(Clone)]
pub struct Reports(Vec<UnboundedSender<Command>>);

impl Reports {
    pub(crate) const fn of(mailboxes: Vec<UnboundedSender<Command>>) -> Self {
        Self(mailboxes)
    }

    /// Metrics of bindings, engine and edges, summed over all running workers.
    pub async fn all(&self) -> Measures {
        let ask = |mailbox: &UnboundedSender<Command>| {
            let (reply, answer) = oneshot::channel();
            mailbox
                .send(Command::Report(reply))
                .is_ok()
                .then_some(answer)
        };
        // All workers are asked before the first one answers.
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
