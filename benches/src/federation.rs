//! `mcp · proxy` in front of many played toolkits, whose lists it merges.

use bytes::Bytes;
use tidegate_binding_mcp::proxy::{McpProxy, Options, Route, Toolkit};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::mcp::McpToolsList;
use tidegate_streams::{DataFlags, Frame};

/// The proxy and its toolkits.
pub struct Federation {
    rig: Rig,
    caller: BindingId,
    proxy: BindingId,
    toolkits: Vec<BindingId>,
}

/// What a caller got who has read a list to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    /// Number of pages.
    pub pages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Requests that toolkits got meanwhile.
    pub asked: usize,
}

impl Federation {
    /// A proxy with so many toolkits, and the default limits.
    pub fn new(toolkits: usize) -> Self {
        let mut rig = Rig::new();
        let toolkits: Vec<BindingId> = (0..toolkits).map(|_| rig.edge(1 << 30)).collect();
        let route = |(index, exit): (usize, &BindingId)| {
            Route::of(Toolkit::new(format!("t{index}")), *exit)
        };
        let routes = toolkits.iter().enumerate().map(route).collect();
        let proxy = rig.attach(McpProxy::new(Options::default(), routes));
        let caller = rig.edge(1 << 30);
        rig.worker.start();
        Self {
            rig,
            caller,
            proxy,
            toolkits,
        }
    }

    /// Reads `tools/list` page by page. Each toolkit that is asked answers with `result`.
    pub fn read(&mut self, result: &Bytes) -> Read {
        let mut read = Read::default();
        let mut cursor = None;
        loop {
            let begin = McpToolsList {
                cursor,
                ..McpToolsList::default()
            };
            let stream = self.rig.open(self.caller, self.proxy, begin);
            read.asked += self.answer(result);
            let page = self.page(stream);
            read.pages += 1;
            read.bytes += page.len();
            cursor = next_cursor(&page);
            if cursor.is_none() {
                return read;
            }
        }
    }

    /// Answers what toolkits are asked; returns how many are.
    fn answer(&mut self, result: &Bytes) -> usize {
        let mut asked = 0;
        for toolkit in self.toolkits.clone() {
            for output in self.rig.outputs(toolkit) {
                if !matches!(output.frame, Frame::Begin(_)) {
                    continue;
                }
                asked += 1;
                let stream = output.at.stream;
                self.rig.send(toolkit, stream, output.frame);
                let mut rest = result.clone();
                let mut first = true;
                while !rest.is_empty() {
                    let credit = self.rig.turn(toolkit, |cx| cx.credit(stream));
                    let part = rest.split_to(rest.len().min(credit));
                    let flags = DataFlags::of(std::mem::take(&mut first), rest.is_empty());
                    self.rig.send(toolkit, stream, Frame::part(flags, part));
                }
                self.rig.turn(toolkit, |cx| cx.end(stream, Frame::end()));
            }
            self.rig.outputs(toolkit);
        }
        asked
    }

    fn page(&mut self, stream: StreamId) -> Vec<u8> {
        let mut page = Vec::new();
        for frame in self.rig.frames(self.caller, stream) {
            if let Frame::Data(data) = frame {
                page.extend_from_slice(&data.payload);
            }
        }
        assert!(!page.is_empty(), "the list is answered");
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
        self.rig.outputs(self.caller);
        page
    }
}

fn next_cursor(page: &[u8]) -> Option<bytestring::ByteString> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        next_cursor: Option<String>,
    }
    let page: Page = serde_json::from_slice(page).expect("JSON");
    page.next_cursor.map(Into::into)
}
