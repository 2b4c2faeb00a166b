#!/usr/bin/env python3
"""`varve teleport` from a data directory into a cluster on real Kafka and PostgreSQL, and on from there.

    teleport_cluster_test.py --varve build/dev/bin/varve     ($VARVE_SERVICES, or ./dev services start)

Both nodes of the cluster say of every agent what its source says; the topic and a node give the same archive; what is
imported from that is the same again; an agent moves into the cluster; verify finds the views equal to the logs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import support  # noqa: E402
from cluster_nodes import Node, Place, real_services  # noqa: E402
from support import check, check_equal, create_agent, ok, user_message  # noqa: E402
from teleport_test import SCRIPT, expect, path_of, people, same_everywhere, say  # noqa: E402


def story(workshop, _chosen):
    source = workshop.server("source", script=SCRIPT).start()
    client = source.client()
    ann, ben, _tool = people(client)
    archive = path_of(workshop, "all.zst")
    expect(0, source, "export", "--all", "--data-dir", source.data_dir, "--output", archive)

    place = Place(workshop, real_services.shared(), "teleport", script=SCRIPT)
    nodes = [Node(workshop, name, place, ["--cluster", place.cluster]).start() for name in ("one", "two")]
    expect(0, nodes[0], "import", archive, "--server", nodes[0].base)
    for node in nodes:
        same_everywhere(client, node.client(), [ann, ben])
    error, _ = expect(0, nodes[1], "import", archive, "--server", nodes[1].base)
    check("everything was there already" in error, "a repeated import, through another node", error)
    check_equal(say(nodes[1].client(), ann, "and now?").status, 200, "it lives on in the cluster")
    ok("both nodes of a cluster say what the source says")

    topic = ["--log", "kafka", "--kafka-brokers", place.brokers, "--kafka-topic", place.topic]
    back = path_of(workshop, "back.zst")
    expect(0, nodes[0], "export", ann, ben, *topic, "--output", back)
    again = path_of(workshop, "again.zst")
    expect(0, nodes[0], "export", ann, ben, "--server", nodes[1].base, "--output", again)
    with open(back, "rb") as one, open(again, "rb") as other:
        check_equal(one.read(), other.read(), "the topic and a node give the same archive")
    third = workshop.server("third", script=SCRIPT).start()
    expect(0, third, "import", back, "--server", third.base)
    same_everywhere(nodes[0].client(), third.client(), [ann, ben], lists=False)
    third.verify()
    ok("out of the cluster again")

    cleo = create_agent(client, "cleo", {"human": "Cleo"})
    check_equal(say(client, cleo, "remember tea").status, 200, "a turn")
    then = client.expect(200, "GET", "/v1/agents/" + cleo).json
    expect(0, source, "move", cleo, "--server", source.base, "--to", nodes[0].base,
           "--archive", path_of(workshop, "move.zst"))
    client.expect(410, "POST", "/v1/agents/%s/messages" % cleo, user_message("hello"))
    for node in nodes:
        check_equal(node.client().expect(200, "GET", "/v1/agents/" + cleo).json, then, "it is there as it was")
    back_home = path_of(workshop, "home.zst")
    expect(0, nodes[0], "export", cleo, *topic, "--output", back_home)
    error, _ = expect(1, source, "import", back_home, "--server", source.base)
    check(cleo in error, "there is no way back to where its place is told", error)
    source.verify()
    done = nodes[0].run_tool("verify", *topic, "--store", "postgres", "--postgres-url", place.postgres_url)
    check(done.returncode == 0, "the views of PostgreSQL equal the topic", done.stderr + done.stdout)
    for server in [*nodes, source, third]:
        check_equal(server.terminate(), 0, "exit code after SIGTERM")
    ok("an agent has moved into the cluster")


if __name__ == "__main__":
    support.main(__doc__, story)
