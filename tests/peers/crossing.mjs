// The TypeScript SDK's client as a peer of `crossing.py`: makes checks and tells what it saw.
//
//     node tests/peers/crossing.mjs NODE_MODULES ENDPOINT auto|legacy    # a check a line, an answer a line
//
// Judges nothing. Uses the SDK as its documentation does.

import { createRequire } from 'node:module';
import readline from 'node:readline';

const [modules, endpoint, mode] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
const { StdioClientTransport, getDefaultEnvironment } = require('@modelcontextprotocol/client/stdio');

const modern = mode !== 'legacy';
let asked = [];
let logs = [];
let news = [];
let wake = () => {};

const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} };
const client = new Client({ name: 'crossing', version: '1' }, { capabilities, versionNegotiation: { mode } });
client.setRequestHandler('elicitation/create', ({ params }) => {
  asked.push(params.mode === 'url' ? 'page' : 'form');
  return params.mode === 'url' ? { action: 'accept' } : { action: 'accept', content: { name: 'Ann' } };
});
client.setRequestHandler('sampling/createMessage', () => {
  asked.push('sample');
  return { role: 'assistant', model: 'm', content: { type: 'text', text: 'Paris' } };
});
client.setRequestHandler('roots/list', () => {
  asked.push('roots');
  return { roots: [{ uri: 'file:///r' }] };
});
client.setNotificationHandler('notifications/message', ({ params }) => void logs.push(params.data));
// The SDK's own `onprogress` loses what comes in one piece with the answer, with or without a gateway.
const NEWS = ['progress', 'resources/updated', 'tools/list_changed', 'resources/list_changed'];
for (const what of NEWS) {
  client.setNotificationHandler(`notifications/${what}`, (notification) => {
    news.push(notification);
    wake();
  });
}

async function until(method) {
  for (;;) {
    const found = news.find((notification) => notification.method === method);
    if (found) return found;
    await new Promise((resolve) => (wake = resolve));
  }
}

// What a listen brings goes to the same handlers as what legacy servers say unasked.
async function listening(filter, body) {
  const subscription = modern ? await client.listen(filter) : undefined;
  const saw = await body();
  await subscription?.close();
  return saw;
}

async function call(tool, args, options) {
  const _meta = { progressToken: tool };
  if (modern) _meta['io.modelcontextprotocol/logLevel'] = 'info';
  const result = await client.callTool({ name: tool, arguments: args, _meta }, options);
  return result.content.map((block) => block.text ?? '').join('\n');
}

async function ask({ tool, arguments: args }) {
  return { text: await call(tool, args), asked };
}

const CHECKS = {
  async prompt({ name, arguments: args }) {
    const listed = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
    const { messages } = await client.getPrompt({ name, arguments: args });
    return { listed, text: messages[0].content.text };
  },
  async resource({ uri }) {
    const listed = (await client.listResources()).resources.map((resource) => resource.uri);
    return { listed, text: (await client.readResource({ uri })).contents[0].text };
  },
  async template({ uri }) {
    const { resourceTemplates } = await client.listResourceTemplates();
    const listed = resourceTemplates.map((template) => template.uriTemplate);
    return { listed, text: (await client.readResource({ uri })).contents[0].text };
  },
  async completion({ name, argument, typed }) {
    const ref = { type: 'ref/prompt', name };
    const { completion } = await client.complete({ ref, argument: { name: argument, value: typed } });
    return { values: completion.values };
  },
  async updated({ uri, tool, arguments: args }) {
    if (!modern) await client.subscribeResource({ uri });
    return listening({ resourceSubscriptions: [uri] }, async () => {
      // One of the servers has a switch for its updates, which a client before us may have left on.
      while ((await call(tool, args)).includes('Stopped'));
      return { uri: (await until('notifications/resources/updated')).params.uri };
    });
  },
  async list_changed({ which, tool, arguments: args }) {
    return listening({ [`${which}ListChanged`]: true }, async () => {
      await call(tool, args);
      await until(`notifications/${which}/list_changed`);
      return { changed: which };
    });
  },
  async progress({ tool, arguments: args }) {
    await call(tool, args);
    const notes = news.filter(({ method }) => method === 'notifications/progress');
    return { notes: notes.map(({ params }) => params.progress) };
  },
  async cancel({ tool, arguments: args }) {
    const withdrawal = new AbortController();
    call(tool, args, { signal: withdrawal.signal }).catch(() => {});
    await until('notifications/progress');
    withdrawal.abort('not wanted any more');
    return {};
  },
  form: ask,
  page: ask,
  sample: ask,
  roots: ask,
  async log({ tool, arguments: args }) {
    if (!modern) await client.setLoggingLevel('info');
    await call(tool, args);
    return { logs };
  },
};

function transport() {
  if (!endpoint.startsWith('{')) return new StreamableHTTPClientTransport(new URL(endpoint));
  const { command, args, env } = JSON.parse(endpoint);
  return new StdioClientTransport({ command, args, env: { ...getDefaultEnvironment(), ...env } });
}

await client.connect(transport());
if (client.getProtocolEra() !== (modern ? 'modern' : 'legacy')) throw new Error(`speaks ${client.getProtocolEra()}`);
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { check, ...what } = JSON.parse(line);
  [asked, logs, news] = [[], [], []];
  const saw = await CHECKS[check](what).catch((error) => ({ failed: String(error?.stack ?? error) }));
  console.log(JSON.stringify(saw));
}
await client.close();
