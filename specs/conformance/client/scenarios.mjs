// What each scenario of the suite tells its client to do. A scenario that is not here is left out.

import assert from "node:assert/strict";

async function toolsOf({ request }) {
  return (await request("tools/list")).tools;
}

const textOf = ({ content }) => content.map(({ text }) => text).join("");

export const scenarios = {
  initialize: async (connection) => {
    assert.deepEqual(await toolsOf(connection), []);
  },

  tools_call: async (connection) => {
    const [tool] = await toolsOf(connection);
    assert.equal(textOf(await connection.call(tool.name, { a: 5, b: 3 })), "The sum of 5 and 3 is 8");
  },

  "elicitation-sep1034-client-defaults": async (connection) => {
    for (const tool of await toolsOf(connection)) {
      assert.match(textOf(await connection.call(tool.name)), /^Elicitation completed/);
    }
  },

  "sse-retry": async (connection) => {
    const [tool] = await toolsOf(connection);
    assert.match(textOf(await connection.call(tool.name)), /completed successfully/);
  },

  "request-metadata": async (connection) => {
    assert.deepEqual(await toolsOf(connection), []);
    await connection.call("any");
  },

  "sep-2322-client-request-state": async (connection) => {
    const tools = await toolsOf(connection);
    // All at once: what one of them asks for must not reach another.
    const results = await Promise.all(tools.map(({ name }) => connection.call(name)));
    assert.ok(results.every((result) => /-ok$/.test(textOf(result))));
  },

  "http-standard-headers": async (connection) => {
    const { request } = connection;
    for (const { name } of await toolsOf(connection)) await connection.call(name);
    for (const { uri } of (await request("resources/list")).resources) await request("resources/read", { uri });
    for (const { name } of (await request("prompts/list")).prompts) await request("prompts/get", { name });
  },

  "http-custom-headers": async (connection, { toolCalls }) => {
    await toolsOf(connection);
    for (const { name, arguments: args } of toolCalls) await connection.call(name, args);
  },

  "http-invalid-tool-headers": async (connection) => {
    for (const { name } of await toolsOf(connection)) await connection.call(name);
  },

  "json-schema-ref-no-deref": async (connection) => {
    assert.equal((await toolsOf(connection)).length, 1);
  },

  "json-schema-2020-12-preservation": async (connection) => {
    const tools = await toolsOf(connection);
    const { inputSchema } = tools.find(({ name }) => name === "json_schema_2020_12_tool");
    await connection.call("json_schema_echo", { schema: inputSchema });
  },

  "auth/client-credentials-basic": async (connection) => {
    await toolsOf(connection);
  },
};
