// Uses a gateway as an agent does, with one of the SDKs: lists, publishes, reads, subscribes.
//
//     CREDENTIAL=… node walk.js v1|v2 legacy|auto URL
//
// Prints a JSON document for each step, which specs/clients/python/test_typescript.py checks. After
// `subscribed` it waits for one update.

const [sdk, mode, url] = process.argv.slice(2);
const { connect, statusOf } = await import(`./${sdk}.js`);
// The first has a retained message.
const READ = "mqtt://status/lamp";
const SUBSCRIBED = "mqtt://status/door";

const print = (step, facts) => console.log(JSON.stringify({ step, ...facts }));

async function walk() {
  let update;
  const updated = new Promise((resolve) => {
    update = resolve;
  });
  const { client, version, subscribe, close } = await connect(url, process.env.CREDENTIAL, update, mode);
  print("connected", { version });
  const { tools } = await client.listTools();
  print("tools", { names: tools.map(({ name }) => name) });
  const result = await client.callTool({ name: "publish", arguments: { topic: "commands/lamp", payload: "on", qos: 1 } });
  print("published", { isError: result.isError ?? false });
  const { contents } = await client.readResource({ uri: READ });
  print("read", { texts: contents.map(({ text }) => text) });
  const unsubscribe = await subscribe(SUBSCRIBED);
  print("subscribed");
  print("updated", { uri: await updated });
  await unsubscribe();
  await close();
  print("closed");
}

try {
  await walk();
} catch (error) {
  print("failed", { error: error.constructor.name, status: statusOf(error), message: error.message });
  process.exitCode = 1;
}
