//! Metrics of all workers, for exporters.

use tidegate_engine::Measures;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, timeout_at};

use crate::thread::Command;

/// Metrics of the workers that have answered in time.
#[derive(Debug, Clone, Default)]
pub struct WorkerReports {
    /// Their sum.
    pub measures: Measures,
    /// Number of workers.
    pub count: u16,
    /// The workers that have not answered: they hang, have ended, or are not started yet.
    pub silent: Vec<u16>,
}

/// Requests metrics from the workers, from outside or from one of their edges.
#[derive(Clone)]
pub struct Reports(Vec<UnboundedSender<Command>>);

impl Reports {
    pub(crate) const fn of(mailboxes: Vec<UnboundedSender<Command>>) -> Self {
        Self(mailboxes)
    }

    /// Metrics of bindings, engine and edges, summed over all running workers.
    pub async fn all(&self) -> Measures {
        let mut all = Measures::default();
        for answer in self.ask().into_iter().flatten() {
            if let Ok(measures) = answer.await {
                all.add(measures);
            }
        }
        all
    }

    /// The same of the workers that answer within a time, and which do not: a worker may hang.
    pub async fn within(&self, time: Duration) -> WorkerReports {
        let deadline = Instant::now() + time;
        let mut reports = WorkerReports::default();
        for (worker, answer) in (0..).zip(self.ask()) {
            reports.count += 1;
            let measures = match answer {
                Some(answer) => timeout_at(deadline, answer).await.ok().and_then(Result::ok),
                None => None,
            };
            match measures {
                Some(measures) => reports.measures.add(measures),
                None => reports.silent.push(worker),
            }
        }
        reports
    }

    /// Asks all workers before the first one answers; `None` for one that has stopped.
    fn ask(&self) -> Vec<Option<oneshot::Receiver<Measures>>> {
        let ask = |mailbox: &UnboundedSender<Command>| {
            let (reply, answer) = oneshot::channel();
            mailbox
                .send(Command::Report(reply))
                .is_ok()
                .then_some(answer)
        };
        self.0.iter().map(ask).collect()
    }
}
