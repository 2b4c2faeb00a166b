// Lives an agent's life with the official TypeScript client against a running server.
//
//   node client.mjs http://127.0.0.1:8283
//
// It expects the echo model: a reply contains the user's text. It prints one "ok" line for each chapter and stops
// at the first thing that is not as a client may expect it, with exit code 1. It removes what it has made.
import Letta, { ConflictError, NotFoundError, UnprocessableEntityError } from '@letta-ai/letta-client';

import { all, expect, expectEqual, expectRefused, textOf } from './expect.mjs';

const baseURL = process.argv[2];
if (!baseURL) {
  console.error('usage: node client.mjs BASE_URL');
  process.exit(2);
}

// A retry would hide what went wrong.
const client = new Letta({ baseURL, apiKey: process.env.LETTA_API_KEY ?? 'unused', maxRetries: 0, timeout: 30_000 });
const unique = `${process.pid}-${Date.now()}`;
let chapter = 'start';

function labels(blocks) {
  return blocks.map((block) => block.label).sort();
}

async function createAgent(story) {
  const agent = await client.agents.create({
    name: `ts-agent-${unique}`,
    model: 'openai/gpt-4o-mini',
    embedding: 'openai/text-embedding-3-small',
    memory_blocks: [
      { label: 'human', value: 'Name: Ada.' },
      { label: 'persona', value: 'I am a careful assistant.' },
    ],
    tags: [`ts-${unique}`],
    metadata: { number: 1, nested: { list: [1.5, null, 'ü'] } },
  });
  story.agent = agent;
  expect(/^agent-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(agent.id), 'its id', agent.id);
  expectEqual(agent.name, `ts-agent-${unique}`, 'its name');
  expectEqual(agent.agent_type, 'letta_v1_agent', 'its type');
  expectEqual(agent.model, 'openai/gpt-4o-mini', 'its model');
  expectEqual(agent.metadata, { number: 1, nested: { list: [1.5, null, 'ü'] } }, 'its metadata');
  expect(typeof agent.llm_config?.context_window === 'number', 'llm_config.context_window is a number', agent.llm_config);
  expect(typeof agent.system === 'string' && agent.system.length > 0, 'it has a system prompt');
}

async function retrieveAgent({ agent }) {
  const again = await client.agents.retrieve(agent.id);
  expectEqual(again.id, agent.id, 'id');
  expectEqual(again.name, agent.name, 'name');
  expectEqual(again.created_at, agent.created_at, 'created_at');
  const whole = await client.agents.retrieve(agent.id, { include: ['agent.blocks', 'agent.tags'] });
  expectEqual(labels(whole.blocks), ['human', 'persona'], 'labels of the included blocks');
  expectEqual(whole.tags, [`ts-${unique}`], 'included tags');
}

async function listAgents({ agent }) {
  const named = await client.agents.list({ name: agent.name });
  expectEqual(named.items.map((item) => item.id), [agent.id], 'agents of that name');
  const tagged = await client.agents.list({ tags: [`ts-${unique}`] });
  expectEqual(tagged.items.map((item) => item.id), [agent.id], 'agents with that tag');
  const second = await client.agents.create({ name: `ts-second-${unique}`, model: 'openai/gpt-4o-mini' });
  try {
    const everyone = await all(client.agents.list({ limit: 1 }));
    const ids = everyone.map((item) => item.id);
    expectEqual(new Set(ids).size, ids.length, 'paging gives nobody twice');
    expect(ids.indexOf(second.id) >= 0 && ids.indexOf(second.id) < ids.indexOf(agent.id), 'the newest comes first', ids);
  } finally {
    await client.agents.delete(second.id);
  }
}

async function editBlocks({ agent }) {
  const edited = await client.agents.blocks.update('human', { agent_id: agent.id, value: 'Name: Grace.' });
  expectEqual(edited.value, 'Name: Grace.', 'answer to agents.blocks.update');
  const human = await client.agents.blocks.retrieve('human', { agent_id: agent.id });
  expectEqual(human.value, 'Name: Grace.', 'agents.blocks.retrieve');
  const byId = await client.blocks.update(human.id, { value: 'Name: Grace. Likes C++ & "quotes".\nß → 日本' });
  expectEqual(byId.id, human.id, 'id of the updated block');
  const seen = await client.agents.blocks.retrieve('human', { agent_id: agent.id });
  expectEqual(seen.value, 'Name: Grace. Likes C++ & "quotes".\nß → 日本', 'the value after blocks.update');
  expectEqual((await client.blocks.retrieve(human.id)).value, seen.value, 'blocks.retrieve');
  await expectRefused(
    NotFoundError, 404,
    () => client.agents.blocks.retrieve('no such label', { agent_id: agent.id }), 'a label that the agent has not');
}

async function sendMessages(story) {
  story.sent = [];
  for (const number of [1, 2, 3]) {
    const text = `Message ${number} of ${unique}: ünïcode ✓`;
    const answer = await client.agents.messages.create(story.agent.id, { messages: [{ role: 'user', content: text }] });
    const replies = answer.messages.filter((message) => message.message_type === 'assistant_message');
    expectEqual(replies.length, 1, `assistant messages in answer ${number}`);
    expect(textOf(replies[0]).includes(text), `reply ${number} contains what was said`, replies[0]);
    expect(!answer.messages.some((message) => message.message_type === 'user_message'), 'the question is not sent back');
    expectEqual(answer.stop_reason?.stop_reason, 'end_turn', 'stop_reason');
    expectEqual(answer.usage?.step_count, 1, 'usage.step_count');
    story.sent.push({ text, reply: textOf(replies[0]) });
  }
}

async function listMessages({ agent, sent }) {
  const page = await client.agents.messages.list(agent.id, { limit: 100 });
  const talk = page.items.filter((item) => ['user_message', 'assistant_message'].includes(item.message_type));
  expectEqual(talk.map(textOf), sent.flatMap(({ text, reply }) => [text, reply]), 'the conversation, oldest first');
  expectEqual(page.items[0]?.message_type, 'system_message', 'what comes before everything');
  const types = talk.map((item) => item.message_type);
  expectEqual(types, sent.flatMap(() => ['user_message', 'assistant_message']), 'question and answer take turns');

  const paged = await all(client.agents.messages.list(agent.id, { limit: 2, order: 'asc' }));
  expectEqual(paged.map((item) => item.id), page.items.map((item) => item.id), 'paging from the oldest gives the same');
  const newest = await client.agents.messages.list(agent.id, { limit: 1 });
  expectEqual(newest.items.map(textOf), [sent[sent.length - 1].reply], 'the newest message');
}

async function updateAgent({ agent }) {
  const renamed = await client.agents.update(agent.id, { name: `ts-renamed-${unique}`, description: 'Renamed.' });
  expectEqual(renamed.name, `ts-renamed-${unique}`, 'answer to agents.update');
  const again = await client.agents.retrieve(agent.id);
  expectEqual([again.name, again.description], [`ts-renamed-${unique}`, 'Renamed.'], 'name and description');
  expectEqual(again.metadata, agent.metadata, 'metadata, which nobody touched');
  expectEqual((await client.agents.list({ name: agent.name })).items.length, 0, 'agents of the old name');
}

async function attachAndDetach(story) {
  const { agent } = story;
  const notes = await client.blocks.create({ label: 'notes', value: 'Remember the milk.', description: 'Notes.' });
  story.notes = notes;
  const attached = await client.agents.blocks.attach(notes.id, { agent_id: agent.id });
  expectEqual(attached.id, agent.id, 'answer to attach is the agent');
  const with_notes = await all(client.agents.blocks.list(agent.id));
  expectEqual(labels(with_notes), ['human', 'notes', 'persona'], 'blocks after attaching');
  const twin = await client.blocks.create({ label: 'notes', value: 'Another.' });
  try {
    await expectRefused(
      ConflictError, 409, () => client.agents.blocks.attach(twin.id, { agent_id: agent.id }), 'a second block of one label');
  } finally {
    await client.blocks.delete(twin.id);
  }
  await client.agents.blocks.detach(notes.id, { agent_id: agent.id });
  expectEqual(labels(await all(client.agents.blocks.list(agent.id))), ['human', 'persona'], 'blocks after detaching');
  expectEqual((await client.blocks.retrieve(notes.id)).value, 'Remember the milk.', 'the detached block lives on');
}

async function listBlocks(story) {
  const mine = await client.blocks.list({ label: 'notes', limit: 1000 });
  expect(mine.items.some((block) => block.id === story.notes.id), 'blocks.list shows the block', mine.items);
  await client.blocks.delete(story.notes.id);
  await expectRefused(NotFoundError, 404, () => client.blocks.retrieve(story.notes.id), 'a deleted block');
  story.notes = undefined;
}

async function refuseNonsense() {
  await expectRefused(UnprocessableEntityError, 422, () => client.agents.retrieve('agent-nonsense'), 'a malformed id');
  await expectRefused(
    NotFoundError, 404,
    () => client.agents.retrieve('agent-00000000-0000-4000-8000-00000000dead'), 'an agent that never was');
}

async function deleteAgent(story) {
  const { agent } = story;
  await client.agents.delete(agent.id);
  story.agent = undefined;
  await expectRefused(NotFoundError, 404, () => client.agents.retrieve(agent.id), 'retrieve after delete');
  await expectRefused(NotFoundError, 404, () => client.agents.delete(agent.id), 'delete after delete');
  await expectRefused(
    NotFoundError, 404,
    () => client.agents.messages.create(agent.id, { messages: [{ role: 'user', content: 'Hello?' }] }), 'talk after delete');
  expectEqual((await client.agents.list({ name: `ts-renamed-${unique}` })).items.length, 0, 'agents left in the list');
}

const chapters = [
  ['creates an agent', createAgent],
  ['retrieves it', retrieveAgent],
  ['lists agents', listAgents],
  ['edits blocks', editBlocks],
  ['sends messages', sendMessages],
  ['lists messages', listMessages],
  ['updates the agent', updateAgent],
  ['attaches and detaches a block', attachAndDetach],
  ['lists and deletes blocks', listBlocks],
  ['is refused what makes no sense', refuseNonsense],
  ['deletes the agent', deleteAgent],
];

const story = {};
try {
  const health = await client.health();
  expectEqual(health.status, 'ok', 'health');
  for (const [name, work] of chapters) {
    chapter = name;
    await work(story);
    console.log(`ok: ${name}`);
  }
} catch (error) {
  console.error(`FAILED: ${chapter}: ${error.stack ?? error}`);
  process.exitCode = 1;
  if (story.agent) await client.agents.delete(story.agent.id).catch(() => {});
  if (story.notes) await client.blocks.delete(story.notes.id).catch(() => {});
}
