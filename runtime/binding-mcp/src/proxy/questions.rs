//! What the toolkits of a session ask its client.
//!
//! Each toolkit chooses the ids of its challenges by itself, so two may choose the same one. Towards
//! the client the session chooses, and an answer is given to the toolkit that has asked, under its id.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_streams::mcp::{McpAnswer, McpChallenge, McpResponse};

/// Most questions of a session that are open at the same time. A further one is answered at once.
const MAX: usize = 64;

/// The open questions of a session.
#[derive(Debug, Default)]
pub(super) struct Questions {
    next: u64,
    /// The toolkit, and its id, by the id towards the client.
    open: BTreeMap<u64, (usize, u64)>,
}

impl Questions {
    /// The challenge of a toolkit as the client gets it, if it gets it; or the answer to it.
    pub(super) fn ask(
        &mut self,
        upstream: usize,
        mut asked: McpChallenge,
    ) -> Result<Option<McpChallenge>, McpResponse> {
        if asked.cancelled {
            let mut open = self.open.iter();
            let id = open.find_map(|(id, by)| (*by == (upstream, asked.id)).then_some(*id));
            return Ok(id.map(|id| {
                self.open.remove(&id);
                asked.id = id;
                asked
            }));
        }
        if self.open.len() >= MAX {
            return Err(McpResponse {
                id: asked.id,
                answer: McpAnswer::Unsupported,
                content: Bytes::from_static(
                    b"{\"code\":-32603,\"message\":\"Too many requests to the client are open.\"}",
                ),
                timeout: 0,
            });
        }
        self.open.insert(self.next, (upstream, asked.id));
        asked.id = self.next;
        self.next += 1;
        Ok(Some(asked))
    }

    /// The toolkit that gets an answer, and the answer.
    pub(super) fn answered(&mut self, mut response: McpResponse) -> Option<(usize, McpResponse)> {
        let (upstream, id) = self.open.remove(&response.id)?;
        response.id = id;
        Some((upstream, response))
    }

    /// A toolkit no longer waits for answers: the challenges that tell the client.
    pub(super) fn withdraw(&mut self, upstream: usize) -> Vec<McpChallenge> {
        let mut withdrawn = Vec::new();
        self.open.retain(|id, (by, _)| {
            if *by == upstream {
                withdrawn.push(McpChallenge {
                    id: *id,
                    cancelled: true,
                    ..McpChallenge::default()
                });
            }
            *by != upstream
        });
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: u64) -> McpChallenge {
        McpChallenge {
            id,
            method: "roots/list".into(),
            ..McpChallenge::default()
        }
    }

    fn answer(id: u64) -> McpResponse {
        McpResponse {
            id,
            ..McpResponse::default()
        }
    }

    #[test]
    fn toolkits_may_use_the_same_id() {
        let mut questions = Questions::default();
        let first = questions.ask(0, asked(7)).expect("room").expect("asked");
        let second = questions.ask(1, asked(7)).expect("room").expect("asked");
        assert_ne!(first.id, second.id);
        let to = questions.answered(answer(second.id)).expect("open");
        assert_eq!((to.0, to.1.id), (1, 7));
        let to = questions.answered(answer(first.id)).expect("open");
        assert_eq!((to.0, to.1.id), (0, 7));
        assert!(questions.answered(answer(first.id)).is_none(), "once");
    }

    #[test]
    fn a_question_is_cancelled_under_the_id_that_the_client_knows() {
        let mut questions = Questions::default();
        questions.ask(0, asked(1)).expect("room");
        let known = questions.ask(1, asked(1)).expect("room").expect("asked");
        let cancelled = McpChallenge {
            cancelled: true,
            ..asked(1)
        };
        let told = questions.ask(1, cancelled.clone()).expect("told");
        assert_eq!(told.map(|it| (it.id, it.cancelled)), Some((known.id, true)));
        assert_eq!(questions.ask(1, cancelled), Ok(None), "told once");
        assert_eq!(questions.withdraw(0).len(), 1);
        assert!(questions.withdraw(0).is_empty());
    }

    #[test]
    fn one_question_too_many_is_answered_at_once() {
        let mut questions = Questions::default();
        for id in 0..64 {
            questions.ask(0, asked(id)).expect("room");
        }
        let refused = questions.ask(0, asked(64)).expect_err("full");
        assert_eq!((refused.id, refused.answer), (64, McpAnswer::Unsupported));
    }
}
