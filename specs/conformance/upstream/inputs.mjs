// What the tools of the suite ask their client for. They ask with results; the SDK makes requests of them for legacy clients.

import { inputRequired } from "@modelcontextprotocol/server";

import { result } from "./content.mjs";

export const form = (message, properties, required = Object.keys(properties)) =>
  inputRequired.elicit({ message, requestedSchema: { type: "object", properties, required } });

const sample = (of, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text: of } }], maxTokens });

/** A tool that asks once, and answers with what it is told. `state`: with a state that is sealed. */
function asks(inputRequests, answer, { state } = {}) {
  return async (args, { mcpReq }, { states }) => {
    const asked = typeof inputRequests === "function" ? inputRequests(args) : inputRequests;
    const given = mcpReq.inputResponses ?? {};
    const isAnswered = Object.keys(asked).every((key) => given[key] !== undefined);
    if (isAnswered && (!state || mcpReq.requestState() === state)) return answer(given);
    return inputRequired({ inputRequests: asked, ...(state && { requestState: await states.mint(state) }) });
  };
}

const elicited = (key) => (given) => {
  const { action, content = {} } = given[key];
  return result(`Elicitation completed: action=${action}, content=${JSON.stringify(content)}`);
};
const sampled = (key) => (given) => result(`LLM response: ${given[key].content?.text ?? "No response"}`);
const confirmed = { ok: form("Please confirm", { ok: { type: "boolean" } }) };

/** A form with a default of each primitive type (SEP-1034). */
const DEFAULTS = form(
  "Please review and update the form fields with defaults",
  {
    name: { type: "string", description: "User name", default: "John Doe" },
    age: { type: "integer", description: "User age", default: 30 },
    score: { type: "number", description: "User score", default: 95.5 },
    status: { type: "string", description: "User status", enum: ["active", "inactive", "pending"], default: "active" },
    verified: { type: "boolean", description: "Verification status", default: true },
  },
  [],
);

const titled = (what) =>
  ["First", "Second", "Third"].map((which, at) => ({ const: `value${at + 1}`, title: `${which} ${what}` }));
const OPTIONS = ["option1", "option2", "option3"];
const several = { type: "array", minItems: 1, maxItems: 3 };
/** A form with each way to choose from a list (SEP-1330). */
const ENUMS = form(
  "Please select options from the enum fields",
  {
    untitledSingle: { type: "string", description: "Select one option", enum: OPTIONS },
    titledSingle: { type: "string", description: "Select one option with titles", oneOf: titled("Option") },
    legacyEnum: {
      type: "string",
      description: "Select one option (legacy)",
      enum: ["opt1", "opt2", "opt3"],
      enumNames: ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti: { ...several, description: "Select multiple options", items: { type: "string", enum: OPTIONS } },
    titledMulti: { ...several, description: "Select multiple options with titles", items: { anyOf: titled("Choice") } },
  },
  [],
);

/** Asks twice; the state has the first answer. */
async function multiRound(_, { mcpReq }, { states }) {
  const given = mcpReq.inputResponses ?? {};
  const before = mcpReq.requestState();
  const ask = async (key, message, state) =>
    inputRequired({
      inputRequests: { [key]: form(message, { [key]: { type: "string" } }) },
      requestState: await states.mint(state),
    });
  if (given.color && before?.name) return result(`${before.name} likes ${given.color.content.color}`);
  if (given.name) return ask("color", "Step 2: What is your favorite color?", { name: given.name.content.name });
  return ask("name", "Step 1: What is your name?", {});
}

/** Asks for what the client declares. */
async function declared(args, ctx, { capabilities }) {
  const asked = {
    ...(capabilities(ctx).elicitation && { value: form("Elicitation input", { value: { type: "string" } }) }),
    ...(capabilities(ctx).sampling && { sample: sample("Sample request", 50) }),
  };
  if (Object.keys(asked).length === 0) return result("No supported capabilities declared");
  return asks(asked, () => result("capabilities-ok"))(args, ctx, {});
}

/** Reports progress before it asks. */
async function streaming(args, ctx, given) {
  const { mcpReq } = ctx;
  const progressToken = mcpReq._meta?.progressToken;
  if (progressToken !== undefined && !mcpReq.inputResponses) {
    await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress: 50, total: 100 } });
  }
  return asks(confirmed, elicited("ok"))(args, ctx, given);
}

const named = { user_name: form("What is your name?", { name: { type: "string" } }) };

/** The tools that ask, by name: what they do, and what arguments they have. */
export const asking = {
  test_sampling: { does: asks(({ prompt }) => ({ sample: sample(prompt, 100) }), sampled("sample")), argument: "prompt" },
  test_elicitation: {
    does: asks(({ message }) => ({ form: form(message, { response: { type: "string" } }) }), elicited("form")),
    argument: "message",
  },
  test_elicitation_sep1034_defaults: { does: asks({ form: DEFAULTS }, elicited("form")) },
  test_elicitation_sep1330_enums: { does: asks({ form: ENUMS }, elicited("form")) },
  test_streaming_elicitation: { does: streaming },
  // The SDK refuses the call of a client that cannot be asked for this.
  test_missing_capability: { does: asks({ sample: sample("Anything", 10) }, () => result("Success")) },
  test_input_required_result_elicitation: {
    does: asks(named, ({ user_name: { content } }) => result(`Hello, ${content?.name ?? "unknown"}!`)),
  },
  test_input_required_result_sampling: {
    does: asks({ sample: sample("What is the capital of France?", 100) }, sampled("sample")),
  },
  test_input_required_result_list_roots: {
    does: asks({ roots: inputRequired.listRoots() }, ({ roots }) => result(`Found ${roots.roots.length} root(s)`)),
  },
  test_input_required_result_request_state: {
    does: asks(confirmed, () => result("state-ok"), { state: "confirm" }),
  },
  test_input_required_result_tampered_state: {
    does: asks(confirmed, () => result("integrity-ok"), { state: "sealed" }),
  },
  test_input_required_result_multiple_inputs: {
    does: asks(
      {
        name: form("What is your name?", { name: { type: "string" } }),
        greeting: sample("Generate a greeting", 50),
        roots: inputRequired.listRoots(),
      },
      (given) => result(`${Object.keys(given).length} inputs`),
      { state: "several" },
    ),
  },
  test_input_required_result_multi_round: { does: multiRound },
  test_input_required_result_capabilities: { does: declared },
};
