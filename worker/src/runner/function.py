"""Calls one Python function for each partition. Braid starts it as `python3 THIS MODULE:NAME`; it serves lines.

Python 3.9 or newer, nothing but the standard library. Standard output belongs to the protocol, so what the function prints goes to
standard error, which is the log.
"""

import atexit
import importlib
import inspect
import io
import json
import os
import queue
import shutil
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from decimal import Decimal

# Answers wait this long for others to go with.
HOLD = 0.005
# But not above so many.
MOST = 512
# A line that is not ended is kept up to so many characters.
LONG = 1 << 16
ARCHIVE = "code.tar.gz"


class Input:
    """The bytes of a partition: a file, or a directory of several."""

    __slots__ = ("path", "name", "parts")

    def __init__(self, path, name, parts=None):
        #: Where the bytes are.
        self.path = path
        #: The file's path in the data; None if the partition is of several files.
        self.name = name
        #: Of several files: what joining them takes.
        self.parts = parts

    def __repr__(self):
        return f"<Input {self.name or self.path}>"

    def files(self):
        """The paths of its files, in their order. Each is whole."""
        if self.parts is None:
            return [self.path]
        return [os.path.join(self.path, part["path"]) for part in self.parts]

    def bytes(self):
        """All of it, as it would be on standard input: several files one after the other, CSV with one header."""
        if self.parts is None:
            with open(self.path, "rb") as file:
                return file.read()
        joined, unended = [], False
        for path, part in zip(self.files(), self.parts):
            with open(path, "rb") as file:
                file.seek(part.get("skip", 0))
                data = file.read()
            if not data:
                continue
            if unended:
                joined.append(b"\n")
            joined.append(data)
            unended = part.get("lines", False) and not data.endswith(b"\n")
        return b"".join(joined)

    def text(self, encoding="utf-8", errors="strict"):
        """The same, as text."""
        return self.bytes().decode(encoding, errors)

    def lines(self, encoding="utf-8", errors="strict"):
        """Its lines, without their ends, one after the other."""
        skips = [0] if self.parts is None else [part.get("skip", 0) for part in self.parts]
        for path, skip in zip(self.files(), skips):
            with open(path, "rb") as file:
                file.seek(skip)
                for line in io.TextIOWrapper(file, encoding, errors, newline="\n"):
                    yield line[:-1] if line.endswith("\n") else line


class Context:
    """What there is to know about a partition besides its item."""

    __slots__ = ("partition", "attempt", "uid", "input")

    def __init__(self, message, item):
        #: Its number.
        self.partition = message["partition"]
        #: Which attempt it is, from 1.
        self.attempt = message["attempt"]
        #: The same in every attempt: a key for side effects.
        self.uid = message["uid"]
        #: Its bytes, if it has any.
        self.input = item if isinstance(item, Input) else None

    @property
    def path(self):
        """Where its bytes are."""
        return self.input.path if self.input else None

    @property
    def name(self):
        """The path of its file in the data."""
        return self.input.name if self.input else None

    @property
    def step(self):
        """The name of the step."""
        return os.environ["BRAID_STEP"]

    @property
    def workflow(self):
        """The name of the workflow."""
        return os.environ["BRAID_WORKFLOW"]

    def param(self, name):
        """A parameter, as text."""
        return os.environ["BRAID_PARAM_" + name.upper()]


class Marked:
    """A stream whose lines say which partition they are of: that of the thread that prints. Lines of threads are not mixed."""

    lock = threading.Lock()

    def __init__(self, stream, at, name):
        self.stream = stream
        self.at = at
        self.name = name

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        kept = getattr(self.at, self.name, "") + text
        end = len(kept) if len(kept) > LONG else kept.rfind("\n") + 1
        if end:
            self.put(kept[:end])
        setattr(self.at, self.name, kept[end:])
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def end(self):
        """Ends a line that the thread has not."""
        kept = getattr(self.at, self.name, "")
        if kept:
            setattr(self.at, self.name, "")
            self.put(kept)

    def put(self, text):
        if not text.endswith("\n"):
            text += "\n"
        message = getattr(self.at, "message", None)
        if message is not None:
            mark = "\x1e%d/%d\x1e" % (message["partition"], message["attempt"])
            text = mark + text[:-1].replace("\n", "\n" + mark) + "\n"
        with self.lock:
            self.stream.write(text)
            self.stream.flush()


class Answers:
    """What goes back. Written together where that delays nothing."""

    def __init__(self, fd):
        self.fd = fd
        self.waiting = []
        self.lock = threading.Lock()
        self.some = threading.Event()
        self.last = time.monotonic()
        # A function that hangs must not hold up the answers before it.
        threading.Thread(target=self.watch, name="braid-answers", daemon=True).start()

    def add(self, text):
        """Puts an answer in line."""
        with self.lock:
            first = not self.waiting
            self.waiting.append(text)
        if first:
            self.some.set()
        if len(self.waiting) >= MOST or time.monotonic() - self.last > HOLD:
            self.flush()

    def flush(self):
        """Writes all that wait."""
        with self.lock:
            data = "".join(self.waiting).encode()
            self.waiting.clear()
            while data:
                data = data[os.write(self.fd, data):]
            self.last = time.monotonic()

    def watch(self):
        """Writes what has waited long enough."""
        while True:
            self.some.wait()
            self.some.clear()
            time.sleep(HOLD)
            self.flush()


def plain(value):
    """What JSON has no word for."""
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "item"):
        # A number of NumPy.
        return value.item()
    raise TypeError(f"a function returns what JSON can say, and {type(value).__name__} it cannot")


def encoder():
    """Makes JSON. The encoder of the standard library makes its own inner one for each value; made once it is faster."""
    whole = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=plain)
    try:
        inner = json.encoder.c_make_encoder(
            None, plain, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
        )

        def encode(value):
            return "".join(inner(value, 0))

        sample = {"a": [1, 2.5, None, True, "\u00e9"]}
        if encode(sample) == whole.encode(sample):
            return encode
    except Exception:  # Another Python: it does without.
        pass
    return whole.encode


def takes_context(function):
    """Whether it can be called with two arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        return False
    return True


def told(error):
    """An exception in few words: what, and where in the user's code."""
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in frames if frame.filename != __file__]
    if frames:
        last = frames[-1]
        text += f" ({os.path.basename(last.filename)}:{last.lineno} in {last.name})"
    return text


def caller(function, at):
    """Makes what turns a request into an answer, and notes which request the thread is at."""
    encode = encoder()
    context = takes_context(function)

    def call(message):
        at.message = message
        number = message["id"]
        item = message.get("item")
        path = message.get("path")
        if path is not None:
            item = Input(path, message.get("name"), message.get("files"))
        try:
            value = function(item, Context(message, item)) if context else function(item)
            if value is None:
                return '{"id":%d}\n' % number
            return '{"id":%d,"results":%s}\n' % (number, encode(value))
        except (Exception, SystemExit) as error:
            traceback.print_exception(type(error), error, error.__traceback__.tb_next)
            return json.dumps({"id": number, "error": told(error)}) + "\n"
        finally:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, Marked):
                    stream.end()

    return call


def requests(fd):
    """The requests, a list of those that have arrived at a time."""
    scan = json.JSONDecoder().scan_once
    rest = b""
    while True:
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            return
        end = chunk.rfind(b"\n")
        if end < 0:
            rest += chunk
            continue
        text = (rest + chunk[: end + 1]).decode()
        rest = chunk[end + 1 :]
        at, size, found = 0, len(text), []
        while at < size:
            message, at = scan(text, at)
            at += 1
            found.append(message)
        yield found


def find(name):
    """The function."""
    # The first entry is the directory of this file, which is none of the user's business.
    del sys.path[0]
    code = os.environ.get("BRAID_CODE")
    if code:
        archive = os.path.join(code, ARCHIVE)
        if os.path.isfile(archive):
            # Beside this file, where Braid puts private files and removes them at the end, whatever happens.
            code = tempfile.mkdtemp(prefix="code-", dir=os.path.dirname(os.path.abspath(__file__)))
            atexit.register(shutil.rmtree, code, ignore_errors=True)
            with tarfile.open(archive) as tar:
                if hasattr(tarfile, "data_filter"):
                    tar.extractall(code, filter="data")
                else:
                    tar.extractall(code)
        elif not os.path.isdir(code):
            raise SystemExit(f"the code {code} is no directory")
        sys.path.insert(0, code)
    module, _, attributes = name.partition(":")
    found = importlib.import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    if inspect.iscoroutinefunction(found) or not callable(found):
        raise SystemExit(f"{name} is no function that can be called without a loop")
    return found


def main():
    """Serves until standard input ends."""
    fd_in, fd_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)
    name = sys.argv[1]
    sys.argv = [name]
    at = threading.local()
    sys.stdout, sys.stderr = Marked(sys.stdout, at, "out"), Marked(sys.stderr, at, "err")
    call = caller(find(name), at)
    answers = Answers(fd_out)
    threads = int(os.environ.get("BRAID_CONCURRENCY", "1"))
    if threads > 1:
        waiting = queue.SimpleQueue()

        def work():
            while True:
                message = waiting.get()
                if message is None:
                    return
                answers.add(call(message))
                if waiting.empty():
                    answers.flush()

        pool = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        for thread in pool:
            thread.start()
        for arrived in requests(fd_in):
            for message in arrived:
                waiting.put(message)
        for _ in pool:
            waiting.put(None)
        for thread in pool:
            thread.join()
        answers.flush()
        return
    for arrived in requests(fd_in):
        for message in arrived:
            answers.add(call(message))
        answers.flush()


if __name__ == "__main__":
    main()
