// The server of `talker.py` once more, made with the TypeScript SDK: the same names, the same answers.
//
//     node tests/peers/talker.mjs NODE_MODULES       # on its pipes; the first message decides its era
//     node tests/peers/talker.mjs NODE_MODULES PORT  # Streamable HTTP, both eras
//
// Uses the SDK as its documentation does and nothing of ours.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(`${process.argv[2]}/`);
const sdk = require('@modelcontextprotocol/server');
const { serveStdio } = require('@modelcontextprotocol/server/stdio');
const { toNodeHandler } = require('@modelcontextprotocol/node');
const { z } = require('zod');
const { inputRequired, inputResponse } = sdk;

const say = (text) => ({ content: [{ type: 'text', text }] });
const uri = 'note://one';
const TASKS = 'io.modelcontextprotocol/tasks';
const capabilities = {
  extensions: { [TASKS]: {} },
  logging: {},
  resources: { subscribe: true, listChanged: true },
  tools: { listChanged: true },
};
// A modern request has a server of its own, so what lasts is kept here.
const tasks = new Map();
const grown = new Set();
// Over HTTP what changed is told by whoever serves.
let told;

// What each tool asks, and what it makes of the answer.
const ASKS = {
  form: [
    () => inputRequired.elicit({ message: 'who?', requestedSchema: z.object({ name: z.string() }) }),
    ({ content }) => `you are ${content.name}`,
  ],
  page: [
    () => inputRequired.elicitUrl({ message: 'please sign in', url: 'https://example.org/in' }),
    ({ action }) => `user: ${action}`,
  ],
  sample: [
    () => inputRequired.createMessage({
      messages: [{ role: 'user', content: { type: 'text', text: 'the capital of France?' } }],
      maxTokens: 9,
    }),
    ({ result }) => `it is ${result.content.text}`,
  ],
  roots: [() => inputRequired.listRoots(), ({ roots }) => `there is ${roots[0].uri}`],
};

// The SDK has no tasks of its own (2.3.1), but hands on what extensions answer: one task asks who it
// is for, and is done when it knows.
function begun() {
  const then = new Date().toISOString();
  const task = { taskId: randomUUID(), createdAt: then, lastUpdatedAt: then, ttlMs: 600_000, pollIntervalMs: 50 };
  const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
  const who = { method: 'elicitation/create', params: { mode: 'form', message: 'who?', requestedSchema } };
  tasks.set(task.taskId, { ...task, status: 'input_required', inputRequests: { who } });
  return { resultType: 'task', ...task, status: 'working' };
}

function aboutTasks(server) {
  const params = z.looseObject({ taskId: z.string() });
  const shapes = { params, result: z.looseObject({}) };
  const on = (method, handle) =>
    server.setRequestHandler(method, shapes, ({ taskId }, context) => {
      const task = tasks.get(taskId);
      if (!task) throw new sdk.ProtocolError(-32602, 'no such task');
      return handle(task, context);
    });
  on('tasks/get', (task) => task);
  on('tasks/update', (task, { mcpReq }) => {
    delete task.inputRequests;
    const text = `carried out for ${mcpReq.inputResponses.who.content.name}`;
    Object.assign(task, { status: 'completed', result: { resultType: 'complete', ...say(text) } });
    return {};
  });
  on('tasks/cancel', (task) => {
    delete task.inputRequests;
    task.status = 'cancelled';
    return {};
  });
}

function talker() {
  const server = new sdk.McpServer({ name: 'talker', version: '1' }, { capabilities });
  const step = (context, progress, total) => {
    const { progressToken } = context.mcpReq._meta ?? {};
    const params = { progressToken, progress, total };
    return progressToken === undefined ? undefined : context.mcpReq.notify({ method: 'notifications/progress', params });
  };
  for (const [name, [ask, tell]] of Object.entries(ASKS)) {
    server.registerTool(name, {}, (context) => {
      const said = inputResponse(context.mcpReq.inputResponses, name);
      return said.kind === 'missing' ? inputRequired({ inputRequests: { [name]: ask() } }) : say(tell(said));
    });
  }
  server.registerTool('progress', { inputSchema: z.object({ steps: z.number() }) }, async ({ steps }, context) => {
    for (let n = 1; n <= steps; n += 1) await step(context, n, steps);
    return say('done');
  });
  server.registerTool('sleep', {}, async (context) => {
    await step(context, 1, 2);
    await new Promise((resolve) => {
      const slept = setTimeout(resolve, 600_000);
      context.mcpReq.signal.addEventListener('abort', () => resolve(clearTimeout(slept)));
    });
    return say('slept');
  });
  server.registerTool('log', {}, async (context) => {
    await context.mcpReq.log('info', 'one message');
    return say('logged');
  });
  for (const name of grown) server.registerTool(name, {}, () => say('new'));
  server.registerTool('grow', { inputSchema: z.object({ name: z.string() }) }, ({ name }) => {
    grown.add(name);
    server.registerTool(name, {}, () => say('new'));
    told?.toolsChanged();
    return say('grown');
  });
  server.registerTool('touch', {}, async () => {
    if (told) told.resourceUpdated(uri);
    else await server.server.sendResourceUpdated({ uri });
    return say('touched');
  });
  server.registerTool('trace', {}, (context) => say(JSON.stringify(context.mcpReq._meta ?? {})));
  server.registerTool('task', {}, (context) => {
    const knows = context.mcpReq.envelope?.['io.modelcontextprotocol/clientCapabilities']?.extensions?.[TASKS];
    return knows ? begun() : say('carried out');
  });
  aboutTasks(server.server);
  const people = sdk.completable(z.string(), (typed) => ['Ann', 'Bob'].filter((name) => name.startsWith(typed)));
  server.registerPrompt('greet', { argsSchema: z.object({ name: people }) }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Hello, ${name}!` } }],
  }));
  server.registerResource('one', uri, {}, () => ({ contents: [{ uri, text: 'the first note' }] }));
  const notes = new sdk.ResourceTemplate('note://number/{n}', { list: undefined });
  server.registerResource('note', notes, {}, (at, { n }) => ({ contents: [{ uri: at.href, text: `note ${n}` }] }));
  return server;
}

const port = process.argv[3];
if (port) {
  const handler = sdk.createMcpHandler(talker);
  told = handler.notify;
  createServer(toNodeHandler(handler)).listen(Number(port), '127.0.0.1');
} else {
  serveStdio(talker);
}
