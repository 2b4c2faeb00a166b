from letta_client import Letta

client = Letta(base_url="http://127.0.0.1:8283")
agent = client.agents.create(name="carl", memory_blocks=[{"label": "human", "value": "Name: Carl."}])
answer = client.agents.messages.create(agent.id, input="Hello from Python!")
print(answer.messages[-1].content)
