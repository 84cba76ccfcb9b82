// In front of a gateway that offers the fixtures as a toolkit: takes its prefix off, because the suite asks for certain names.
//
//     node unprefixed.mjs TOOLKIT URL
//
// It prints its own URL. What a client sends gets the prefix: names, URIs, references, and the header that repeats them. What
// the gateway answers has to have it on every name and URI of the fixtures, or the answer is an error.

import { once } from "node:events";
import { createServer, request as requestTo } from "node:http";

const [toolkit, gateway] = process.argv.slice(2);
const [forNames, forUris] = [`${toolkit}__`, `${toolkit}+`];
/** Names and URIs of the fixtures, which have to have the prefix in these members. */
const BARE = /^(?:test_\w+|json_schema_2020_12_tool|test:\/\/.*)$/;
const MEMBERS = new Set(["name", "uri", "uriTemplate"]);

const prefixed = (params, member, prefix) => ({ ...params, [member]: prefix + params[member] });

/** The `params` of a request, with the prefix. */
function withPrefix(method, params) {
  switch (method) {
    case "tools/call":
    case "prompts/get":
      return prefixed(params, "name", forNames);
    case "resources/read":
    case "resources/subscribe":
    case "resources/unsubscribe":
      return prefixed(params, "uri", forUris);
    case "completion/complete": {
      const { ref } = params;
      const isPrompt = ref.type === "ref/prompt";
      return { ...params, ref: isPrompt ? prefixed(ref, "name", forNames) : prefixed(ref, "uri", forUris) };
    }
    case "subscriptions/listen": {
      const { notifications } = params;
      const resourceSubscriptions = notifications?.resourceSubscriptions?.map((uri) => forUris + uri);
      return { ...params, notifications: { ...notifications, ...(resourceSubscriptions && { resourceSubscriptions }) } };
    }
    default:
      return params;
  }
}

/** The text of an answer without the prefix. */
function withoutPrefix(text) {
  JSON.parse(text, (member, value) => {
    if (MEMBERS.has(member) && BARE.test(value)) throw new Error(`without its prefix: ${value}`);
    return value;
  });
  return text.replaceAll(`"${forNames}`, '"').replaceAll(`"${forUris}`, '"');
}

/** The header that repeats the subject of a request, with the prefix. It may be encoded. */
function withPrefixedName(headers, method) {
  const name = headers["mcp-name"];
  const prefix = { "tools/call": forNames, "prompts/get": forNames, "resources/read": forUris }[method];
  if (!name || !prefix) return headers;
  const encoded = /^=\?base64\?(.*)\?=$/.exec(name);
  const value = prefix + (encoded ? Buffer.from(encoded[1], "base64").toString() : name);
  return { ...headers, "mcp-name": encoded ? `=?base64?${Buffer.from(value).toString("base64")}?=` : value };
}

async function textOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** A request for the gateway: its body and headers. What is not a message is the gateway's to refuse. */
function forGateway(text, headers) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return [text, headers];
  }
  if (!message?.method || !message.params) return [text, headers];
  const body = JSON.stringify({ ...message, params: withPrefix(message.method, message.params) });
  return [body, withPrefixedName(headers, message.method)];
}

/** The messages of a stream of events, each without the prefix. */
async function relayEvents(events, response) {
  let rest = "";
  for await (const chunk of events.setEncoding("utf8")) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = /^data: ?(\{.*\})\r?$/.exec(line);
      response.write(`${data ? `data: ${withoutPrefix(data[1])}` : line}\n`);
    }
  }
  response.end(rest);
}

async function relay(request, response) {
  const [body, headers] = forGateway(await textOf(request), request.headers);
  // The host is that of the gateway, unless the suite tries a foreign one.
  if (headers.host === `127.0.0.1:${server.address().port}`) headers.host = new URL(gateway).host;
  if (body) headers["content-length"] = Buffer.byteLength(body);
  const onward = requestTo(gateway, { method: request.method, headers });
  response.on("close", () => onward.destroy());
  onward.end(body);
  const [answer] = await once(onward, "response");
  const { "content-length": _, "transfer-encoding": __, ...kept } = answer.headers;
  response.writeHead(answer.statusCode, kept);
  if (answer.headers["content-type"]?.startsWith("text/event-stream")) {
    response.flushHeaders();
    return relayEvents(answer, response);
  }
  const answered = await textOf(answer);
  response.end(answered.startsWith("{") ? withoutPrefix(answered) : answered);
}

const server = createServer((request, response) => {
  relay(request, response).catch((error) => {
    if (response.destroyed) return;
    console.error(error.message);
    if (!response.headersSent) response.writeHead(500);
    response.end(error.message);
  });
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
