#!/usr/bin/env python3
"""What a real server tells about itself: metrics, readiness, and the ids of requests in its log.

    metrics_test.py --varve build/dev/bin/varve
"""

import os
import re

import support
from support import check, check_equal, ok, poll

PASSWORD = "open sesame"
BEARER = {"authorization": "Bearer " + PASSWORD}


def samples(text):
    """The samples of a page in Prometheus's text format, by name and labels."""
    found = {}
    for line in text.decode().splitlines():
        if line.startswith("#"):
            check(re.match(r"# (HELP|TYPE) [a-z_]+ .+", line), "a comment is HELP or TYPE", line)
            continue
        name, space, value = line.rpartition(" ")
        check(space and re.match(r"^[a-z_]+(\{.*\})?$", name), "a line is a sample", line)
        check(name not in found, "a sample is there once", line)
        found[name] = float(value)
    return found


def scrape(client, headers=BEARER):
    answer = client.expect(200, "GET", "/metrics", headers=headers)
    check_equal(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8", "the content type")
    return samples(answer.raw)


def metrics_ask_for_the_password(server, client):
    client.expect(401, "GET", "/metrics")
    scrape(client)
    client.expect(404, "POST", "/metrics", {}, BEARER)
    client.close()
    server.terminate()
    server.environment["VARVE_OPEN_METRICS"] = "true"
    server.start()
    scrape(client, {})
    client.expect(401, "GET", "/v1/agents/")
    ok("metrics ask for the password unless they are open")


def work_is_counted(client):
    before = scrape(client)
    agent = client.expect(200, "POST", "/v1/agents/", {"name": "ann", "model": support.MODEL}, BEARER).json["id"]
    for text in ("one", "two"):
        client.expect(200, "POST", "/v1/agents/%s/messages" % agent, support.user_message(text), BEARER)
    after = scrape(client)

    def grown(name):
        return after.get(name, 0) - before.get(name, 0)

    check_equal(grown("varve_turns_opened_total"), 2, "turns opened")
    check_equal(grown('varve_turn_duration_seconds_count{outcome="finished"}'), 2, "turns finished")
    check_equal(grown('varve_http_request_duration_seconds_count{method="POST",'
                      'route="/v1/agents/{agent_id}/messages",status="2xx"}'), 2, "requests of the route")
    check_equal(grown("varve_commit_duration_seconds_count"), 5, "records of the agent and its turns")
    check(grown("varve_log_written_bytes_total") > 1000, "bytes of the log")
    check(grown("varve_projection_rows_total") >= 5, "rows of the views")
    check_equal(after["varve_partitions_owned"], 4, "partitions owned")
    check_equal(after["varve_ready"], 1, "ready")
    check(after["varve_http_connections_open"] >= 1, "our connection is counted")
    check(after["process_resident_memory_bytes"] > 1e6, "memory of the process")
    check(1.7e9 < after["process_start_time_seconds"] < 4e9, "start of the process")
    check(any(name.startswith("varve_build_info{") for name in after), "the program says its version")
    ok("a real server counts its work (%d samples)" % len(after))


def readiness_has_numbers(client):
    answer = client.expect(200, "GET", "/v1/ready/")
    check_equal(answer.json["status"], "ready", "the status")
    check_equal(answer.json["checks"]["partitions"]["owned"], 4, "partitions owned")
    check_equal(answer.json["checks"]["views"]["limit_records"], 10000, "the usual limit")
    ok("a real server says that it is ready, without a password")


def ids_of_requests_are_in_the_log(server, client):
    body = {"label": "human", "value": "Ann"}
    mine = client.expect(200, "POST", "/v1/blocks/", body, {**BEARER, "x-request-id": "mine/1"})
    check_equal(mine.headers["x-request-id"], "mine/1", "the id in the answer")
    made = client.expect(200, "POST", "/v1/blocks/", body, BEARER).headers["x-request-id"]
    client.close()
    written = {}
    for line in server.log_records():
        record = line["record"]
        if record and record["kind"] == "commit":
            written[record["parts"][0]["stream"]] = record["cmd"].get("request")
    check_equal(written[mine.json["id"]], "mine/1", "the client's id in the log")
    check(made in written.values(), "the id that the server made is in the log", sorted(map(str, written.values())))
    done = server.run_tool("log", "tail", "--data-dir", server.data_dir, "-n", "5")
    check(b" request mine/1" in done.stdout, "log tail shows it", done.stdout)
    ok("ids of requests are found in the log")


def story(workshop, _chosen):
    server = workshop.server("metrics")
    with open(os.path.join(workshop.directory, "password"), "w", encoding="utf-8") as out:
        out.write(PASSWORD + "\n")
    server.environment["VARVE_PASSWORD_FILE"] = os.path.join(workshop.directory, "password")
    server.start()
    client = server.client()
    metrics_ask_for_the_password(server, client)
    client = server.client()
    poll("the server is ready", 20, lambda: client.request("GET", "/v1/ready/").status == 200)
    work_is_counted(client)
    readiness_has_numbers(client)
    ids_of_requests_are_in_the_log(server, client)
    check_equal(server.terminate(), 0, "exit code after SIGTERM")


if __name__ == "__main__":
    support.main(__doc__, story)
