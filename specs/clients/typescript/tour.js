// Uses everything that a gateway offers, with one of the SDKs, over HTTP or stdio.
//
//     STEPS='{"calls":[[NAME,ARGUMENTS]],"reads":[URI],"prompts":[[NAME,ARGUMENTS]]}' node tour.js v1|v2 legacy|auto URL
//     STEPS=… node tour.js v1|v2 legacy|auto PROGRAM ARGUMENT…
//
// Prints one JSON document: the revision, the names in the lists, and the text of each step. test_clients.py checks it.

const [sdk, mode, ...target] = process.argv.slice(2);
const { calls, reads, prompts } = JSON.parse(process.env.STEPS);

async function sdkOf() {
  if (sdk === "v2") {
    const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
    const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
    const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
    return { client, StreamableHTTPClientTransport, StdioClientTransport };
  }
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  return { client: new Client({ name: "test", version: "1" }), StreamableHTTPClientTransport, StdioClientTransport };
}

const { client, StreamableHTTPClientTransport, StdioClientTransport } = await sdkOf();
const [first, ...args] = target;
const transport = first.startsWith("http:")
  ? new StreamableHTTPClientTransport(new URL(first))
  : new StdioClientTransport({ command: first, args });
await client.connect(transport);

const textOf = (contents) => contents.map(({ text }) => text ?? "").join("");
const each = async (steps, of) => {
  const texts = [];
  for (const step of steps) texts.push(await of(step));
  return texts;
};
const facts = {
  version: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
  tools: (await client.listTools()).tools.map(({ name }) => name),
  resources: (await client.listResources()).resources.map(({ uri }) => uri),
  prompts: (await client.listPrompts()).prompts.map(({ name }) => name),
  called: await each(calls, async ([name, given]) => textOf((await client.callTool({ name, arguments: given })).content)),
  read: await each(reads, async (uri) => textOf((await client.readResource({ uri })).contents)),
  prompted: await each(prompts, async ([name, given]) => {
    const { messages } = await client.getPrompt({ name, arguments: given });
    return textOf(messages.map(({ content }) => content));
  }),
};
await client.close();
console.log(JSON.stringify(facts));
