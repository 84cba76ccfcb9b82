//! `tools/call`: collects the `params` of a call until they are complete.

use bytestring::ByteString;
use tidegate_json::{Document, Gather, Parts};
use tidegate_streams::mcp::{
    McpCapabilities, McpCompletionComplete, McpReset, McpResetKind, McpToolsCall,
};
use tidegate_streams::{Data, DataEx, Pooled};

use crate::complete;
use crate::refusal::NotAllowed;
use crate::tools::{Definition, Handler};

/// The headers that mirror the `topic` argument (usually one or none), and whether one is required.
#[derive(Debug, Default)]
pub(crate) struct TopicHeader {
    pub(crate) values: Vec<ByteString>,
    pub(crate) required: bool,
}

/// The complete params of a call.
#[derive(Debug)]
pub(crate) enum Params {
    /// Unparsed, in the parts in which they were received.
    Text(Parts),
    /// Parsed by the binding that opened the stream.
    Read(Document),
}

/// A call whose `params` are being received.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) handler: Handler,
    pub(crate) header: TopicHeader,
    /// The parsed params, which are sent with the first part.
    read: Option<Pooled<DataEx>>,
    text: Gather,
    bound: usize,
    /// The topic that no pattern of the config allows.
    pub(crate) refused: Option<Box<NotAllowed>>,
    /// Whether the client can ask its user.
    pub(crate) can_ask: bool,
}

impl Call {
    /// A call of `tool` with `params` of up to `bound` bytes.
    pub(crate) fn new(
        tool: &'static Definition,
        call: McpToolsCall,
        bound: usize,
    ) -> Result<Self, McpReset> {
        if usize::try_from(call.content_length).is_ok_and(|length| length > bound) {
            return Err(too_large(bound));
        }
        let topics = call.headers.into_iter().filter(|h| h.name == "topic");
        let header = TopicHeader {
            values: topics.map(|header| header.value).collect(),
            required: call.headers_required,
        };
        let can_ask = call
            .capabilities
            .contains(McpCapabilities::CLIENT_ELICITATION_FORM);
        Ok(Self {
            can_ask,
            ..Self::of(tool.handler(), header, bound)
        })
    }

    /// A `completion/complete` with `params` of up to `bound` bytes.
    pub(crate) fn completion(
        complete: &McpCompletionComplete,
        bound: usize,
    ) -> Result<Self, McpReset> {
        if usize::try_from(complete.content_length).is_ok_and(|length| length > bound) {
            return Err(too_large(bound));
        }
        Ok(Self::of(complete::HANDLER, TopicHeader::default(), bound))
    }

    fn of(handler: Handler, header: TopicHeader, bound: usize) -> Self {
        Self {
            handler,
            header,
            read: None,
            text: Gather::new(),
            bound,
            refused: None,
            can_ask: false,
        }
    }

    /// Adds a part. Returns the params if it was the last one.
    pub(crate) fn add(&mut self, mut data: Data) -> Result<Option<Params>, McpReset> {
        let first = self.text.is_empty();
        if self.text.len() + data.payload.len() > self.bound {
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
        self.text.push(data.payload);
        Ok(last.then(|| self.take()))
    }

    /// The params received so far.
    pub(crate) fn take(&mut self) -> Params {
        let text = self.text.take();
        if let Some(DataEx::Mcp(read)) = self.read.take().map(Pooled::into_inner)
            && let Some(document) = read.of_parts(&text)
        {
            return Params::Read(document);
        }
        Params::Text(text)
    }
}

fn too_large(bound: usize) -> McpReset {
    McpReset::new(
        McpResetKind::TooLarge,
        format!("'params' exceeds {bound} bytes (maxParams); send a smaller payload."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidegate_streams::DataFlags;

    use crate::options::Options;
    use crate::tools::Tools;

    #[test]
    fn many_small_parts_are_gathered_and_stay_in_order() {
        let tool = Tools::new(&Options::default()).named("publish");
        let tool = tool.expect("a tool");
        let mut call = Call::new(tool, McpToolsCall::default(), 1 << 20).expect("no length given");
        let mut sent = Vec::new();
        let mut params = None;
        for index in 0..10_000usize {
            let size = if index % 1_000 == 999 { 4_096 } else { 3 };
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
