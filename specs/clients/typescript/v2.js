// Version 2 of the SDK (`@modelcontextprotocol/client`), which speaks both eras.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

/** Connects with a bearer credential; `onUpdate` gets the URI of each updated resource. */
export async function connect(url, credential, onUpdate, mode) {
  const authProvider = { token: async () => credential };
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => onUpdate(params.uri));
  await client.connect(transport);
  const modern = client.getProtocolEra() === "modern";
  return {
    client,
    version: client.getNegotiatedProtocolVersion(),
    subscribe: async (uri) => {
      if (modern) {
        const subscription = await client.listen({ resourceSubscriptions: [uri] });
        return () => subscription.close();
      }
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    close: async () => {
      if (!modern) await transport.terminateSession();
      await client.close();
    },
  };
}

/** The HTTP status of a refusal, as the types of the SDK tell it. */
export const statusOf = (error) => (error instanceof UnauthorizedError ? 401 : undefined);
