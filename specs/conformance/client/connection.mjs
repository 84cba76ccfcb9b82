// A client of a gateway over stdio, of either era of MCP: JSON-RPC messages, and an answer to what the server asks for.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const VERSIONS = { modern: "2026-07-28", legacy: "2025-11-25" };
const INFO = { name: "conformance-driver", version: "1.0.0" };
const CAPABILITIES = { elicitation: { form: {} }, sampling: {}, roots: {} };

/** The user's answer to a form: the default of each field, or true. */
export function answerOf(method, params) {
  if (method !== "elicitation/create") throw new Error(`not answered: ${method}`);
  const fields = Object.entries(params.requestedSchema?.properties ?? {});
  return { action: "accept", content: Object.fromEntries(fields.map(([name, field]) => [name, field.default ?? true])) };
}

/** An answer of the server that is an error. */
export class Refused extends Error {}

/** Starts a gateway and begins a session with it, if the era has sessions. */
export async function connect(gateway, config, era) {
  const child = spawn(gateway, ["start", "--config", config], { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = new Map();
  let lastId = 0;
  const write = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  ended.then(() => waiting.forEach(({ reject }) => reject(new Error("the gateway has ended"))));

  createInterface({ input: child.stdout }).on("line", (line) => {
    const message = JSON.parse(line);
    if (message.method === undefined) {
      const { resolve, reject } = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error) reject(new Refused(`${message.error.code}: ${message.error.message}`));
      else resolve(message.result);
    } else if (message.id !== undefined) {
      write({ id: message.id, result: answerOf(message.method, message.params) });
    }
  });

  const meta = {
    "io.modelcontextprotocol/protocolVersion": VERSIONS.modern,
    "io.modelcontextprotocol/clientInfo": INFO,
    "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
  };
  const send = (method, params) =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      write({ id, method, params: era === "modern" ? { ...params, _meta: meta } : params });
    });

  /** Sends a request; gives what a modern result asks for, and repeats the request. */
  const request = async (method, params = {}) => {
    let result = await send(method, params);
    while (result.resultType === "input_required") {
      const asked = Object.entries(result.inputRequests ?? {});
      const inputResponses = Object.fromEntries(asked.map(([key, of]) => [key, answerOf(of.method, of.params)]));
      const { requestState } = result;
      result = await send(method, { ...params, inputResponses, ...(requestState !== undefined && { requestState }) });
    }
    return result;
  };

  if (era === "legacy") {
    await request("initialize", { protocolVersion: VERSIONS.legacy, capabilities: CAPABILITIES, clientInfo: INFO });
    write({ method: "notifications/initialized" });
  } else {
    await request("server/discover");
  }
  return {
    request,
    call: (name, args = {}) => request("tools/call", { name, arguments: args }),
    /** Ends the gateway, and waits until it has ended what it has open. */
    close: async () => {
      child.stdin.end();
      const code = await ended;
      if (code !== 0) throw new Error(`the gateway ended with ${code}`);
    },
  };
}
