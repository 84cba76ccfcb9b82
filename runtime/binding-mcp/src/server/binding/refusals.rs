//! Messages that are refused before they are processed: counted, on record, and answered.

use ::http::StatusCode;
use bytestring::ByteString;
use tidegate_engine::Context;

use super::McpServer;
use crate::jsonrpc::{Era, Id, Method, Params};
use crate::server::calls::{Client, Subject};
use crate::server::era;
use crate::server::errors::Refusal;
use crate::server::events::{RequestRefused, caller};
use crate::server::session_id;
use crate::server::sink::Sink;
use crate::server::source::{Source, shown_address};
use crate::shown::shown;

/// What a refused message asked for, as far as it was read.
#[derive(Debug, Default)]
struct Asked {
    method: ByteString,
    subject: Subject,
}

impl McpServer {
    /// Refuses a message of which nothing is known.
    pub(super) fn refuse_message(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        id: &Id,
        refusal: &Refusal,
    ) {
        let address = self.address_of(sink);
        self.record_refusal(cx, refusal, || Asked {
            subject: Subject {
                address,
                ..Subject::default()
            },
            ..Asked::default()
        });
        self.refuse(cx, sink, id, refusal);
    }

    /// Refuses a request.
    pub(super) fn refuse_request(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        id: &Id,
        (method, params): (&str, &Params),
        refusal: &Refusal,
    ) {
        let asked = cx
            .hears::<RequestRefused>()
            .then(|| self.asked(source, method, params));
        self.record_refusal(cx, refusal, || asked.unwrap_or_default());
        self.refuse(cx, source.sink, id, refusal);
    }

    /// Refuses an `initialize` whose session the exit did not accept.
    pub(super) fn refuse_initialize(
        &mut self,
        cx: &mut Context<'_>,
        session: usize,
        (sink, id): (Sink, Id),
        refusal: &Refusal,
    ) {
        let asked = cx.hears::<RequestRefused>().then(|| Asked {
            method: ByteString::from_static(Method::Initialize.name()),
            subject: Subject {
                client: self.sessions.client(session).unwrap_or_default(),
                era: era::word(Era::Legacy),
                address: self.address_of(sink),
                ..Subject::default()
            },
        });
        self.record_refusal(cx, refusal, || asked.unwrap_or_default());
        self.refuse(cx, sink, &id, refusal);
    }

    /// Refuses something other than a request that names a session which does not exist, or belongs to
    /// somebody else.
    pub(super) fn refuse_unknown_session(&mut self, cx: &mut Context<'_>, sink: Sink) {
        let refusal = Refusal::session_over(cx);
        if cx.stopping() {
            return self.refuse_message(cx, sink, &Id::null(), &refusal);
        }
        let address = self.address_of(sink);
        self.record_refusal(cx, &refusal, || Asked {
            subject: Subject {
                address,
                ..Subject::default()
            },
            ..Asked::default()
        });
        self.answer_status(cx, sink, StatusCode::NOT_FOUND);
    }

    /// Refuses an HTTP request by its head: a status says it all. `why` is for the record.
    pub(super) fn refuse_http(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        status: StatusCode,
        why: &str,
    ) {
        let address = self.address_of(Sink::Http(key));
        let subject = Subject {
            address,
            ..Subject::default()
        };
        let asked = Asked {
            subject,
            ..Asked::default()
        };
        self.record(cx, i64::from(status.as_u16()), "", || (asked, why.into()));
        self.http.respond_status(cx, key, status);
    }

    fn record_refusal(
        &mut self,
        cx: &mut Context<'_>,
        refusal: &Refusal,
        asked: impl FnOnce() -> Asked,
    ) {
        let error = refusal.error();
        let reason = || ByteString::from(error.message());
        self.record(cx, error.code(), refusal.rule(), || (asked(), reason()));
    }

    /// Counts a refusal, and puts it on record with its reason.
    fn record(
        &mut self,
        cx: &mut Context<'_>,
        code: i64,
        rule: &'static str,
        asked: impl FnOnce() -> (Asked, ByteString),
    ) {
        self.refused_messages.add(code);
        cx.event_with(|cx| {
            let (Asked { method, subject }, reason) = asked();
            RequestRefused {
                identity: caller(cx),
                method,
                target: subject.target,
                client: subject.client.name,
                client_version: subject.client.version,
                era: ByteString::from_static(subject.era),
                session: subject.session,
                address: subject.address,
                rule: ByteString::from_static(rule),
                code,
                reason,
            }
        });
    }

    fn asked(&self, source: &Source<'_>, method: &str, params: &Params) -> Asked {
        let era = era::of(source, method, params).map(|claim| claim.era());
        let known = era.as_ref().ok().and_then(|era| Method::of(method, *era));
        let target = known
            .and_then(Method::subject)
            .and_then(|subject| params.subject_text(subject).ok());
        let source = match era {
            Ok(Era::Modern) => source.without_session(),
            _ => *source,
        };
        let mut subject = self.subject(&source, params, &target.unwrap_or_default());
        subject.era = era.map_or("", era::word);
        Asked {
            method: ByteString::from(&*shown(method)),
            subject,
        }
    }

    /// What a request is about and who makes it, without its era. The texts are copied.
    pub(super) fn subject(&self, source: &Source<'_>, params: &Params, target: &str) -> Subject {
        let session = source.session;
        Subject {
            target: ByteString::from(&*shown(target)),
            client: session
                .and_then(|session| self.sessions.client(session))
                .unwrap_or_else(|| Client::of(params)),
            era: "",
            session: session
                .and_then(|session| self.sessions.id(session))
                .map_or_else(ByteString::new, |id| session_id::shown(id)),
            address: shown_address(source.peer),
        }
    }

    /// Address and port of the client of a sink, for events; empty where there is none.
    fn address_of(&self, sink: Sink) -> ByteString {
        shown_address(match sink {
            Sink::Http(key) => self.http.peer(key),
            Sink::Batch(key) => self.batches.peer(key),
            Sink::Line(_) | Sink::Nowhere => None,
        })
    }
}
