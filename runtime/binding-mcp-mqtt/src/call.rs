//! `tools/call` until its `params` are complete.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_json::{Document, Parts};
use tidegate_streams::mcp::{McpReset, McpResetKind, McpToolsCall};
use tidegate_streams::{Data, DataEx, Pooled};

use crate::tools;

/// Parts up to this number are kept as they came.
const PARTS: usize = 64;
/// Behind them, parts below this size are gathered: each part costs more than its bytes.
const SMALL: usize = 4_096;

/// Which tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Publish,
    Receive,
}

impl Tool {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            tools::PUBLISH => Some(Self::Publish),
            tools::RECEIVE => Some(Self::Receive),
            _ => None,
        }
    }
}

/// The headers that mirror the `topic` argument, one or none as a rule, and whether one had to come.
#[derive(Debug, Default)]
pub(crate) struct TopicHeader {
    pub(crate) values: Vec<ByteString>,
    pub(crate) required: bool,
}

/// The params of a call.
#[derive(Debug)]
pub(crate) enum Params {
    /// As they came.
    Text(Parts),
    /// Read already.
    Read(Document),
}

/// A call whose `params` are coming in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: Tool,
    pub(crate) header: TopicHeader,
    /// What was read of the params already, which came beside their first part.
    read: Option<Pooled<DataEx>>,
    parts: SmallVec<[Bytes; 2]>,
    gathered: BytesMut,
    length: usize,
    bound: usize,
}

impl Call {
    /// A call of `tool` with `params` of up to `bound` bytes.
    pub(crate) fn new(tool: Tool, call: McpToolsCall, bound: usize) -> Result<Self, McpReset> {
        if usize::try_from(call.content_length).is_ok_and(|length| length > bound) {
            return Err(too_large(bound));
        }
        let topics = call.headers.into_iter().filter(|h| h.name == "topic");
        Ok(Self {
            tool,
            header: TopicHeader {
                values: topics.map(|header| header.value).collect(),
                required: call.headers_required,
            },
            read: None,
            parts: SmallVec::new(),
            gathered: BytesMut::new(),
            length: 0,
            bound,
        })
    }

    /// Takes a part; the params, if it was the last one.
    pub(crate) fn add(&mut self, mut data: Data) -> Result<Option<Params>, McpReset> {
        let first = self.length == 0;
        self.length += data.payload.len();
        if self.length > self.bound {
            return Err(too_large(self.bound));
        }
        let last = data.flags.is_fin();
        if first && last {
            if let Some(DataEx::Mcp(read)) = data.extension.map(Pooled::into_inner)
                && let Some(document) = read.of(&data.payload)
            {
                return Ok(Some(Params::Read(document)));
            }
        } else if first {
            self.read = data.extension.take();
        }
        if self.parts.len() >= PARTS && data.payload.len() < SMALL {
            self.gathered.extend_from_slice(&data.payload);
        } else {
            self.gather();
            self.parts.push(data.payload);
        }
        Ok(last.then(|| self.take()))
    }

    /// What has come.
    pub(crate) fn take(&mut self) -> Params {
        self.gather();
        let text = std::mem::take(&mut self.parts).into_iter().collect();
        if let Some(DataEx::Mcp(read)) = self.read.take().map(Pooled::into_inner)
            && let Some(document) = read.of_parts(&text)
        {
            return Params::Read(document);
        }
        Params::Text(text)
    }

    fn gather(&mut self) {
        if !self.gathered.is_empty() {
            self.parts.push(self.gathered.split().freeze());
        }
    }
}

fn too_large(bound: usize) -> McpReset {
    McpReset::new(
        McpResetKind::TooLarge,
        format!("The params of this call are larger than {bound} bytes; send less at once."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_streams::DataFlags;

    #[test]
    fn many_small_parts_are_gathered_and_stay_in_order() {
        let mut call =
            Call::new(Tool::Publish, McpToolsCall::default(), 1 << 20).expect("no length given");
        let mut sent = Vec::new();
        let mut params = None;
        for index in 0..10_000usize {
            let size = if index % 1_000 == 999 { SMALL } else { 3 };
            let payload = Bytes::from(vec![u8::try_from(index % 251).unwrap(); size]);
            sent.extend_from_slice(&payload);
            let flags = DataFlags::of(index == 0, index == 9_999);
            let data = Data {
                flags,
                payload,
                extension: None,
            };
            let whole = call.add(data).expect("within the bound");
            assert_eq!(whole.is_some(), index == 9_999);
            params = whole;
        }
        let Some(Params::Text(parts)) = params else {
            panic!("these were not read");
        };
        assert!(parts.count() < 100);
        assert_eq!(parts.contiguous(), sent);
    }
}
