// The tools of the suite.

import { setTimeout as sleep } from "node:timers/promises";

import { CLIENT_CAPABILITIES_META_KEY, fromJsonSchema } from "@modelcontextprotocol/server";

import { audio, image, resource, result } from "./content.mjs";
import { asking } from "./inputs.mjs";

/** Pause between log messages and reports of progress, in milliseconds, as the suite wants it. */
const PAUSE = 50;

/** A schema whose keywords have to survive (SEP-1613, SEP-2106). */
const SCHEMA_2020_12 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

/** `changed`: what tells clients of a changed list; `states`: seals states. */
export function addTools(server, { era, changed, states }) {
  const schemaOf = (properties, required = Object.keys(properties)) => ({ type: "object", properties, required });
  const add = (name, description, does, schema = schemaOf({}, [])) =>
    server.registerTool(name, { description, inputSchema: fromJsonSchema(schema) }, does);
  /** What the client of a request can be asked for. */
  const capabilities = ({ mcpReq }) =>
    (era === "modern"
      ? mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY]
      : server.server.getClientCapabilities()) ?? {};

  add("test_simple_text", "Returns a text", () => result("This is a simple text response for testing."));
  add("test_image_content", "Returns an image", () => result(image()));
  add("test_audio_content", "Returns a sound", () => result(audio()));
  add("test_embedded_resource", "Returns a resource", () =>
    result(resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")),
  );
  add("test_multiple_content_types", "Returns several kinds of content", () => {
    const data = resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}');
    return result("Multiple content types test:", image(), data);
  });
  add("test_error_handling", "Fails", () => ({
    ...result("This tool intentionally returns an error for testing"),
    isError: true,
  }));

  const logs = async (_, { mcpReq }) => {
    for (const [at, what] of ["started", "running", "completed"].entries()) {
      if (at) await sleep(PAUSE);
      await mcpReq.log("info", `Tool execution ${what}`);
    }
    return result("Tool with logging executed successfully");
  };
  add("test_tool_with_logging", "Sends log messages", logs);
  add("test_logging_tool", "Sends a log message", async (_, { mcpReq }) => {
    await mcpReq.log("info", "Tool execution started");
    return result("Logged");
  });
  add("test_tool_with_progress", "Reports progress", async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progress) await sleep(PAUSE);
      const params = { progressToken, progress, total: 100 };
      if (progressToken !== undefined) await mcpReq.notify({ method: "notifications/progress", params });
    }
    return result(String(progressToken));
  });
  add("test_reconnection", "Ends its stream of events before its result", async (_, { http }) => {
    http?.closeSSE?.();
    await sleep(2 * PAUSE);
    return result("Reconnection test completed");
  });

  add("test_trigger_tool_change", "Changes the list of tools", () => {
    changed.sendToolListChanged();
    return result("Changed");
  });
  add("test_trigger_prompt_change", "Changes the list of prompts", () => {
    changed.sendPromptListChanged();
    return result("Changed");
  });
  const region = { region: { type: "string", "x-mcp-header": "Region" } };
  add("test_header", "Has a parameter that a header repeats", () => result("The header agrees"), schemaOf(region));
  add("json_schema_2020_12_tool", "Has a schema with many keywords", (args) => result(JSON.stringify(args)), SCHEMA_2020_12);

  for (const [name, { does, argument }] of Object.entries(asking)) {
    const schema = argument && schemaOf({ [argument]: { type: "string", description: "What is asked" } });
    add(name, "Asks the client", (args, ctx) => does(args, ctx, { states, capabilities }), schema);
  }
}
