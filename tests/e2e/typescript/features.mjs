// Streams, tool calls, runs, cancels, tools and errors with the official TypeScript client.
//
//   node features.mjs BASE_URL MODEL LOCKED_BASE_URL [CHAPTER ..]
//
// MODEL must be one of the mock provider (mock_provider.py), whose directives the messages carry. The server at
// LOCKED_BASE_URL asks for a password. It prints one "ok" line for each chapter, and ends with exit code 1 if
// anything was not as a client may expect it.
import http from 'node:http';

import Letta, * as sdk from '@letta-ai/letta-client';

import { all, expect, expectEqual, textOf } from './expect.mjs';

const [baseURL, model, lockedURL, ...wanted] = process.argv.slice(2);
const POLL_MS_MAX = 30_000;
const unique = `${process.pid}-${Date.now()}`;

const connect = (url, options = {}) => new Letta({ baseURL: url, apiKey: 'unused', maxRetries: 0, ...options });
const client = connect(baseURL, { timeout: 30_000 });
const ids = (items) => items.map((item) => item.id);
const kinds = (messages) => messages.map((message) => message.message_type);
const said = (text) => ({ messages: [{ role: 'user', content: text }] });
const say = (agent, text, options) => client.agents.messages.create(agent.id, said(text), options);

async function expectPaged(pages, items, what) {
  const seen = ids(await all(pages));
  expectEqual(new Set(seen).size, seen.length, `${what}: distinct items`);
  expectEqual(seen.filter((id) => items.includes(id)), items, what);
}

async function poll(what, work) {
  const deadline = Date.now() + POLL_MS_MAX;
  for (;;) {
    const result = await work();
    if (result) return result;
    expect(Date.now() < deadline, `waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function createAgent(story) {
  story.agent = await client.agents.create({
    name: `ts-features-${unique}`,
    model,
    memory_blocks: [{ label: 'human', value: 'Name: Ada.' }],
    tags: [`ts-${unique}`],
  });
  expect((await client.tags.list({ limit: 1000 })).includes(`ts-${unique}`), 'its tag is listed');
}

// ---- streams

async function collect(stream) {
  const came = [];
  for await (const item of stream) came.push(item);
  return came;
}

// The messages of a stream, which must end as a finished turn's does.
async function finished(stream) {
  const came = await collect(stream);
  expectEqual(kinds(came).slice(-2), ['stop_reason', 'usage_statistics'], 'the end of the stream');
  expectEqual(came[came.length - 2].stop_reason, 'end_turn', 'the stop reason');
  expectEqual(new Set(came.slice(0, -2).map((item) => item.run_id)).size, 1, 'runs that the stream names');
  return came.slice(0, -2).filter((item) => item.message_type !== 'ping');
}

async function checkReply(agent, streamed, reply) {
  const parts = streamed.filter((item) => item.message_type === 'assistant_message');
  expectEqual(parts.map(textOf).join(''), reply, 'the streamed reply');
  expectEqual(new Set(ids(parts)).size, 1, 'ids of the parts of one message');
  const newest = await client.agents.messages.list(agent.id, { limit: 1 });
  expectEqual([newest.items[0].id, textOf(newest.items[0])], [parts[0].id, reply], 'the newest message of the history');
}

async function streams({ agent }) {
  const reply = 'one two three four';
  const body = said(`Stream. [[reply:${reply}]]`);
  const bySteps = await finished(await client.agents.messages.create(agent.id, { ...body, streaming: true }));
  expectEqual(kinds(bySteps), ['assistant_message'], 'messages of a stream by steps');
  await checkReply(agent, bySteps, reply);
  await checkReply(agent, await finished(await client.agents.messages.stream(agent.id, body)), reply);
  const options = { ...body, streaming: true, stream_tokens: true, include_pings: true };
  const first = await client.agents.messages.create(agent.id, options);
  const tokens = await finished(first);
  expect(tokens.length >= 4, 'the reply comes token by token', kinds(tokens));
  await checkReply(agent, tokens, reply);
  await checkReply(agent, await finished(await client.agents.messages.stream(agent.id, options)), reply);
}

async function toolCalls({ agent }) {
  const call = (text) => `[[tool:memory_insert {"label": "human", "new_string": "${text}"}]] [[reply:Noted.]]`;
  const valueOf = async () => (await client.agents.blocks.retrieve('human', { agent_id: agent.id })).value;
  const order = ['tool_call_message', 'tool_return_message', 'assistant_message'];
  const answer = await say(agent, `Note this. ${call('Likes tea.')}`);
  expectEqual(kinds(answer.messages), order, 'the answer');
  const [asked, returned] = answer.messages;
  expectEqual([asked.tool_call.name, returned.status], ['memory_insert', 'success'], 'the call and its outcome');
  expectEqual(returned.tool_call_id, asked.tool_call.tool_call_id, 'the id that joins them');
  expect((await valueOf()).includes('Likes tea.'), 'the tool has edited the block');
  for (const stream_tokens of [false, true]) {
    const text = `Streamed ${stream_tokens}.`;
    const body = { ...said(`Note. ${call(text)}`), stream_tokens };
    const came = await finished(await client.agents.messages.stream(agent.id, body));
    expectEqual(kinds(came).filter((kind, at, every) => kind !== every[at - 1]), order, "the stream's messages");
    const calls = came.filter((item) => item.message_type === 'tool_call_message');
    const given = calls.map((item) => item.tool_call.arguments ?? '').join('');
    expect(given.includes(text), "the call's arguments are streamed whole", given);
    expectEqual((await valueOf()).split(text).length - 1, 1, 'how often the tool has edited the block');
  }
}

// ---- runs

async function runs({ agent }) {
  const listed = await all(client.runs.list({ agent_id: agent.id, limit: 1000 }));
  expect(listed.length >= 7, 'every turn was a run', listed.length);
  await expectPaged(client.runs.list({ agent_id: agent.id, limit: 2 }), ids(listed), 'runs, two at a time');
  const run = await client.runs.retrieve(listed[listed.length - 1].id);
  expectEqual([run.agent_id, run.status, run.stop_reason], [agent.id, 'completed', 'end_turn'], 'the first run');
  const messages = await all(client.runs.messages.list(run.id, { limit: 1000 }));
  expectEqual(kinds(messages), ['user_message', 'assistant_message'], 'its messages');
  expectEqual((await all(client.runs.steps.list(run.id))).length, 1, 'its steps');
  const later = await client.agents.messages.createAsync(agent.id, said('Later. [[reply:Done.]] [[delay:300]]'));
  expect(['created', 'running'].includes(later.status), 'an asynchronous run', later);
  const done = await poll('the run has ended', async () => {
    const seen = await client.runs.retrieve(later.id);
    return ['created', 'running'].includes(seen.status) ? undefined : seen;
  });
  expectEqual([done.status, done.background], ['completed', true], 'what became of it');
  await checkReply(agent, await finished(await client.runs.messages.stream(later.id)), 'Done.');
}

async function cancels({ agent }) {
  const words = Array.from({ length: 100 }, (_, number) => `word${number}`).join(' ');
  const body = { ...said(`Never mind. [[token_delay:200]] [[reply:${words}]]`), stream_tokens: true };
  const stream = await client.agents.messages.stream(agent.id, body);
  let run;
  const stops = [];
  for await (const item of stream) {
    if (!run) {
      run = item.run_id;
      expectEqual(await client.agents.messages.cancel(agent.id, { run_ids: [run] }), { [run]: 'cancelled' }, 'cancel');
    }
    if (item.message_type === 'stop_reason') stops.push(item.stop_reason);
  }
  expectEqual(stops, ['cancelled'], 'how the stream ends');
  expectEqual((await client.runs.retrieve(run)).status, 'cancelled', 'the cancelled run');
  const answer = await say(agent, 'Go on. [[reply:Here I am.]]');
  expectEqual(textOf(answer.messages[answer.messages.length - 1]), 'Here I am.', 'the agent goes on');
}

// ---- the catalogue

async function tools({ agent }) {
  const source = (name) => `def ${name}(word: str) -> str:\n    """\n    Gives the word back.\n\n    Args:\n`
    + '        word (str): Any word.\n\n    Returns:\n        str: The same word.\n    """\n    return word\n';
  const name = `echo_${unique.replace('-', '_')}`;
  const made = [];
  for (const number of [0, 1, 2]) made.push(await client.tools.create({ source_code: source(name + number) }));
  expectEqual(made.map((tool) => tool.name), [0, 1, 2].map((number) => name + number), 'names out of the source');
  await expectPaged(client.tools.list({ limit: 2 }), ids(made).reverse(), 'tools, two at a time');
  expectEqual(ids((await client.tools.list({ name: made[1].name })).items), [made[1].id], 'tools of one name');
  const again = await client.tools.upsert({ source_code: source(made[0].name), description: 'Upserted.' });
  expectEqual([again.id, again.description], [made[0].id, 'Upserted.'], 'answer to upsert');
  await client.tools.update(made[0].id, { description: 'Changed.' });
  expectEqual((await client.tools.retrieve(made[0].id)).description, 'Changed.', 'the description after update');
  for (const tool of made) await client.agents.tools.attach(tool.id, { agent_id: agent.id });
  const attached = await all(client.agents.tools.list(agent.id, { limit: 1000 }));
  expect(made.every((tool) => ids(attached).includes(tool.id)), 'attached tools', ids(attached));
  await expectPaged(client.agents.tools.list(agent.id, { limit: 2 }), ids(attached), 'attached tools, two at a time');
  await client.agents.tools.detach(made[0].id, { agent_id: agent.id });
  expect(!ids(await all(client.agents.tools.list(agent.id))).includes(made[0].id), 'a detached tool is gone');
  for (const tool of made) await client.tools.delete(tool.id);
  expectEqual((await client.tools.list({ name: made[1].name })).items, [], 'tools left');
  expect((await client.models.list()).some((item) => item.handle === model), 'the model is listed');
  expect((await client.models.embeddings.list()).length > 0, 'embedding models are listed');
}

// ---- errors

async function expectRaised(type, status, work, what) {
  let raised;
  try {
    await work();
  } catch (error) {
    raised = error;
  }
  expect(raised, `${what}: nothing was raised`);
  expect(raised.constructor === type, `${what}: wanted ${type.name}`, `${raised.constructor.name}: ${raised}`);
  expectEqual(raised.status, status, `${what}: status`);
  return raised;
}

async function errors({ agent }) {
  const locked = connect(lockedURL, { apiKey: 'wrong' });
  const twins = [];
  for (const value of ['x', 'y']) twins.push(await client.blocks.create({ label: `twin-${unique}`, value }));
  await client.agents.blocks.attach(twins[0].id, { agent_id: agent.id });
  const ofServer = [
    [sdk.BadRequestError, 400, () => say(agent, '1 [[status:400]]'), "a provider's 400"],
    [sdk.AuthenticationError, 401, () => locked.agents.list(), 'a wrong password'],
    [sdk.NotFoundError, 404, () => client.agents.retrieve('agent-00000000-0000-4000-8000-00000000dead'), 'nobody'],
    [sdk.ConflictError, 409, () => client.agents.blocks.attach(twins[1].id, { agent_id: agent.id }), 'a second label'],
    [sdk.ConflictError, 409, () => client.agents.messages.cancel(agent.id), 'nothing to cancel'],
    [sdk.UnprocessableEntityError, 422, () => client.agents.retrieve('agent-nonsense'), 'a malformed id'],
    [sdk.RateLimitError, 429, () => say(agent, '2 [[status:429]] [[retry_after:0]]'), "a provider's 429"],
    [sdk.InternalServerError, 500, () => say(agent, '3 [[status:500]] [[retry_after:0]]'), "a provider's 500"],
  ];
  for (const [type, status, work, what] of ofServer) {
    const error = await expectRaised(type, status, work, what);
    expect(error.error?.detail ?? error.error?.error, `${what}: the body says why`, error.error);
  }
  await expectRaised(
    sdk.APIError, undefined,
    async () => collect(await client.agents.messages.stream(agent.id, said('4 [[status:400]]'))), 'an error in a stream');
  await expectRaised(
    sdk.APIConnectionTimeoutError, undefined, () => say(agent, '5 [[delay:2000]]', { timeout: 500 }), 'a slow turn');
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 200);
  await expectRaised(
    sdk.APIUserAbortError, undefined, () => say(agent, '6 [[delay:2000]]', { signal: abort.signal }), 'an impatient user');
  const texts = (await client.agents.messages.list(agent.id, { limit: 20 })).items.map(textOf);
  for (const number of [1, 2, 3, 4, 5]) {
    expect(texts.some((text) => text.startsWith(`${number} [[`)), `message ${number} is kept`, texts);
  }
  await connect(lockedURL, { apiKey: 'secret' }).agents.list();
}

// Errors that the server never makes.
async function stubErrors() {
  const stub = http.createServer((_, answer) => {
    answer.writeHead(403, { 'content-type': 'application/json', connection: 'close' }).end('{"detail":"forbidden"}');
  });
  await new Promise((resolve) => stub.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${stub.address().port}`;
  await expectRaised(sdk.PermissionDeniedError, 403, () => connect(url).health(), 'what is forbidden');
  await new Promise((resolve) => stub.close(resolve));
  await expectRaised(sdk.APIConnectionError, undefined, () => connect(url).health(), 'a port that nobody listens on');
}

const chapters = [createAgent, streams, toolCalls, runs, cancels, tools, errors, stubErrors];
const story = {};
for (const chapter of chapters) {
  if (wanted.length > 0 && !['createAgent', ...wanted].includes(chapter.name)) continue;
  try {
    await chapter(story);
    console.log(`ok: ${chapter.name}`);
  } catch (error) {
    console.error(`FAILED: ${chapter.name}: ${error.stack ?? error}`);
    process.exitCode = 1;
    if (!story.agent) break;
  }
}
