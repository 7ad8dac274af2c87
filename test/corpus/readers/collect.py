"""Asks real readers about every text of the corpus and writes their verdicts into it. README.md beside it says more."""

import base64
import json
import os
import resource
import selectors
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent
ROOT = CORPUS.parent.parent
BUILT = ROOT / ".cache" / "corpus"

# A reader that has not answered by then refuses.
SECONDS = 10

READERS = {
    "yaml.json": ["pyyaml", "go-yaml", "snakeyaml"],
    "json.json": ["python", "go", "node"],
    "toml.json": ["tomllib", "burntsushi"],
    "properties.json": ["java"],
}

# With other versions the verdicts can be others, so the script stops. Go modules and SnakeYAML have their versions in
# go/go.mod and java/pom.xml.
VERSIONS = {"Python": "3.11", "PyYAML": "6.0.4", "Go": "go1.26", "Java": "17", "Node": "v20"}

NODE = """
const lines = require('node:readline').createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on('line', (line) => {
  const text = Buffer.from(line.slice(line.indexOf(' ') + 1), 'base64').toString('utf8');
  let taken = true;
  try {
    JSON.parse(text);
  } catch {
    taken = false;
  }
  process.stdout.write(`${taken}\\n`);
});
"""


def answer():
    """The Python readers, as a process of their own: a line of input is a question, a line of output its answer."""
    # What grows without end is refused before the machine suffers.
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    for line in sys.stdin:
        reader, _, encoded = line.rstrip("\n").partition(" ")
        text = base64.b64decode(encoded).decode("utf-8")
        try:
            if reader == "pyyaml":
                list(yaml.safe_load_all(text))
            elif reader == "python":
                json.loads(text)
            elif reader == "tomllib":
                tomllib.loads(text)
            else:
                sys.exit(f"no such reader: {reader}")
            taken = True
        except Exception:
            taken = False
        print("true" if taken else "false", flush=True)


class Process:
    """A process that answers for one or more readers. It is started again after a hang or a crash."""

    def __init__(self, command, environment=None):
        self.command = command
        self.environment = {**os.environ, **(environment or {})}
        self.running = None

    def takes(self, reader, text):
        encoded = base64.b64encode(text.encode("utf-8")).decode("ascii")
        if self.running is None:
            self.running = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self.environment,
            )
            # The time that a process takes to start does not count.
            if not self.ask(reader, "", 60):
                sys.exit(f"{self.command[0]} does not answer")
        reply = self.ask(reader, encoded, SECONDS)
        if reply is None:
            self.stop()
            return False, "no answer"
        return reply == b"true\n", None

    def ask(self, reader, encoded, seconds):
        try:
            self.running.stdin.write(f"{reader} {encoded}\n".encode("ascii"))
            self.running.stdin.flush()
        except BrokenPipeError:
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(self.running.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        return self.running.stdout.readline() or None

    def stop(self):
        if self.running:
            self.running.kill()
            self.running.communicate()
            self.running = None


def output(*command, cwd=None):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def check_versions():
    found = {
        "Python": sys.version,
        "PyYAML": yaml.__version__,
        "Go": output("go", "env", "GOVERSION"),
        "Java": output("java", "-version").split('"')[1],
        "Node": output("node", "--version"),
    }
    for name, wanted in VERSIONS.items():
        if not (found[name].strip() + ".").replace(" ", ".").startswith(wanted + "."):
            sys.exit(f"{name} is {found[name].strip()}, the verdicts are of {wanted}")


def build():
    BUILT.mkdir(parents=True, exist_ok=True)
    output("go", "build", "-o", str(BUILT / "go-readers"), ".", cwd=HERE / "go")
    for old in BUILT.glob("snakeyaml-*.jar"):
        old.unlink()
    output("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={BUILT}", cwd=HERE / "java")
    [jar] = BUILT.glob("snakeyaml-*.jar")
    output("javac", "-cp", str(jar), "-d", str(BUILT), str(HERE / "java" / "Readers.java"))
    python = Process([sys.executable, str(Path(__file__).resolve()), "--answer"])
    go = Process([str(BUILT / "go-readers")])
    java = Process(["java", "-Xmx512m", "-cp", f"{jar}{os.pathsep}{BUILT}", "Readers"])
    node = Process(["node", "-e", NODE])
    return {
        "pyyaml": python,
        "go-yaml": go,
        "snakeyaml": java,
        "python": python,
        "go": go,
        "node": node,
        "tomllib": python,
        "burntsushi": go,
        "java": java,
    }


def written(texts):
    """The file's content: one text per line, sorted by name, in ASCII."""
    return "[\n" + ",\n".join(json.dumps(text).replace("\x7f", "\\u007f") for text in texts) + "\n]\n"


def main():
    check_versions()
    processes = build()
    for file, readers in READERS.items():
        path = CORPUS / file
        texts = sorted(json.loads(path.read_text("utf-8")), key=lambda text: text["name"])
        for one, next_one in zip(texts, texts[1:]):
            if one["name"] == next_one["name"]:
                sys.exit(f"{file}: the name {one['name']} is used twice")
        changed = 0
        for number, text in enumerate(texts):
            verdicts = {}
            for reader in readers:
                verdicts[reader], trouble = processes[reader].takes(reader, text["text"])
                if trouble:
                    print(f"{file}: {text['name']}: {reader}: {trouble}")
            changed += verdicts != text.get("verdicts")
            texts[number] = {"name": text["name"], "text": text["text"], "verdicts": verdicts}
        path.write_text(written(texts), "ascii", newline="\n")
        taken = sum(all(text["verdicts"].values()) for text in texts)
        refused = sum(not any(text["verdicts"].values()) for text in texts)
        print(
            f"{file}: {len(texts)} texts: all readers take {taken}, all refuse {refused}, "
            f"they differ on {len(texts) - taken - refused}; {changed} with new verdicts"
        )
    for process in set(processes.values()):
        process.stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["--answer"]:
        answer()
    else:
        main()
