"""Reads what callgrind has written: instructions by function and owner, and calls of the allocator."""

import re
from collections import Counter

ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}
NAME = re.compile(r"^\((\d+)\)(?: (.*))?$")
COST = re.compile(r"^[+\-*\d]\S* (\d+)$")
REGISTRY = re.compile(r"/registry/src/[^/]+/([A-Za-z0-9_-]+?)-\d[^/]*/")
OURS = re.compile(r"(?:^|/)(runtime/[a-z-]+|benches|specs/[a-z]+)/src/")
CRATE = re.compile(r"\b([a-z_][a-z0-9_]*)::")
STANDARD = {"core", "alloc", "std"}
OURSELVES = ("runtime/", "tidegate", "benches", "specs/")
GROUPS = {
    **dict.fromkeys(["hyper", "hyper_util", "http", "http_body", "http_body_util", "httparse", "httpdate", "want"], "hyper"),
    **dict.fromkeys(["tokio", "mio", "socket2", "parking_lot", "parking_lot_core", "atomic_waker"], "tokio"),
    **dict.fromkeys(["allocator", "memcpy and kin"], "malloc and memcpy"),
}


class Profile:
    """Instructions of each (owner, function), and how often memory was asked for."""

    def __init__(self, functions, allocations):
        self.functions = functions
        self.allocations = allocations

    @classmethod
    def read(cls, path):
        return Reader().read(path)

    def minus(self, other):
        functions = Counter(self.functions)
        functions.subtract(other.functions)
        return Profile(functions, self.allocations - other.allocations)

    def divided(self, times):
        functions = {key: cost / times for key, cost in self.functions.items()}
        return Profile(functions, self.allocations / times)

    def instructions(self):
        return sum(self.functions.values())

    def by_owner(self):
        owners = Counter()
        for (owner, _), cost in self.functions.items():
            owners[owner] += cost
        return owners.most_common()

    def by_group(self):
        """The same in a few words: what is hyper's, tokio's, ours."""
        groups = Counter()
        for owner, cost in self.by_owner():
            crate = owner.removesuffix(" (std)").replace("-", "_")
            groups[GROUPS.get(crate) or ("tidegate" if crate.startswith(OURSELVES) else "the rest")] += cost
        return groups.most_common()

    def by_function(self):
        return Counter(self.functions).most_common()


class Reader:
    """The format: https://valgrind.org/docs/manual/cl-format.html; names are written out once."""

    def __init__(self):
        self.names = {"file": {}, "function": {}, "object": {}}
        self.functions = Counter()
        self.allocations = 0

    def read(self, path):
        at = {"file": "", "function": "", "callee": ""}
        skip = False
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in map(str.rstrip, lines):
                if skip:
                    # The line behind `calls=` tells the callee's cost, which is counted where it arises.
                    skip = False
                elif cost := COST.match(line):
                    self.functions[owner(at["file"], at["function"]), at["function"]] += int(cost[1])
                elif line.startswith("calls="):
                    self.count(at["callee"], int(line[6:].split()[0]))
                    skip = True
                else:
                    self.place(line, at)
        return Profile(self.functions, self.allocations)

    def place(self, line, at):
        key, _, value = line.partition("=")
        match key:
            case "fl" | "fi" | "fe":
                at["file"] = self.name("file", value)
            case "fn":
                at["function"] = self.name("function", value)
            case "cfn":
                at["callee"] = self.name("function", value)
            case "cfi" | "cfl":
                self.name("file", value)
            case "ob" | "cob":
                self.name("object", value)

    def name(self, kind, value):
        match = NAME.match(value)
        if not match:
            return value
        number, name = match.groups()
        if name is not None:
            self.names[kind][number] = name
        return self.names[kind].get(number, "")

    def count(self, callee, calls):
        # A symbol may bear its version behind it: malloc@@GLIBC_2.2.5, malloc'2 in a recursion.
        if re.split(r"[@']", callee)[0] in ALLOCATORS:
            self.allocations += calls


def owner(file, function):
    """Whose code it is: by the file that it was written in or, for the standard library's generic
    code, by the function that it was compiled for."""
    if found := REGISTRY.search(file):
        return found[1]
    if found := OURS.search(file):
        return found[1]
    if re.split(r"[@']", function)[0].lstrip("_") in {"malloc", "free", "int_malloc", "int_free", "calloc", "realloc"} or "malloc" in file:
        return "allocator"
    for crate in CRATE.findall(function):
        if crate not in STANDARD:
            return f"{crate} (std)"
    if "mem" in function and ("/libc" in file or function.startswith("__mem") or "mem" == function[:3]):
        return "memcpy and kin"
    return "std" if CRATE.search(function) else "libc and the rest"
