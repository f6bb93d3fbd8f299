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
const { createApplicationInputHandler, createTaskSessionFromClient } = await import(
  `${modules}/@modelcontextprotocol/ext-tasks/dist/client/index.js`
);

const modern = mode !== 'legacy';
let asked = [];
let logs = [];
let news = [];
let wake = () => {};

const TRACE = {
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01',
  tracestate: 'vendor=1',
  baggage: 'kept=1,dropped=2',
};
let root = 'file:///r';

const clientInfo = { name: 'crossing', version: '1' };
const capabilities = { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } };
const client = new Client(clientInfo, { capabilities, versionNegotiation: { mode } });
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
  return { roots: [{ uri: root }] };
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

async function call(tool, args, options, more) {
  const _meta = { progressToken: tool, ...more };
  if (modern) _meta['io.modelcontextprotocol/logLevel'] = 'info';
  const result = await client.callTool({ name: tool, arguments: args, _meta }, options);
  return result.content.map((block) => block.text ?? '').join('\n');
}

async function ask({ tool, arguments: args }) {
  return { text: await call(tool, args), asked };
}

// The client of 2.3.1 knows the tasks of 2025-11-25 only, and its codecs refuse others. The package for
// tasks (0.2.2) asks its host for a way past them, which is the transport's.
const past = new Map();

function rawDispatch(request) {
  const { transport } = client;
  const id = `past-${past.size}`;
  if (!past.size) {
    const heard = transport.onmessage;
    transport.onmessage = (message, extra) => (past.get(message.id) ?? ((it) => heard(it, extra)))(message);
  }
  return new Promise((resolve, reject) => {
    past.set(id, ({ result, error }) => resolve(error ? { kind: 'error', error } : { kind: 'result', result }));
    transport.send({ jsonrpc: '2.0', id, ...request }).catch(reject);
  });
}

async function task(tool, args, withdraws) {
  const never = () => Promise.reject(new Error('not asked here'));
  const elicitation = () => {
    asked.push('form');
    return { action: 'accept', content: { name: 'Ann' } };
  };
  const framing = { protocolVersion: '2026-07-28', clientInfo, clientCapabilities: capabilities };
  const session = createTaskSessionFromClient(client, {
    endpointId: 'crossing',
    onInputRequest: withdraws ? () => new Promise(() => {}) : createApplicationInputHandler({ elicitation, sampling: never, roots: never }),
    ...(modern ? { rawDispatch, v2RequestFraming: framing } : {}),
  });
  const tasks = [];
  const execution = await session.callTool(tool, args);
  if (withdraws) await execution.cancel();
  const onEvent = (event) => void (event.task && tasks.push(event.task.status));
  const { outcome } = await execution.settle({ onEvent });
  if (execution.kind === 'task') tasks.push(outcome.status);
  await session.close();
  return { text: outcome.result?.content.map((block) => block.text).join('\n') ?? '', asked, tasks };
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
  async trace({ tool, arguments: args }) {
    return { sent: TRACE, text: await call(tool, args, undefined, TRACE) };
  },
  task: ({ tool, arguments: args }) => task(tool, args, false),
  task_withdrawn: ({ tool, arguments: args }) => task(tool, args, true),
  async roots_changed({ tool, arguments: args }) {
    await call(tool, args);
    asked = [];
    root = 'file:///changed';
    try {
      await client.sendRootsListChanged();
      for (;;) {
        const text = await call(tool, args);
        if (text.includes(root)) return { text, asked };
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    } finally {
      root = 'file:///r';
    }
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
