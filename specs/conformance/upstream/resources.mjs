// The resources of the suite.

import { ResourceTemplate } from "@modelcontextprotocol/server";

import { PNG } from "./content.mjs";

export function addResources(server) {
  const add = (name, description, content) => {
    const uri = `test://${name}`;
    const metadata = { description, mimeType: content.mimeType };
    server.registerResource(name, uri, metadata, () => ({ contents: [{ uri, ...content }] }));
  };
  const plain = (of) => ({ mimeType: "text/plain", text: of });
  add("static-text", "A text", plain("This is the content of the static text resource."));
  add("static-binary", "An image", { mimeType: "image/png", blob: PNG });
  add("watched-resource", "A text that changes", plain("Watched resource content"));

  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  const metadata = { description: "A resource with a parameter", mimeType: "application/json" };
  server.registerResource("template", template, metadata, ({ href }, { id }) => ({
    contents: [
      {
        uri: href,
        mimeType: "application/json",
        text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
      },
    ],
  }));
}
