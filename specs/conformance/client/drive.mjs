// The client of the MCP conformance suite: the suite starts it for each scenario, with the URL of a server, and checks
// what that server is sent. It is a gateway with `mcp · client` towards the URL, and a client of the gateway over stdio.
//
//     CONFORMANCE_GATEWAY=target/debug/tidegate conformance client --command 'node drive.mjs' …
//
// What a scenario tells its client to do is in `scenarios.mjs`. The client is as plain as possible: the headers, the
// versions, the sessions and the event streams that the suite checks are the gateway's own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { configOf } from "./config.mjs";
import { connect } from "./connection.mjs";
import { scenarios } from "./scenarios.mjs";

const url = process.argv.at(-1);
const name = process.env.MCP_CONFORMANCE_SCENARIO ?? "";
const era = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === "2026-07-28" ? "modern" : "legacy";
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");

const scenario = scenarios[name];
if (!scenario) {
  console.error(`left out: ${name} (docs/conformance.md says why)`);
  process.exit(1);
}

const folder = mkdtempSync(join(tmpdir(), "tidegate-conformance-"));
try {
  const file = join(folder, "gateway.yaml");
  writeFileSync(file, await configOf(url, context));
  const connection = await connect(process.env.CONFORMANCE_GATEWAY, file, era);
  try {
    await scenario(connection, context);
  } finally {
    await connection.close();
  }
} finally {
  rmSync(folder, { recursive: true });
}
