"""As much of Kafka's protocol as deploy/services.py and tests need to ask a broker whether it is ready, and to make
and remove topics, without a JVM for each question. Oldest versions that Kafka 4 understands; no records. Standard
library only.
"""

import socket
import struct

METADATA, FIND_COORDINATOR, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID = 3, 10, 19, 20, 22
UNKNOWN_TOPIC = 3
TOPIC_EXISTS = 36
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class KafkaError(Exception):
    """A broker refused; `code` is Kafka's number for the reason."""

    def __init__(self, what, code, text=None):
        super().__init__(f"{what}: error {code}" + (f" ({text})" if text else ""))
        self.code = code


class Reader:
    """Takes an answer apart from its beginning."""

    def __init__(self, data):
        self.data = data
        self.place = 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.place)
        self.place += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def text(self):
        length = self.take("h")
        if length < 0:
            return None
        self.place += length
        return self.data[self.place - length:self.place].decode()

    def array(self, item):
        return [item() for _ in range(self.take("i"))]


def text(value):
    if value is None:
        return struct.pack(">h", -1)
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Connection:
    """One connection to one broker's plaintext listener; `with` closes it."""

    def __init__(self, address, seconds=1.0):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, key, version, body):
        self.count += 1
        message = struct.pack(">hhi", key, version, self.count) + text("varve-services") + body
        self.socket.sendall(struct.pack(">i", len(message)) + message)
        length, = struct.unpack(">i", self.receive(4))
        if not 4 <= length <= ANSWER_BYTES_MAX:
            raise OSError(f"an answer of {length} bytes")
        answer = Reader(self.receive(length))
        if answer.take("i") != self.count:
            raise OSError("an answer to another question")
        return answer

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise OSError("the broker closed the connection")
            data += piece
        return data

    def metadata(self, *topics):
        """({node: "host:port"}, controller's node, {topic: {partition: leader}}); a topic that is not there is left
        out."""
        answer = self.ask(METADATA, 1, array([text(topic) for topic in topics]))
        nodes = {}
        for _ in range(answer.take("i")):
            node, host, port, _ = answer.take("i"), answer.text(), answer.take("i"), answer.text()
            nodes[node] = f"{host}:{port}"
        controller, found = answer.take("i"), {}
        for _ in range(answer.take("i")):
            error, name, _ = answer.take("h"), answer.text(), answer.take("?")
            leaders = {}
            for _ in range(answer.take("i")):
                _, partition, leader = answer.take("hii")
                answer.array(lambda: answer.take("i"))  # Replicas.
                answer.array(lambda: answer.take("i"))  # Those in sync.
                leaders[partition] = leader
            if error == 0:
                found[name] = leaders
            elif error != UNKNOWN_TOPIC:
                raise KafkaError(f"metadata of {name}", error)
        return nodes, controller, found

    def find_coordinator(self, group):
        answer = self.ask(FIND_COORDINATOR, 0, text(group))
        error, node = answer.take("hi")
        if error != 0:
            raise KafkaError("no group coordinator", error)
        return node

    def init_producer_id(self):
        answer = self.ask(INIT_PRODUCER_ID, 0, text(None) + struct.pack(">i", 60000))
        _, error, producer = answer.take("ihq")
        if error != 0:
            raise KafkaError("no producer id", error)
        return producer

    def create_topic(self, name, partitions, replication, config, milliseconds):
        settings = [text(key) + text(str(value)) for key, value in config.items()]
        topic = text(name) + struct.pack(">ih", partitions, replication) + array([]) + array(settings)
        answer = self.ask(CREATE_TOPICS, 2, array([topic]) + struct.pack(">i?", milliseconds, False))
        _, _, _, error, why = answer.take("i"), answer.take("i"), answer.text(), answer.take("h"), answer.text()
        if error != 0:
            raise KafkaError(f"topic {name} was not made", error, why)

    def delete_topic(self, name, milliseconds):
        answer = self.ask(DELETE_TOPICS, 1, array([text(name)]) + struct.pack(">i", milliseconds))
        _, _, _, error = answer.take("i"), answer.take("i"), answer.text(), answer.take("h")
        if error != 0:
            raise KafkaError(f"topic {name} was not removed", error)
