// An MCP server of the official TypeScript SDK with the fixtures of the conformance suite: what a gateway is put in front of.
//
//     node server.mjs both|legacy|modern
//
// It prints its URL. Legacy clients have sessions, whose streams of events can be resumed; modern ones need none.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from "@modelcontextprotocol/node";
import {
  McpServer,
  WebStandardStreamableHTTPServerTransport,
  createMcpHandler,
  createRequestStateCodec,
  isInitializeRequest,
  isLegacyRequest,
} from "@modelcontextprotocol/server";

import { Events } from "./events.mjs";
import { addPrompts } from "./prompts.mjs";
import { addResources } from "./resources.mjs";
import { addTools } from "./tools.mjs";

const eras = process.argv[2];
const states = createRequestStateCodec({ key: randomUUID() + randomUUID() });

/** A server with all fixtures. `changed` tells its clients that a list has changed. */
function fixtures({ era, changed }) {
  const server = new McpServer(
    { name: "conformance-upstream", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        completions: {},
        logging: {},
      },
      requestState: { verify: states.verify },
    },
  );
  addTools(server, { era, changed, states });
  addPrompts(server);
  addResources(server);
  if (era === "legacy") {
    server.server.setRequestHandler("resources/subscribe", () => ({}));
    server.server.setRequestHandler("resources/unsubscribe", () => ({}));
  }
  return server;
}

const modern = createMcpHandler(
  () =>
    fixtures({
      era: "modern",
      changed: {
        sendToolListChanged: () => modern.notify.toolsChanged(),
        sendPromptListChanged: () => modern.notify.promptsChanged(),
      },
    }),
  { legacy: "reject" },
);

/** The sessions of legacy clients, by their ids. */
const sessions = new Map();

/** A changed list is told to all of them. */
const everySession = Object.fromEntries(
  ["sendToolListChanged", "sendPromptListChanged"].map((tell) => [
    tell,
    () => sessions.forEach(({ server }) => server[tell]()),
  ]),
);

async function legacy(request) {
  const id = request.headers.get("mcp-session-id");
  if (id) {
    const session = sessions.get(id);
    if (session) return session.transport.handleRequest(request);
    return error(404, -32001, "Session not found");
  }
  const body = request.method === "POST" ? await request.clone().json().catch(() => undefined) : undefined;
  if (!isInitializeRequest(body)) return error(400, -32000, "Mcp-Session-Id is required");
  const server = fixtures({ era: "legacy", changed: everySession });
  const transport = new WebStandardStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (session) => void sessions.set(session, { server, transport }),
    onsessionclosed: (session) => void sessions.delete(session),
    eventStore: new Events(),
    retryInterval: 50,
  });
  await server.connect(transport);
  return transport.handleRequest(request);
}

function error(status, code, message) {
  return Response.json({ jsonrpc: "2.0", id: null, error: { code, message } }, { status });
}

/** Both eras on one endpoint, or one of them. */
async function handle(request) {
  if (eras === "modern") return modern.fetch(request);
  if (eras === "legacy" || (await isLegacyRequest(request))) return legacy(request);
  return modern.fetch(request);
}

const handler = toNodeHandler({ fetch: handle });
const [hostIsValid, originIsValid] = [localhostHostValidation(), localhostOriginValidation()];
const server = createServer((request, response) => {
  if (hostIsValid(request, response) && originIsValid(request, response)) handler(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
