import Letta from "@letta-ai/letta-client";

const client = new Letta({ baseURL: "http://127.0.0.1:8283" });
const agent = await client.agents.create({ name: "dora" });
const words = { input: "Hello from TypeScript!", stream_tokens: true };
for await (const event of await client.agents.messages.stream(agent.id, words))
  if (event.message_type === "assistant_message") process.stdout.write(event.content);
console.log();
