"""What was asked for, and what came of it: lines of JSON, as `sim history` reads them."""

import json
import threading
import time
from collections import Counter


class History:
    """Written line by line, by any thread."""

    def __init__(self, path):
        self.path = path
        self._file = open(path, "w", encoding="utf-8")
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._counts = Counter()

    def now_ms(self):
        """Milliseconds since the lab began."""
        return int((time.monotonic() - self._began) * 1000)

    def add(self, did, from_ms=None, **what):
        """Adds one event, which ends now."""
        to_ms = self.now_ms()
        line = {"from_ms": to_ms if from_ms is None else from_ms, "to_ms": to_ms, "did": did, **what}
        with self._lock:
            self._file.write(json.dumps({key: value for key, value in line.items() if value is not None}) + "\n")
            self._counts[(did, what.get("outcome"))] += 1

    def tell(self, text):
        """Says what happens, to whoever watches."""
        print(f"{self.now_ms() / 1000:8.1f} s  {text}", flush=True)

    def close(self):
        self._file.close()

    def summary(self):
        """How often what came of what."""
        outcomes = {}
        for (did, outcome), count in sorted(self._counts.items(), key=str):
            if outcome:
                outcomes.setdefault(did, []).append(f"{count} {outcome}")
        return "; ".join(f"{did}: {', '.join(counts)}" for did, counts in outcomes.items())
