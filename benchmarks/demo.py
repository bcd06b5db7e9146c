# SPDX-License-Identifier: Apache-2.0
"""How long the page of `avkit demo` takes: to be served, to the first words of an answer, and to the drawn one.

python benchmarks/demo.py CLIP [RUN] [options of avkit demo]

Seconds on the clock, and of the server's processor, which other work on the machine does not lengthen.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 3


def processor_seconds(pid):
    """What a process has used of the processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Seconds since it was made."""

    def __init__(self, pid):
        self.pid = pid
        self.clock = time.perf_counter()
        self.processor = processor_seconds(pid)

    def line(self):
        """Both, in words."""
        clock = time.perf_counter() - self.clock
        return f"{clock:5.1f} s on the clock, {processor_seconds(self.pid) - self.processor:5.1f} s of the processor"


def ask(client, pid, clip):
    """Upload a clip and print when the first words and the drawn answer come."""
    watch = Watch(pid)
    path = client.post("/gradio_api/upload", files={"files": (clip.name, clip.read_bytes())}).json()[0]
    config = client.get("/config").json()
    [event] = [entry for entry in config["dependencies"] if entry["backend_fn"] and entry["targets"][0][1] == "click"]
    [tasks] = [entry["props"]["value"] for entry in config["components"] if entry["type"] == "checkboxgroup"]
    video = {"path": path, "orig_name": clip.name, "meta": {"_type": "gradio.FileData"}}
    session = {"session_hash": os.urandom(6).hex()}
    request = {"data": [video, tasks, "", True, False, False], "fn_index": event["id"], **session}
    client.post("/gradio_api/queue/join", json=request).raise_for_status()
    waiting = {"avkit-first": "first words", "avkit-answer": "drawn"}
    with client.stream("GET", "/gradio_api/queue/data", params=session) as events:
        for line in events.iter_lines():
            for mark in [mark for mark in waiting if mark in line]:
                print(f"  {waiting.pop(mark):12} {watch.line()}")
            if "process_completed" in line:
                assert not waiting, json.loads(line.partition(":")[2])["output"]
                return


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path, help="a video")
    options, words = parser.parse_known_args()
    import httpx

    command = [sys.executable, "-m", "avkit", "demo", *words, "--port", "0"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = next(match[1] for line in server.stdout if (match := re.match(r"open (\S+)", line)))
            client = httpx.Client(base_url=address, timeout=600)
            while True:
                try:
                    client.get("/").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            clock = time.perf_counter() - started
            print(f"started      {clock:5.1f} s on the clock, {processor_seconds(server.pid):5.1f} s of the processor")
            watch = Watch(server.pid)
            client.get("/").raise_for_status()
            print(f"page         {watch.line()}")
            for _ in range(ROUNDS):
                ask(client, server.pid, options.clip)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
