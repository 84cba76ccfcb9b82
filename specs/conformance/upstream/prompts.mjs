// The prompts of the suite, and the completion of their arguments.

import { fromJsonSchema, inputRequired } from "@modelcontextprotocol/server";

import { image, resource, text } from "./content.mjs";
import { form } from "./inputs.mjs";

const WORDS = ["paris", "park", "party"];

export function addPrompts(server) {
  const messages = (...contents) => ({ messages: contents.map((content) => ({ role: "user", content })) });
  const add = (name, description, names, answer) => {
    const properties = Object.fromEntries(names.map((argument) => [argument, { type: "string", description: argument }]));
    const argsSchema = names.length && fromJsonSchema({ type: "object", properties, required: names });
    server.registerPrompt(name, { description, ...(argsSchema && { argsSchema }) }, (...given) =>
      argsSchema ? answer(given[0], given[1]) : answer({}, given[0]),
    );
  };
  add("test_simple_prompt", "A prompt without arguments", [], () =>
    messages(text("This is a simple prompt for testing.")),
  );
  add("test_prompt_with_arguments", "A prompt with two arguments", ["arg1", "arg2"], ({ arg1, arg2 }) =>
    messages(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  add("test_prompt_with_embedded_resource", "A prompt with a resource", ["resourceUri"], ({ resourceUri }) =>
    messages(
      resource(resourceUri, "text/plain", "Embedded resource content for testing."),
      text("Please process the embedded resource above."),
    ),
  );
  add("test_prompt_with_image", "A prompt with an image", [], () =>
    messages(image(), text("Please analyze the image above.")),
  );
  add("test_input_required_result_prompt", "A prompt that asks", [], (_, { mcpReq }) => {
    const answer = mcpReq.inputResponses?.user_context;
    if (answer?.action === "accept") return messages(text(`Prompt with context: ${answer.content.context}`));
    const asked = form("What context should the prompt use?", { context: { type: "string" } });
    return inputRequired({ inputRequests: { user_context: asked } });
  });

  server.server.setRequestHandler("completion/complete", ({ params }) => {
    const values = WORDS.filter((word) => word.startsWith(params.argument.value));
    return { completion: { values, total: values.length, hasMore: false } };
  });
}
