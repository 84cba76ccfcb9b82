// The config of the gateway for a scenario: stdio towards the client, and `mcp · client` towards the server.

/** Quotes a text for YAML. */
const quoted = (text) => JSON.stringify(text);

/** `context`: what the scenario tells its client, such as the credentials of an OAuth client. */
export async function configOf(url, context) {
  const { client_id: clientId, client_secret: clientSecret } = context;
  const http = ["proxy: none"];
  if (clientId && clientSecret) {
    const tokenUrl = await tokenEndpoint(url);
    const credentials = Object.entries({ tokenUrl, clientId, clientSecret, resource: url });
    const members = credentials.map(([name, value]) => `${name}: ${quoted(value)}`);
    http.push(`authorization: { clientCredentials: { ${members.join(", ")} } }`);
  }
  return `name: conformance-client
workers: 1
bindings:
  stdio0: { type: stdio, kind: server, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_client0 }
  mcp_client0: { type: mcp, kind: client, options: { url: ${quoted(url)}, http: { ${http.join(", ")} } } }
`;
}

/** The token endpoint of a server, as an operator looks it up for the config (RFC 9728, RFC 8414). */
async function tokenEndpoint(url) {
  const { origin, pathname } = new URL(url);
  const resource = await json(`${origin}/.well-known/oauth-protected-resource${pathname}`);
  const issuer = new URL(resource.authorization_servers[0]);
  const path = issuer.pathname === "/" ? "" : issuer.pathname;
  const server = await json(`${issuer.origin}/.well-known/oauth-authorization-server${path}`);
  return server.token_endpoint;
}

async function json(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}
