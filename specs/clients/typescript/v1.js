// Version 1 of the SDK (`@modelcontextprotocol/sdk`), up to revision 2025-11-25.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport, StreamableHTTPError } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

/** Connects with a bearer credential; `onUpdate` gets the URI of each updated resource. */
export async function connect(url, credential, onUpdate) {
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: { Authorization: `Bearer ${credential}` } },
  });
  const client = new Client({ name: "test", version: "1" });
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => onUpdate(params.uri));
  await client.connect(transport);
  return {
    client,
    version: transport.protocolVersion,
    subscribe: async (uri) => {
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    close: async () => {
      await transport.terminateSession();
      await client.close();
    },
  };
}

/** The HTTP status of a refusal, as the types of the SDK tell it. */
export const statusOf = (error) => (error instanceof StreamableHTTPError ? error.code : undefined);
