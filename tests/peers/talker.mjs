// The server of `talker.py` once more, made with the TypeScript SDK: the same names, the same answers.
//
//     node tests/peers/talker.mjs NODE_MODULES       # on its pipes; the first message decides its era
//
// Uses the SDK as its documentation does and nothing of ours.

import { createRequire } from 'node:module';

const require = createRequire(`${process.argv[2]}/`);
const sdk = require('@modelcontextprotocol/server');
const { serveStdio } = require('@modelcontextprotocol/server/stdio');
const { z } = require('zod');
const { inputRequired, inputResponse } = sdk;

const say = (text) => ({ content: [{ type: 'text', text }] });
const uri = 'note://one';
const capabilities = { logging: {}, resources: { subscribe: true, listChanged: true }, tools: { listChanged: true } };

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
  server.registerTool('grow', { inputSchema: z.object({ name: z.string() }) }, ({ name }) => {
    server.registerTool(name, {}, () => say('new'));
    return say('grown');
  });
  server.registerTool('touch', {}, async () => {
    await server.server.sendResourceUpdated({ uri });
    return say('touched');
  });
  const people = sdk.completable(z.string(), (typed) => ['Ann', 'Bob'].filter((name) => name.startsWith(typed)));
  server.registerPrompt('greet', { argsSchema: z.object({ name: people }) }, ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Hello, ${name}!` } }],
  }));
  server.registerResource('one', uri, {}, () => ({ contents: [{ uri, text: 'the first note' }] }));
  const notes = new sdk.ResourceTemplate('note://number/{n}', { list: undefined });
  server.registerResource('note', notes, {}, (at, { n }) => ({ contents: [{ uri: at.href, text: `note ${n}` }] }));
  return server;
}

serveStdio(talker);
